//! The task that takes, renews and gives up the Lease.

use std::pin::Pin;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::config::random_u64;
use super::gate::Moment;
use super::record::{Observer, claimed, holder, released};
use super::{LeaseConfig, LeaseStore, StoreError, WriteGate};
use crate::clock::Clock;
use crate::shutdown::Shutdown;

/// How a candidacy ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseEnd {
    /// Given up by [`Leadership::release`].
    #[error("the lease was given up")]
    Released,
    /// Someone else holds the Lease, or it is gone.
    #[error("the lease was taken away; it is held by {}", if holder.is_empty() { "nobody" } else { holder })]
    TakenOver {
        /// Who holds it now; empty when nobody does.
        holder: String,
    },
    /// No renewal succeeded before the renew deadline.
    #[error("the lease could not be renewed before its deadline")]
    Expired,
}

impl LeaseEnd {
    /// The stable reason code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Released => "LeaseReleased",
            Self::TakenOver { .. } => "LeaseTakenOver",
            Self::Expired => "LeaseExpired",
        }
    }
}

#[derive(Clone, Debug)]
enum Phase {
    Candidate,
    Leader,
    Ended(LeaseEnd),
}

/// This process's part in an election. Dropping it closes the gate and stops the task, without giving the Lease up.
#[derive(Debug)]
pub struct Leadership {
    gate: WriteGate,
    phase: watch::Receiver<Phase>,
    release: Shutdown,
    task: JoinHandle<()>,
}

/// Starts to compete for the Lease in a task of its own.
pub fn elect(store: impl LeaseStore, config: LeaseConfig, clock: impl Clock) -> Leadership {
    elect_on(store, config, clock, |run| tokio::spawn(run))
}

/// As [`elect`], with the task started by `spawn`.
pub(super) fn elect_on(
    store: impl LeaseStore,
    config: LeaseConfig,
    clock: impl Clock,
    spawn: impl FnOnce(BoxedRun) -> JoinHandle<()>,
) -> Leadership {
    let gate = WriteGate::closed(clock);
    let (sender, phase) = watch::channel(Phase::Candidate);
    let release = Shutdown::manual();
    let candidate = Candidate { store, config, gate: gate.clone(), observer: Observer::default(), phase: sender };
    let task = spawn(Box::pin(candidate.run(release.clone())));
    Leadership { gate, phase, release, task }
}

pub(super) type BoxedRun = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Leadership {
    /// The gate to ask before every write.
    pub fn gate(&self) -> WriteGate {
        self.gate.clone()
    }

    /// Completes when this process leads for the first time.
    ///
    /// # Errors
    /// How the candidacy ended, if it did.
    pub async fn acquired(&self) -> Result<(), LeaseEnd> {
        let mut phase = self.phase.clone();
        match phase.wait_for(|phase| !matches!(phase, Phase::Candidate)).await.as_deref() {
            Ok(Phase::Ended(end)) => Err(end.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(LeaseEnd::Expired),
        }
    }

    /// Completes when the candidacy is over. Anything but [`LeaseEnd::Released`] is a loss: the gate is closed for
    /// good, and the process should say so and exit with a failure, so that a fresh one competes again.
    pub async fn ended(&self) -> LeaseEnd {
        let mut phase = self.phase.clone();
        match phase.wait_for(|phase| matches!(phase, Phase::Ended(_))).await.as_deref() {
            Ok(Phase::Ended(end)) => end.clone(),
            _ => LeaseEnd::Expired,
        }
    }

    /// Whether the candidacy is over.
    pub fn has_ended(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Ended(_))
    }

    /// Closes the gate, then gives the Lease up so that another replica takes over at once. To be called when the
    /// writers have drained. Best effort: without an answer the others wait the lease out.
    pub async fn release(self) -> LeaseEnd {
        self.gate.seal();
        self.release.trigger();
        self.ended().await
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.gate.seal();
        self.task.abort();
    }
}

struct Candidate<S> {
    store: S,
    config: LeaseConfig,
    gate: WriteGate,
    observer: Observer,
    phase: watch::Sender<Phase>,
}

impl<S: LeaseStore> Candidate<S> {
    async fn run(mut self, release: Shutdown) {
        let end = tokio::select! {
            biased;
            () = release.wait() => LeaseEnd::Released,
            end = self.compete() => end,
        };
        self.gate.seal();
        if end == LeaseEnd::Released {
            let _ = timeout(self.config.renew_deadline, self.give_up()).await;
            tracing::info!(lease = self.config.name, "lease given up");
        } else {
            tracing::error!(lease = self.config.name, reason = end.code(), "{end}");
        }
        self.phase.send_replace(Phase::Ended(end));
    }

