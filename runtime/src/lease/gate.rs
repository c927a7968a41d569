//! The write gate: what a leader's writers ask before every write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::clock::Clock;

/// This process is not the leader, or can't be sure that it still is: nothing may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the leader: nothing is written")]
pub struct NotLeader;

impl NotLeader {
    /// The stable reason code.
    pub fn code(&self) -> &'static str {
        "NotLeader"
    }
}

/// Open only while this process surely holds the lease. Clones share the state.
///
/// The gate carries its own deadline, so it closes on time even when the task that renews the lease hangs. It closes
/// by the monotonic clock, and also by the wall clock: a virtual machine that was suspended sees only the latter move.
#[derive(Clone)]
pub struct WriteGate {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Box<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
enum State {
    Closed,
    Open {
        until: Instant,
        wall_until: Timestamp,
    },
    /// Never opens again.
    Sealed,
}

impl std::fmt::Debug for WriteGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteGate").field("remaining", &self.remaining()).finish_non_exhaustive()
    }
}

impl WriteGate {
    pub(super) fn closed(clock: impl Clock) -> Self {
        Self { shared: Arc::new(Shared { clock: Box::new(clock), state: Mutex::new(State::Closed) }) }
    }

    /// A gate without an election: open for ever. For programs that run alone and for tests of what is behind it.
    pub fn always_open() -> Self {
        let gate = Self::closed(crate::clock::SystemClock);
        let far = Duration::from_secs(60 * 60 * 24 * 365 * 30);
        *gate.lock() = State::Open { until: Instant::now() + far, wall_until: Timestamp::MAX };
        gate
    }

    /// Whether a write may be sent now. To be asked right before each write, and never remembered.
    ///
    /// # Errors
    /// [`NotLeader`] when the lease is not surely held.
    pub fn check(&self) -> Result<(), NotLeader> {
        self.remaining().map(|_| ()).ok_or(NotLeader)
    }

    /// For how long the gate is open unless the lease is renewed: the most that a write sent now may take.
    /// `None` when closed.
    pub fn remaining(&self) -> Option<Duration> {
        let State::Open { until, wall_until } = *self.lock() else {
            return None;
        };
        if self.shared.clock.now() >= wall_until {
            return None;
        }
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Opens the gate, or keeps it open, for `length` from `since` by either clock. A sealed gate stays closed.
    pub(super) fn open(&self, since: Moment, length: Duration) {
        let wall_length = SignedDuration::try_from(length).unwrap_or(SignedDuration::ZERO);
        let wall_until = since.wall.checked_add(wall_length).unwrap_or(since.wall);
        let mut state = self.lock();
        if !matches!(*state, State::Sealed) {
            *state = State::Open { until: since.monotonic + length, wall_until };
        }
    }

    /// Closes the gate for good.
    pub(super) fn seal(&self) {
        *self.lock() = State::Sealed;
    }

    /// The present by both clocks.
    pub(super) fn moment(&self) -> Moment {
        Moment { monotonic: Instant::now(), wall: self.shared.clock.now() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) monotonic: Instant,
    pub(super) wall: Timestamp,
}
