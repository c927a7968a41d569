//! Spares a provider that is down or busy: a token bucket before each call, and a circuit breaker that refuses calls for a while
//! after several in a row got no answer.

mod breaker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use exeat_crds::reason::Reason;
use exeat_runtime::backoff::Backoff;

use crate::{GrantProbe, Identity, Made, MintRequest, Minted, Provider, ProviderError, SessionId};

pub use breaker::{Breaker, BreakerSettings, Bucket, Pass};

/// How a provider is spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardSettings {
    /// When to stop calling.
    pub breaker: BreakerSettings,
    /// Calls per second.
    pub per_second: u32,
    /// Calls at once after a quiet time.
    pub burst: u32,
}

impl Default for GuardSettings {
    /// Five failures in a row open it for 1 to 2 s at first, 30 to 60 s at most; 50 calls a second, 100 at once: far below
    /// what AWS STS gives an account, and what two replicas may ask of one API server.
    fn default() -> Self {
        Self {
            breaker: BreakerSettings {
                threshold: 5,
                backoff: Backoff::new(Duration::from_secs(2), Duration::from_secs(60)),
                trial_timeout: Duration::from_secs(20),
            },
            per_second: 50,
            burst: 100,
        }
    }
}

/// A [`Provider`] behind a bucket and a breaker. Revocations are never held back, but what becomes of them is taken into account.
pub struct Guarded {
    inner: Arc<dyn Provider>,
    state: Mutex<State>,
}

struct State {
    breaker: Breaker,
    bucket: Bucket,
    last: Option<ProviderError>,
}

impl Guarded {
    /// Guards a provider.
    pub fn new(inner: Arc<dyn Provider>, settings: GuardSettings) -> Self {
        let state = State {
            breaker: Breaker::new(settings.breaker),
            bucket: Bucket::new(settings.per_second, settings.burst, now()),
            last: None,
        };
        Self { inner, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self) -> Result<Call<'_>, ProviderError> {
        let mut state = self.state();
        let now = now();
        let pass = match state.breaker.admit(now) {
            Ok(pass) => pass,
            Err(wait) => return Err(held_back(state.last.as_ref(), wait)),
        };
        if let Err(wait) = state.bucket.take(now) {
            state.breaker.abandoned(now, pass);
            return Err(too_many(wait));
        }
        Ok(Call { guard: self, pass, reported: false })
    }

    async fn run<T>(&self, call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
        let admitted = self.admit()?;
        let result = call.await;
        admitted.report(&result);
        result
    }

    /// For what ends access: it does not wait for the provider's rest.
    async fn run_at_once<T>(&self, call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
        let out = Call { guard: self, pass: Pass::Normal, reported: false };
        let result = call.await;
        out.report(&result);
        result
    }
}

/// A call that is out. Dropped without a report (its caller went away), it makes room for another.
struct Call<'a> {
    guard: &'a Guarded,
    pass: Pass,
    reported: bool,
}

impl Call<'_> {
    fn report<T>(mut self, result: &Result<T, ProviderError>) {
        self.reported = true;
        let mut state = self.guard.state();
        match result {
            Err(error) if is_outage(error) => {
                state.breaker.failed(now(), self.pass, error.retry_after, rand::random());
                state.last = Some(error.clone());
            }
            _ => state.breaker.answered(),
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.reported {
            self.guard.state().breaker.abandoned(now(), self.pass);
        }
    }
}

#[async_trait]
impl Provider for Guarded {
    async fn probe_identity(&self) -> Result<Identity, ProviderError> {
        self.run(self.inner.probe_identity()).await
    }

    async fn probe_grant(&self, request: &MintRequest<'_>) -> Result<GrantProbe, ProviderError> {
        self.run(self.inner.probe_grant(request)).await
    }

    async fn mint(&self, request: &MintRequest<'_>) -> Result<Minted, ProviderError> {
        self.run(self.inner.mint(request)).await
    }

    async fn cut_off(&self, session: &SessionId) -> Result<(), ProviderError> {
        self.run_at_once(self.inner.cut_off(session)).await
    }

    async fn revoke(&self, session: &SessionId, handle: Option<&str>) -> Result<(), ProviderError> {
        self.run_at_once(self.inner.revoke(session, handle)).await
    }

    async fn made(&self) -> Result<Vec<Made>, ProviderError> {
        self.run_at_once(self.inner.made()).await
    }
}

fn is_outage(error: &ProviderError) -> bool {
    matches!(error.reason, Reason::ProviderUnreachable | Reason::ProviderThrottled)
}

fn held_back(last: Option<&ProviderError>, wait: Duration) -> ProviderError {
    let (reason, why) = match last {
        Some(error) => (error.reason, error.message.as_str()),
        None => (Reason::ProviderUnreachable, "it did not answer"),
    };
    let message =
        format!("the provider is given {} s of rest after several failures in a row: {why}", whole_seconds(wait));
    ProviderError::passing(reason, message).after(wait)
}

fn too_many(wait: Duration) -> ProviderError {
    ProviderError::passing(
        Reason::ProviderThrottled,
        "the issuer has reached its own limit of calls to this provider; it tries again",
    )
    .after(wait)
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// The runtime's monotonic clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
