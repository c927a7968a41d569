//! Jittered exponential backoff as a pure function.

use std::time::Duration;

/// How long to wait between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failure.
    pub base: Duration,
    /// The longest wait ever.
    pub cap: Duration,
}

impl Backoff {
    /// A backoff that starts at `base` and never exceeds `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The wait after failure number `attempt`, counted from 0: between half of and the whole of
    /// `base * 2^attempt`, held below `cap`.
    ///
    /// `random` is a number in `[0, 1)` that spreads callers who failed together; what lies outside is taken as
    /// the nearer end. Half of the step is kept, so that a caller never retries at once.
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let factor = 1_u32.checked_shl(attempt).unwrap_or(u32::MAX);
        let step = self.base.saturating_mul(factor).min(self.cap);
        let random = if random.is_finite() { random.clamp(0.0, 1.0) } else { 1.0 };
        let half = step / 2;
        half + half.mul_f64(random)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));

    #[test]
    fn the_wait_doubles_up_to_the_cap() {
        let longest: Vec<_> = (0..9).map(|attempt| BACKOFF.delay(attempt, 1.0).as_millis()).collect();
        assert_eq!(longest, [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000]);
        assert_eq!(BACKOFF.delay(0, 0.0), Duration::from_millis(100));
    }

    #[test]
    fn a_nonsense_random_number_is_taken_as_the_nearer_end() {
        assert_eq!(BACKOFF.delay(0, -3.0), Duration::from_millis(100));
        assert_eq!(BACKOFF.delay(0, 7.0), Duration::from_millis(200));
        assert_eq!(BACKOFF.delay(0, f64::NAN), Duration::from_millis(200));
    }

    proptest! {
        #[test]
        fn the_wait_lies_between_half_a_step_and_the_cap(attempt: u32, random in 0.0..1.0_f64) {
            let delay = BACKOFF.delay(attempt, random);
            prop_assert!(delay >= BACKOFF.base / 2 && delay <= BACKOFF.cap);
            prop_assert!(delay >= BACKOFF.delay(attempt, 0.0));
            if attempt >= 8 {
                prop_assert!(delay >= BACKOFF.cap / 2);
            }
        }
    }
}
