//! The circuit breaker and the token bucket as pure state machines: time and chance are arguments.

use std::time::{Duration, Instant};

use exeat_runtime::backoff::Backoff;

/// How a breaker behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it.
    pub threshold: u32,
    /// How long it stays open, longer with every failed trial.
    pub backoff: Backoff,
    /// After this long a trial that nobody reported back on is taken as lost.
    pub trial_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, trials: u32 },
    HalfOpen { lost_at: Instant, trials: u32 },
}

/// Stops calling a provider that does not answer, and lets one call at a time try whether it does again.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
}

/// A call that a breaker has let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The breaker is closed.
    Normal,
    /// This call finds out whether the provider answers again.
    Trial,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: State::Closed { failures: 0 } }
    }

    /// Whether a call may go out.
    ///
    /// # Errors
    /// How long to wait before the next try.
    pub fn admit(&mut self, now: Instant) -> Result<Pass, Duration> {
        match self.state {
            State::Closed { .. } => Ok(Pass::Normal),
            State::Open { until, .. } if now < until => Err(until - now),
            State::HalfOpen { lost_at, .. } if now < lost_at => Err(self.settings.backoff.base),
            State::Open { trials, .. } | State::HalfOpen { trials, .. } => {
                self.state = State::HalfOpen { lost_at: now + self.settings.trial_timeout, trials };
                Ok(Pass::Trial)
            }
        }
    }

    /// The provider answered, whatever it said.
    pub fn answered(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// The provider did not answer, or asked us to slow down. `random` in `[0, 1)` spreads replicas; the breaker stays open for
    /// at least `at_least` where the provider named a time.
    pub fn failed(&mut self, now: Instant, pass: Pass, at_least: Option<Duration>, random: f64) {
        let trials = match (self.state, pass) {
            (State::Closed { failures }, _) if failures + 1 < self.settings.threshold => {
                self.state = State::Closed { failures: failures + 1 };
                return;
            }
            (State::Closed { .. }, _) => 0,
            (State::HalfOpen { trials, .. }, Pass::Trial) => trials.saturating_add(1),
            // Calls that went out before it opened say nothing new.
            (State::Open { .. } | State::HalfOpen { .. }, _) => return,
        };
        let wait = self.settings.backoff.delay(trials, random).max(at_least.unwrap_or_default());
        self.state = State::Open { until: now + wait.min(self.longest()), trials };
    }

    /// The call was given up before anything was known of it.
    pub fn abandoned(&mut self, now: Instant, pass: Pass) {
        if let (State::HalfOpen { trials, .. }, Pass::Trial) = (self.state, pass) {
            self.state = State::Open { until: now, trials };
        }
    }

    /// Whether calls are refused or on trial.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    fn longest(&self) -> Duration {
        self.settings.backoff.cap * 2
    }
}

/// Calls per second, with a reserve for bursts.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst.max(1));
        Self { per_second: f64::from(per_second.max(1)), burst, tokens: burst, filled_at: now }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
        self.filled_at = self.filled_at.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.per_second))
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
