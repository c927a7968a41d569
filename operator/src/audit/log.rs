//! The audit log of one start of a program: signs, spools, delivers.

use super::chain::{Chain, Head};
use super::metrics::AuditMetrics;
use super::sink::Sink;
use super::spool::{Entry, Full, Limits, Spool, Urgency};
use super::{AuditEvent, EventName};
use exeat_runtime::backoff::Backoff;
use jiff::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// Longest wait for the sink to have an intent.
const INTENT: Duration = Duration::from_secs(5);
/// Between two tries to reach the sink.
const RETRY: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
/// Most that is handed to the sink at once.
const BATCH: Limits = Limits { records: 500, bytes: 256 * 1024 };

/// Why an intent is not on record. Trying again may help.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The spool is full.
    #[error(transparent)]
    Full(#[from] Full),
    /// The sink did not take the last records; they are tried again.
    #[error("the audit sink takes no records")]
    Failing,
    /// The sink has not answered in time.
    #[error("the audit sink took no record within {} s", INTENT.as_secs())]
    Slow,
    /// The record can't be written as JSON.
    #[error("the audit record can't be written: {0}")]
    Record(#[from] serde_json::Error),
}

/// Records what happens. Clones share the log.
#[derive(Clone)]
pub struct Audit {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    added: Notify,
    head: watch::Sender<Option<Head>>,
    progress: watch::Sender<Progress>,
    waits: bool,
    metrics: AuditMetrics,
}

struct State {
    chain: Chain,
    spool: Spool,
    lost: u64,
}

/// How far the sink is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    /// How many records of the chain it has.
    delivered: u64,
    /// Whether the last try failed.
    failing: bool,
}

impl Audit {
    /// A log that goes to `sink`, by a task of its own.
    pub fn start(chain: Chain, limits: Limits, sink: Box<dyn Sink>, metrics: AuditMetrics) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State { chain, spool: Spool::new(limits), lost: 0 }),
            added: Notify::new(),
            head: watch::Sender::new(None),
            progress: watch::Sender::default(),
            waits: sink.is_local(),
            metrics,
        });
        tokio::spawn(deliver(Arc::clone(&shared), sink));
        Self { shared }
    }

    /// Records what has happened. Where no room is left the next record says how many are missing.
    pub fn record(&self, event: &AuditEvent, now: Timestamp) {
        if let Err(error) = self.push(event, Urgency::Fact, now) {
            tracing::error!(%error, event = event.event.as_str(), session = %event.session, "an event is not in the audit log");
        }
    }

    /// Records what is about to be done. Once this returns, a local sink has the record; a remote one may have it later.
    ///
    /// # Errors
    /// When it is not certain that the record is kept: what was intended must not be done.
    pub async fn intend(&self, event: &AuditEvent, now: Timestamp) -> Result<(), AuditError> {
        debug_assert_eq!(event.event, EventName::CredentialsIntended);
        let shared = &self.shared;
        if !shared.waits {
            return self.push(event, Urgency::Intent, now).map(|_| ());
        }
        let mut progress = shared.progress.subscribe();
        if progress.borrow_and_update().failing {
            shared.metrics.refused();
            return Err(AuditError::Failing);
        }
        let sequence = self.push(event, Urgency::Intent, now)?;
        let kept = timeout(INTENT, progress.wait_for(|p| p.delivered > sequence || p.failing)).await;
        let result = match kept {
            Ok(Ok(progress)) if progress.delivered > sequence => Ok(()),
            Ok(_) => Err(AuditError::Failing),
            Err(_) => Err(AuditError::Slow),
        };
        if result.is_err() {
            shared.metrics.refused();
        }
        result
    }

    /// The chain's last record as it changes, for [`super::anchor`].
    pub fn head(&self) -> watch::Receiver<Option<Head>> {
        self.shared.head.subscribe()
    }

    /// Waits until the sink has everything, for at most `limit`. Returns how many records it does not have.
    pub async fn flush(&self, limit: Duration) -> u64 {
        let recorded = self.shared.head.borrow().map_or(0, |head| head.sequence + 1);
        let mut progress = self.shared.progress.subscribe();
        // An error is that of the time that has passed.
        let _ = timeout(limit, progress.wait_for(|p| p.delivered >= recorded)).await;
        recorded.saturating_sub(progress.borrow().delivered)
    }

    fn push(&self, event: &AuditEvent, urgency: Urgency, now: Timestamp) -> Result<u64, AuditError> {
        let shared = &self.shared;
        let mut state = shared.lock();
        let pushed = state.push(event, urgency, now);
        match (&pushed, urgency) {
            (Ok(head), _) => {
                shared.metrics.recorded();
                shared.head.send_replace(Some(*head));
                shared.added.notify_one();
            }
            (Err(_), Urgency::Intent) => shared.metrics.refused(),
            (Err(_), Urgency::Fact) => {
                state.lost += 1;
                shared.metrics.lost();
            }
        }
        shared.metrics.spool(&state.spool);
        pushed.map(|head| head.sequence)
    }
}

impl State {
    fn push(&mut self, event: &AuditEvent, urgency: Urgency, now: Timestamp) -> Result<Head, AuditError> {
        let sealed = self.chain.seal(event, self.lost, now)?;
        self.spool.push(Entry { sequence: sealed.head.sequence, line: sealed.line.clone() }, urgency)?;
        self.chain.advance(&sealed);
        self.lost = 0;
        Ok(sealed.head)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands the spool to the sink, oldest first, and each record until the sink has it.
async fn deliver(shared: Arc<Shared>, mut sink: Box<dyn Sink>) {
    let mut failures = 0;
    loop {
        let batch = shared.lock().spool.oldest(BATCH);
        let Some(last) = batch.last().map(|entry| entry.sequence) else {
            shared.added.notified().await;
            continue;
        };
        let delivered = sink.deliver(batch).await;
        shared.metrics.delivered(delivered.is_ok());
        match delivered {
            Ok(()) => {
                failures = 0;
                let mut state = shared.lock();
                state.spool.delivered(last);
                shared.metrics.spool(&state.spool);
                shared.progress.send_replace(Progress { delivered: last + 1, failing: false });
            }
            Err(error) => {
                shared.progress.send_modify(|progress| progress.failing = true);
                let delay = RETRY.delay(failures, rand::random::<f64>());
                failures = failures.saturating_add(1);
                tracing::error!(%error, failures, ?delay, "the audit sink takes no records; they are kept and tried again");
                tokio::time::sleep(delay).await;
            }
        }
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