    async fn compete(&mut self) -> LeaseEnd {
        let (lease, since) = self.acquire().await;
        self.gate.open(since, self.config.renew_deadline);
        tracing::info!(lease = self.config.name, identity = self.config.identity, "leading");
        self.phase.send_replace(Phase::Leader);
        self.keep(lease, since.monotonic + self.config.renew_deadline).await
    }

    async fn acquire(&mut self) -> (Lease, Moment) {
        loop {
            match timeout(self.config.renew_deadline, self.attempt()).await {
                Ok(Ok(Some(taken))) => return taken,
                Ok(Ok(None)) => {}
                Ok(Err(error)) => tracing::warn!(lease = self.config.name, %error, "lease not readable or writable"),
                Err(_) => tracing::warn!(lease = self.config.name, "no answer about the lease"),
            }
            sleep(jittered(self.config.retry_period)).await;
        }
    }

    /// Takes the Lease if it is free, and says since when it counts as ours.
    async fn attempt(&mut self) -> Result<Option<(Lease, Moment)>, StoreError> {
        let found = self.store.get().await?;
        let now = Instant::now();
        self.observer.observe(found.as_ref(), now);
        if !self.observer.may_take(found.as_ref(), &self.config, now) {
            return Ok(None);
        }
        let since = self.gate.moment();
        let wanted = claimed(found.as_ref(), &self.config, since.wall);
        let stored = match found {
            Some(_) => self.store.replace(&wanted).await,
            None => self.store.create(&wanted).await,
        };
        match stored {
            Ok(lease) => Ok(Some((lease, since))),
            Err(StoreError::Conflict) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Renews until that fails for too long or someone else holds the Lease.
    async fn keep(&mut self, mut held: Lease, mut fence: Instant) -> LeaseEnd {
        let patience = self.config.renew_deadline / 3;
        let mut wait = self.config.retry_period;
        loop {
            sleep(wait.min(fence.saturating_duration_since(Instant::now()))).await;
            wait = self.config.retry_period;
            let now = Instant::now();
            if now >= fence {
                return LeaseEnd::Expired;
            }
            let renewal = timeout_at(fence.min(now + patience), self.renew(&held));
            match renewal.await {
                Ok(Ok(Renewal::Done(lease, since))) => {
                    held = lease;
                    fence = since.monotonic + self.config.renew_deadline;
                    self.gate.open(since, self.config.renew_deadline);
                }
                Ok(Ok(Renewal::Changed(lease))) => {
                    held = lease;
                    wait = Duration::ZERO;
                }
                Ok(Ok(Renewal::Lost(holder))) => return LeaseEnd::TakenOver { holder },
                Ok(Err(error)) => tracing::warn!(lease = self.config.name, %error, "lease not renewed"),
                Err(_) => tracing::warn!(lease = self.config.name, "no answer to the lease's renewal"),
            }
        }
    }

    /// One renewal on the version last seen; where that is not the stored one any more, a look at who holds it.
    async fn renew(&self, held: &Lease) -> Result<Renewal, StoreError> {
        let since = self.gate.moment();
        match self.store.replace(&claimed(Some(held), &self.config, since.wall)).await {
            Ok(lease) => return Ok(Renewal::Done(lease, since)),
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error),
        }
        let found = self.store.get().await?;
        match found.as_ref().and_then(holder) {
            Some(holder) if holder == self.config.identity => Ok(Renewal::Changed(found.unwrap_or_default())),
            holder => {
                self.gate.seal();
                Ok(Renewal::Lost(holder.unwrap_or_default().to_owned()))
            }
        }
    }

    async fn give_up(&self) {
        loop {
            let free = match self.store.get().await {
                Ok(Some(found)) => released(&found, &self.config, self.gate.moment().wall),
                Ok(None) => None,
                Err(error) => {
                    tracing::warn!(lease = self.config.name, %error, "lease not given up; the others wait it out");
                    return;
                }
            };
            match free {
                Some(free) if matches!(self.store.replace(&free).await, Err(StoreError::Conflict)) => {}
                _ => return,
            }
        }
    }
}

enum Renewal {
    Done(Lease, Moment),
    Changed(Lease),
    Lost(String),
}

/// Between one and one and a fifth of `period`, so that candidates do not stay in step.
fn jittered(period: Duration) -> Duration {
    let spread = f64::from(u32::try_from(random_u64() >> 32).unwrap_or(0)) / f64::from(u32::MAX);
    period + period.mul_f64(0.2 * spread)
}
