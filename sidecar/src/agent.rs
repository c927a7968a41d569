//! The one task that acts on what the machine decides: calls the issuer, writes files, publishes answers.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use exeat_runtime::clock::Clock;
use exeat_wire::Refusal;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use crate::args::Provider;
use crate::files::RunDir;
use crate::issuer::{CallError, Issuer};
use crate::machine::{Event, Held, Machine, Payload, Unusable, View, complete};
use crate::metrics::{Fetch, Metrics, Phase};
use crate::snapshot::Snapshot;
use crate::vault::Token;

/// Longest sleep: wall clocks jump, timers do not follow.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What the task needs.
#[derive(Debug)]
pub struct Agent {
    machine: Machine,
    parts: Parts,
    published: watch::Sender<Snapshot>,
    /// What the Kubernetes files hold: a credential, or nothing.
    written: Option<Written>,
}

/// What the task works with.
#[derive(Clone)]
pub struct Parts {
    /// Where credentials come from.
    pub issuer: Arc<Issuer>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where Kubernetes files go: the volume of each group of containers that has this policy.
    pub run_dirs: Vec<RunDir>,
    /// Which kind of credential is expected.
    pub provider: Provider,
    /// The policy that it is of, where the pod has several.
    pub policy: Option<String>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("issuer", &self.issuer).field("provider", &self.provider).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Written {
    Denial,
    Credential(Arc<Payload>),
}

type Call = Pin<Box<dyn Future<Output = Event> + Send>>;

impl Agent {
    /// A task that knows nothing yet, and the answers it publishes.
    pub fn new(parts: Parts) -> (Self, watch::Receiver<Snapshot>) {
        let now = parts.clock.now();
        let machine = Machine::new(now);
        let (published, snapshots) = watch::channel(Snapshot::read(&machine, now, true));
        (Self { machine, parts, published, written: None }, snapshots)
    }

    /// Runs until `stream` is closed.
    pub async fn run(mut self, mut stream: mpsc::Receiver<Event>) {
        let mut call: Option<Call> = None;
        loop {
            let now = self.parts.clock.now();
            self.machine.tick(now);
            if call.is_none() && self.machine.fetch_at().is_some_and(|at| at <= now) {
                let epoch = self.machine.fetch_started(now);
                let held = self.held_token(now);
                call = Some(Box::pin(fetch(self.parts.clone(), epoch, held)));
            }
            self.publish(now, call.is_some());
            let pause = self.pause(now, call.is_some());
            let event = tokio::select! {
                event = in_flight(&mut call) => {
                    call = None;
                    Some(event)
                }
                event = stream.recv() => match event {
                    Some(event) => Some(event),
                    None => return,
                },
                () = sleep(pause) => None,
            };
            if let Some(event) = event {
                self.machine.apply(event, self.parts.clock.now(), rand::random());
            }
        }
    }

    /// The token of Vault that may be prolonged in place.
    fn held_token(&self, now: Timestamp) -> Option<Arc<Token>> {
        match self.machine.view(now) {
            View::Held(held, _) => held.payload.vault.clone(),
            View::Refused(_) => None,
        }
    }

