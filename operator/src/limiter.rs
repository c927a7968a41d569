//! A token bucket for each name (of a namespace, of a pod): who is noisy waits, the others do not. Pure.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Burst, in seconds of the rate.
const BURST_SECONDS: u32 = 10;
/// Names that are remembered; full buckets are forgotten first.
const MAX_BUCKETS: usize = 10_000;

/// Buckets by name.
pub(crate) struct Limiter {
    rate: f64,
    full: f64,
    buckets: HashMap<String, (f64, Instant)>,
}

impl Limiter {
    /// `rate`: requests a second; ten times as many in a burst.
    pub(crate) fn new(rate: u32) -> Self {
        Self::with_burst(rate, BURST_SECONDS)
    }

    /// `rate` requests a second, after a burst of as many as `seconds` would bring.
    pub(crate) fn with_burst(rate: u32, seconds: u32) -> Self {
        let rate = f64::from(rate.max(1));
        Self { rate, full: rate * f64::from(seconds), buckets: HashMap::new() }
    }

    /// One request in `pause`, which is not zero, after a burst of as many.
    pub(crate) fn slow(pause: Duration, burst: u32) -> Self {
        Self { rate: 1.0 / pause.as_secs_f64(), full: f64::from(burst), buckets: HashMap::new() }
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
        let full = self.full;
        if self.buckets.len() >= MAX_BUCKETS {
            let rate = self.rate;
            self.buckets.retain(|_, (tokens, at)| *tokens + now.duration_since(*at).as_secs_f64() * rate < full);
        }
        let (tokens, at) = self.buckets.entry(name.to_owned()).or_insert((full, now));
        *tokens = (*tokens + now.duration_since(*at).as_secs_f64() * self.rate).min(full);
        *at = now;
        if *tokens >= 1.0 {
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - *tokens) / self.rate))
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
