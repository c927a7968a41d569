//! Who comes back although what it was given is good for long. Pure.
//!
//! A sidecar that was started anew has nothing and asks again, so one further credential is given at once; whoever asks for more of them
//! waits a share of the life of those that it has. So a pod costs what its credentials' lives make it cost, however often it asks.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Of a credential's life: sidecars renew far later.
const SHARE: u32 = 10;
/// However long a credential lives, nobody waits longer: about as long as kubelet makes a container wait that keeps failing.
const LONGEST: Duration = Duration::from_secs(60);
/// Sessions that are remembered before those are forgotten that need not wait.
const MANY: usize = 10_000;

/// What sessions were given of late.
#[derive(Default)]
pub(super) struct Early(HashMap<String, Given>);

struct Given {
    /// When what was given is spread over its time.
    spread_until: Instant,
    pause: Duration,
}

impl Early {
    /// Whether a session, by its UID, may be given one more, or how long to wait.
    pub(super) fn ready(&self, session: &str, now: Instant) -> Result<(), Duration> {
        let Some(given) = self.0.get(session) else { return Ok(()) };
        match given.spread_until.saturating_duration_since(now).saturating_sub(given.pause) {
            Duration::ZERO => Ok(()),
            wait => Err(wait),
        }
    }

    /// A session was given a credential that is good for this long.
    pub(super) fn given(&mut self, session: &str, life: Duration, now: Instant) {
        if self.0.len() >= MANY {
            self.0.retain(|_, given| given.spread_until > now);
        }
        let pause = (life / SHARE).min(LONGEST);
        let given = self.0.entry(session.to_owned()).or_insert(Given { spread_until: now, pause });
        *given = Given { spread_until: given.spread_until.max(now) + pause, pause };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn given_in(early: &mut Early, session: &str, life: Duration, from: Instant, seconds: u64) -> usize {
        let asks = (0..=seconds).map(|n| from + Duration::from_secs(n));
        asks.filter(|at| early.ready(session, *at).map(|()| early.given(session, life, *at)).is_ok()).count()
    }

    #[test]
    fn one_further_credential_is_given_at_once_and_then_one_in_a_share_of_its_life() {
        let (mut early, start) = (Early::default(), Instant::now());
        assert_eq!(given_in(&mut early, "eager", Duration::from_secs(300), start, 29), 2);
        assert_eq!(early.ready("eager", start + Duration::from_secs(29)), Err(Duration::from_secs(1)));
        assert_eq!(given_in(&mut early, "eager", Duration::from_secs(300), start + Duration::from_secs(30), 299), 10);
        assert!(early.ready("other", start).is_ok());
    }

    #[test]
    fn nobody_waits_longer_than_a_minute_and_who_renews_in_time_never() {
        let (mut early, start) = (Early::default(), Instant::now());
        assert_eq!(given_in(&mut early, "eager", 10 * HOUR, start, 59), 2);
        assert!(early.ready("eager", start + LONGEST).is_ok());
        for n in 0..20 {
            let renewal = start + HOUR * n / 2;
            assert!(early.ready("orderly", renewal).is_ok(), "{n}");
            early.given("orderly", HOUR, renewal);
        }
        early.given("over", Duration::ZERO, start);
        assert!(early.ready("over", start).is_ok());
    }

    #[test]
    fn who_need_not_wait_is_forgotten() {
        let (mut early, start) = (Early::default(), Instant::now());
        for n in 0..MANY {
            early.given(&n.to_string(), HOUR, start);
        }
        early.given("one more", HOUR, start + HOUR);
        assert_eq!(early.0.len(), 1);
    }
}
