//! When to ask the issuer again. Pure: `now` and the random number are arguments.

use exeat_runtime::backoff::Backoff;
use jiff::{SignedDuration, Timestamp};

/// Shortest time between two calls for a credential, whatever the issuer says.
pub const MIN_GAP: SignedDuration = SignedDuration::from_millis(200);
/// Longest wait that an issuer's Retry-After is followed for.
pub const MAX_RETRY_AFTER: SignedDuration = SignedDuration::from_mins(5);
/// Waits after a call that brought no credential.
const BACKOFF: Backoff = Backoff::new(std::time::Duration::from_secs(1), std::time::Duration::from_secs(60));
/// Waits while the session waits: the stream tells sooner, this repairs a lost message.
const WAITING_POLL: SignedDuration = SignedDuration::from_secs(30);
/// Waits after a denial: the stream tells sooner, this repairs a lost message.
const STOPPED_POLL: SignedDuration = SignedDuration::from_mins(5);
/// Earliest share of a credential's life at which it is renewed; the latest is one half.
const EARLIEST: f64 = 0.4;

/// When a credential that came at `issued_at` and ends at `expires_at` is renewed: between 40 and 50 per cent of its life,
/// so that callers who started together spread, and at least half of the life is always left.
pub fn renew_at(issued_at: Timestamp, expires_at: Timestamp, roll: f64) -> Timestamp {
    let life = expires_at.duration_since(issued_at).max(SignedDuration::ZERO);
    let share = EARLIEST + (0.5 - EARLIEST) * unit(roll);
    after(issued_at, SignedDuration::from_secs_f64(life.as_secs_f64() * share))
}

/// When to call again after failure number `failures` (counted from 0): exponential with jitter, at least `retry_after`.
pub fn retry_at(now: Timestamp, failures: u32, retry_after: Option<u64>, roll: f64) -> Timestamp {
    let asked = retry_after.map_or(SignedDuration::ZERO, |seconds| {
        SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)).min(MAX_RETRY_AFTER)
    });
    let own = SignedDuration::try_from(BACKOFF.delay(failures, roll)).unwrap_or(MAX_RETRY_AFTER);
    if asked > own { after(now, spread(asked, roll)) } else { after(now, own) }
}

/// When to ask again while the issuer says that the session waits.
pub fn waiting_at(now: Timestamp, retry_after: Option<u64>, roll: f64) -> Timestamp {
    let asked = retry_after.and_then(|seconds| i64::try_from(seconds).ok()).map(SignedDuration::from_secs);
    after(now, spread(asked.unwrap_or(WAITING_POLL).clamp(SignedDuration::from_secs(1), MAX_RETRY_AFTER), roll))
}

/// When to ask again after a denial.
pub fn stopped_at(now: Timestamp, roll: f64) -> Timestamp {
    after(now, spread(STOPPED_POLL, roll))
}

/// `now + step`, at the latest the end of time.
pub fn after(now: Timestamp, step: SignedDuration) -> Timestamp {
    now.checked_add(step).unwrap_or(Timestamp::MAX)
}

/// Up to a tenth more: never sooner than asked for.
fn spread(wait: SignedDuration, roll: f64) -> SignedDuration {
    wait.saturating_add(SignedDuration::from_secs_f64(wait.as_secs_f64() * 0.1 * unit(roll)))
}

fn unit(roll: f64) -> f64 {
    if roll.is_finite() { roll.clamp(0.0, 1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn thirty_minutes_leave_fifteen() {
        assert_eq!(renew_at(at(0), at(1800), 1.0), at(900));
        assert_eq!(renew_at(at(0), at(1800), 0.0), at(720));
    }

    proptest! {
        #[test]
        fn renewal_leaves_at_least_half_and_waits_for_two_fifths(life in 0_i64..100_000, roll in -1.0..2.0_f64) {
            let at_ms = |ms: i64| Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap();
            let renew = renew_at(at(0), at(life), roll);
            prop_assert!(renew >= at_ms(life * 400 - 1), "{renew}");
            prop_assert!(renew <= at_ms(life * 500 + 1), "{renew}");
        }

        #[test]
        fn a_retry_is_never_sooner_than_asked_for_nor_later_than_five_and_a_half_minutes(
            failures: u32, asked: Option<u64>, roll in 0.0..1.0_f64
        ) {
            let retry = retry_at(at(0), failures, asked, roll);
            prop_assert!(retry > at(0));
            let floor = i64::try_from(asked.unwrap_or(0).min(300)).unwrap();
            prop_assert!(retry >= at(floor), "{retry}");
            prop_assert!(retry <= at(331), "{retry}");
        }

        #[test]
        fn polls_stay_within_bounds(asked: Option<u64>, roll in 0.0..1.0_f64) {
            let waiting = waiting_at(at(0), asked, roll);
            prop_assert!(waiting >= at(1) && waiting <= at(330), "{waiting}");
            let stopped = stopped_at(at(0), roll);
            prop_assert!(stopped >= at(300) && stopped <= at(330), "{stopped}");
        }
    }
}
