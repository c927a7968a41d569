//! A token bucket for each name (of a namespace, of a pod): who is noisy waits, the others do not. Pure.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Burst, in seconds of the rate.
const BURST_SECONDS: u32 = 10;
/// Names that are remembered; full buckets are forgotten first.
const MAX_BUCKETS: usize = 10_000;

/// Whoever asked within this time shares what there is with the others.
const LATELY: Duration = Duration::from_secs(60);
/// How often they are counted.
const COUNTED: Duration = Duration::from_secs(1);
/// Names that are served at their full rate together; of more each has less.
const CROWD: f64 = 5.0;
/// What each has of its rate at least, however many ask.
const LEAST: f64 = 0.1;

/// Buckets by name.
pub(crate) struct Limiter {
    rate: f64,
    full: f64,
    crowd: Option<Crowd>,
    buckets: HashMap<String, (f64, Instant)>,
}

/// How many names asked lately, and when they were counted.
#[derive(Default)]
struct Crowd {
    names: usize,
    at: Option<Instant>,
}

impl Limiter {
    /// `rate`: requests a second; ten times as many in a burst.
    pub(crate) fn new(rate: u32) -> Self {
        Self::with_burst(rate, BURST_SECONDS)
    }

    /// `rate` requests a second, after a burst of as many as `seconds` would bring.
    pub(crate) fn with_burst(rate: u32, seconds: u32) -> Self {
        let rate = f64::from(rate.max(1));
        Self { rate, full: rate * f64::from(seconds), crowd: None, buckets: HashMap::new() }
    }

    /// One request in `pause`, which is not zero, after a burst of as many.
    pub(crate) fn slow(pause: Duration, burst: u32) -> Self {
        Self { rate: 1.0 / pause.as_secs_f64(), full: f64::from(burst), crowd: None, buckets: HashMap::new() }
    }

    /// With a rate that shrinks as more names ask: what [`CROWD`] of them may have is shared by all that asked [`LATELY`]. The burst stays.
    pub(crate) fn shared(self) -> Self {
        Self { crowd: Some(Crowd::default()), ..self }
    }

    /// Takes a token, or says how long to wait for one.
    pub(crate) fn take(&mut self, name: &str, now: Instant) -> Result<(), Duration> {
        self.ready(name, now)?;
        if let Some((tokens, _)) = self.buckets.get_mut(name) {
            *tokens -= 1.0;
        }
        Ok(())
    }

    /// Whether there is a token to take, or how long to wait for one.
    pub(crate) fn ready(&mut self, name: &str, now: Instant) -> Result<(), Duration> {
        let (rate, full) = (self.rate(now), self.full);
        if self.buckets.len() >= MAX_BUCKETS {
            self.buckets.retain(|_, (tokens, at)| *tokens + now.duration_since(*at).as_secs_f64() * rate < full);
        }
        let (tokens, at) = self.buckets.entry(name.to_owned()).or_insert((full, now));
        *tokens = (*tokens + now.duration_since(*at).as_secs_f64() * rate).min(full);
        *at = now;
        if *tokens >= 1.0 {
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - *tokens) / rate))
    }

    /// Tokens a second that each name gets now.
    fn rate(&mut self, now: Instant) -> f64 {
        let Some(crowd) = &mut self.crowd else { return self.rate };
        if crowd.at.is_none_or(|at| now.duration_since(at) >= COUNTED) {
            crowd.names = self.buckets.values().filter(|(_, at)| now.duration_since(*at) < LATELY).count();
            crowd.at = Some(now);
        }
        let names = u32::try_from(crowd.names).unwrap_or(u32::MAX);
        self.rate * (CROWD / f64::from(names.max(1))).clamp(LEAST, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds_and_others_are_untouched() {
        let start = Instant::now();
        let mut limiter = Limiter::new(2);
        assert_eq!((0..50).filter(|_| limiter.take("noisy", start).is_ok()).count(), 20);
        assert!(limiter.take("quiet", start).is_ok());
        let wait = limiter.take("noisy", start).unwrap_err();
        assert!(limiter.take("noisy", start + wait).is_ok());
        assert!(limiter.take("noisy", start + wait).is_err());
    }

    #[test]
    fn of_many_that_ask_each_gets_less_and_all_of_it_again_when_they_are_gone() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut limiter = Limiter::with_burst(2, 30).shared();
        let mut passes = |names: usize, from: u64, seconds: u64| {
            let mut passed = 0;
            for second in from..from + seconds {
                for other in 1..names {
                    assert!(
                        limiter.take(&format!("other-{other}"), at(second)).is_ok(),
                        "who asks once a second or less"
                    );
                }
                passed += (0..10).filter(|_| limiter.take("noisy", at(second)).is_ok()).count();
            }
            passed
        };
        assert_eq!(passes(1, 0, 60), 60 + 118, "its burst, and then its rate");
        assert_eq!(passes(5, 60, 20), 40);
        // One second until they are counted.
        assert_eq!(passes(10, 80, 21), 2 + 20);
        assert_eq!(passes(1, 300, 60) - 60, 118, "alone again");
        assert_eq!(passes(50, 1000, 51) - 60, 10, "never less than a tenth");
    }

    #[test]
    fn a_look_takes_nothing() {
        let start = Instant::now();
        let mut limiter = Limiter::slow(Duration::from_secs(10), 1);
        assert!((0..5).all(|_| limiter.ready("one", start).is_ok()));
        assert!(limiter.take("one", start).is_ok());
        assert_eq!(limiter.ready("one", start), Err(Duration::from_secs(10)));
        assert!(limiter.ready("two", start).is_ok());
    }

    #[test]
    fn a_slow_one_lets_one_pass_in_its_pause_once_the_burst_is_over() {
        let start = Instant::now();
        let mut limiter = Limiter::slow(Duration::from_secs(10), 3);
        assert_eq!((0..5).filter(|_| limiter.take("pod", start).is_ok()).count(), 3);
        assert_eq!(limiter.take("pod", start).unwrap_err(), Duration::from_secs(10));
        assert!(limiter.take("pod", start + Duration::from_secs(10)).is_ok());
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..5).filter(|_| limiter.take("pod", later).is_ok()).count(), 3);
    }
}
