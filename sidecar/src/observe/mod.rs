//! What the agent uses, under a policy in mode Observe: counted here, told to the issuer ([`report`]). AWS SDKs say it themselves, in
//! datagrams ([`listen`], [`datagram`]), which any process of the pod can forge; calls to Vault are seen as they are made ([`vault`]).
//! Neither changes what is served.

pub mod datagram;
pub mod listen;
pub mod report;
pub mod vault;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use exeat_wire::{MAX_OBSERVED, ObservedCall, Operation};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use self::report::Reporter;

/// Most operations that are kept, ever: what a pod sends must not fill the sidecar's memory.
const MAX_OPERATIONS: usize = 128;

/// Tells what is used, and takes datagrams at these ports of 127.0.0.1.
///
/// # Errors
/// The port that can't be had, and why.
pub async fn start(tasks: &mut JoinSet<()>, ports: &[u16], reporter: &Arc<Reporter>) -> Result<(), (u16, io::Error)> {
    tasks.spawn(Arc::clone(reporter).run());
    for port in ports {
        let socket = listen::bind(*port).await.map_err(|error| (*port, error))?;
        tasks.spawn(listen::run(socket, Arc::clone(&reporter.observed), Arc::clone(&reporter.metrics)));
    }
    Ok(())
}

/// Counts since the last report.
#[derive(Debug, Default)]
pub struct Observed {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    operations: BTreeMap<Operation, Count>,
    dropped: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    calls: u32,
    denied: u32,
    /// Whether the issuer has heard of it.
    told: bool,
}

impl Observed {
    /// Counts one call that was answered with this status of HTTP.
    pub fn used(&self, what: Operation, status: u16) {
        let mut state = self.lock();
        if state.operations.len() >= MAX_OPERATIONS && !state.operations.contains_key(&what) {
            state.dropped = state.dropped.saturating_add(1);
        } else {
            let count = state.operations.entry(what).or_default();
            count.calls = count.calls.saturating_add(1);
            count.denied = count.denied.saturating_add(u32::from(matches!(status, 401 | 403)));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Waits until there is something to tell.
    async fn changed(&self) {
        while self.is_empty() {
            self.changed.notified().await;
        }
    }

    fn is_empty(&self) -> bool {
        let state = self.lock();
        state.dropped == 0 && state.operations.values().all(|count| count.calls == 0)
    }

    /// Takes as much as one report holds.
    fn take(&self) -> (Vec<ObservedCall>, u64) {
        let mut state = self.lock();
        let mut calls = Vec::new();
        for (what, count) in state.operations.iter_mut().filter(|(_, count)| count.calls > 0).take(MAX_OBSERVED) {
            calls.push(ObservedCall {
                what: what.clone(),
                calls: count.calls,
                denied: count.denied,
                first: !count.told,
            });
            *count = Count { told: true, ..Count::default() };
        }
        (calls, std::mem::take(&mut state.dropped))
    }

    /// Takes back what could not be told.
    fn put_back(&self, calls: Vec<ObservedCall>, dropped: u64) {
        let mut state = self.lock();
        state.dropped = state.dropped.saturating_add(dropped);
        for call in calls {
            let count = state.operations.entry(call.what).or_default();
            count.calls = count.calls.saturating_add(call.calls);
            count.denied = count.denied.saturating_add(call.denied);
            count.told &= !call.first;
        }
    }

    /// Forgets what is of no interest to anybody.
    fn forget(&self) {
        *self.lock() = State::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(n: usize) -> Operation {
        Operation::Aws { service: "S3".into(), operation: format!("Get{n:03}") }
    }

    #[test]
    fn what_could_not_be_told_is_told_with_the_next_report() {
        let observed = Observed::default();
        observed.used(of(0), 200);
        observed.used(of(0), 403);
        let (calls, dropped) = observed.take();
        assert_eq!((calls[0].calls, calls[0].denied, calls[0].first, dropped), (2, 1, true, 0));
        assert!(observed.is_empty());
        observed.put_back(calls, dropped);
        observed.used(of(0), 404);
        let (calls, _) = observed.take();
        assert_eq!((calls[0].calls, calls[0].denied, calls[0].first), (3, 1, true));
        observed.used(of(0), 200);
        assert!(!observed.take().0[0].first);
    }

    #[test]
    fn a_flood_of_operations_is_counted_and_not_kept() {
        let observed = Observed::default();
        for n in 0..1000 {
            observed.used(of(n), 200);
        }
        let (mut told, mut left_out) = (0, 0);
        while !observed.is_empty() {
            let (calls, dropped) = observed.take();
            assert!(calls.len() <= MAX_OBSERVED);
            told += calls.len();
            left_out += dropped;
        }
        assert_eq!((told, left_out), (MAX_OPERATIONS, 872));
    }
}