    fn pause(&self, now: Timestamp, calling: bool) -> Duration {
        let fetch_at = self.machine.fetch_at().filter(|_| !calling);
        let next = [fetch_at, self.machine.ends_at()].into_iter().flatten().min();
        let wait = next.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO));
        wait.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN)
    }

    /// Files are there before the answers that speak of them, and are gone after the refusal is answered.
    fn publish(&mut self, now: Timestamp, calling: bool) {
        let mut snapshot = Snapshot::read(&self.machine, now, calling);
        let held = match self.machine.view(now) {
            View::Held(held, _) => Some(held.clone()),
            View::Refused(_) => None,
        };
        if let Some(held) = &held {
            snapshot.started &= self.write_files(Some(held));
        }
        self.tell(&snapshot, held.as_ref());
        self.published.send_replace(snapshot);
        if held.is_none() && !self.write_files(None) {
            self.published.send_modify(|snapshot| snapshot.started = false);
        }
    }

    /// Logs and counts a change of state.
    fn tell(&self, snapshot: &Snapshot, held: Option<&Held>) {
        let metrics = &self.parts.metrics;
        metrics.expiry.set(held.map_or(0, |held| held.ends_at().as_second()));
        let before = self.published.borrow();
        let known = before.phase == snapshot.phase && (snapshot.phase == Phase::Held || before.code == snapshot.code);
        drop(before);
        if known {
            return;
        }
        metrics.set_phase(snapshot.phase);
        match held {
            Some(held) => {
                tracing::info!(session = held.session, expires_at = %held.expires_at, session_expires_at = %held.session_expires_at, "a credential is held");
            }
            None => {
                tracing::info!(
                    state = snapshot.phase.as_str(),
                    code = snapshot.code,
                    message = snapshot.message,
                    "no credential is served"
                );
            }
        }
    }

    /// Whether the Kubernetes files say what is served, as far as there are any.
    fn write_files(&mut self, held: Option<&Held>) -> bool {
        if self.parts.provider != Provider::Kubernetes {
            return true;
        }
        let written = match (held, &self.written) {
            (Some(held), Some(Written::Credential(payload))) if Arc::ptr_eq(&held.payload, payload) => return true,
            (None, Some(Written::Denial)) => return true,
            (Some(held), _) => Written::Credential(Arc::clone(&held.payload)),
            (None, _) => Written::Denial,
        };
        let write = |run_dir: &RunDir| match &written {
            Written::Denial => run_dir.deny_kubernetes(),
            Written::Credential(payload) => match &payload.kubernetes {
                Some(credential) => run_dir.write_kubernetes(credential),
                None => Ok(()),
            },
        };
        // What fails in one keeps no token in another.
        let done: Vec<io::Result<()>> = self.parts.run_dirs.iter().map(write).collect();
        match done.into_iter().collect::<io::Result<()>>() {
            Ok(()) => {
                self.written = Some(written);
                true
            }
            Err(error) => {
                tracing::error!(%error, "can't write kubeconfig and token below --run-dir; is the volume exeat-run mounted and writable?");
                self.written = None;
                false
            }
        }
    }
}

async fn in_flight(call: &mut Option<Call>) -> Event {
    match call {
        Some(call) => call.await,
        None => std::future::pending().await,
    }
}

async fn fetch(parts: Parts, epoch: u64, token: Option<Arc<Token>>) -> Event {
    let since = Instant::now();
    let brought = parts.issuer.fetch(token.as_ref().map(|token| token.accessor.clone()), parts.policy.clone()).await;
    parts.metrics.fetch_seconds.observe(since.elapsed().as_secs_f64());
    match brought {
        Ok(response) if parts.policy.as_ref().is_some_and(|policy| *policy != response.policy) => failed(
            &parts,
            format!("the issuer answered for policy {:?}: it is too old for several in one pod", response.policy),
        ),
        Ok(response) => match Held::read(complete(response, token.as_deref()), parts.provider) {
            Ok(held) => {
                parts.metrics.fetched(Fetch::Minted);
                Event::Fetched { epoch, held: Box::new(held) }
            }
            Err(error @ Unusable::Kind { .. }) => {
                parts.metrics.fetched(Fetch::Refused);
                Event::Refused { epoch, refusal: mismatch(&error) }
            }
            Err(error) => failed(&parts, error.to_string()),
        },
        Err(CallError::Refused(refusal)) => {
            parts.metrics.fetched(Fetch::Refused);
            Event::Refused { epoch, refusal }
        }
        Err(CallError::Failed(cause)) => failed(&parts, cause),
    }
}

fn failed(parts: &Parts, cause: String) -> Event {
    parts.metrics.fetched(Fetch::Failed);
    tracing::warn!(cause, "no credential from the issuer");
    Event::Failed { cause }
}

fn mismatch(error: &Unusable) -> Refusal {
    Refusal {
        code: "ProviderKindChanged".into(),
        message: error.to_string(),
        retryable: false,
        retry_after_seconds: None,
        session: None,
    }
}
