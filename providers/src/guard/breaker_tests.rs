use proptest::prelude::*;

use super::*;

const SETTINGS: BreakerSettings = BreakerSettings {
    threshold: 3,
    backoff: Backoff::new(Duration::from_secs(2), Duration::from_secs(60)),
    trial_timeout: Duration::from_secs(20),
};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn it_opens_after_failures_in_a_row_and_only_then() {
    let start = Instant::now();
    let mut breaker = Breaker::new(SETTINGS);
    for _ in 0..2 {
        breaker.failed(start, Pass::Normal, None, 1.0);
    }
    breaker.answered();
    for _ in 0..2 {
        breaker.failed(start, Pass::Normal, None, 1.0);
    }
    assert_eq!(breaker.admit(start), Ok(Pass::Normal));
    breaker.failed(start, Pass::Normal, None, 1.0);
    assert_eq!(breaker.admit(start), Err(seconds(2)));
}

#[test]
fn one_trial_at_a_time_decides_and_each_failed_one_waits_longer() {
    let start = Instant::now();
    let mut breaker = Breaker::new(BreakerSettings { threshold: 1, ..SETTINGS });
    breaker.failed(start, Pass::Normal, None, 1.0);
    let mut now = start + seconds(2);
    for wait in [4, 8, 16, 32, 60, 60] {
        assert_eq!(breaker.admit(now), Ok(Pass::Trial));
        assert!(breaker.admit(now).is_err(), "a second call while the trial is out");
        breaker.failed(now, Pass::Trial, None, 1.0);
        assert_eq!(breaker.admit(now), Err(seconds(wait)));
        now += seconds(wait);
    }
    assert_eq!(breaker.admit(now), Ok(Pass::Trial));
    breaker.answered();
    assert!(!breaker.is_open());
    assert_eq!(breaker.admit(now), Ok(Pass::Normal));
}

#[test]
fn a_trial_that_is_given_up_or_lost_makes_room_for_another() {
    let start = Instant::now();
    let mut breaker = Breaker::new(BreakerSettings { threshold: 1, ..SETTINGS });
    breaker.failed(start, Pass::Normal, None, 1.0);
    let now = start + seconds(2);
    assert_eq!(breaker.admit(now), Ok(Pass::Trial));
    breaker.abandoned(now, Pass::Trial);
    assert_eq!(breaker.admit(now), Ok(Pass::Trial));
    assert!(breaker.admit(now + seconds(19)).is_err());
    assert_eq!(breaker.admit(now + seconds(20)), Ok(Pass::Trial));
}

#[test]
fn late_failures_of_earlier_calls_do_not_prolong_it() {
    let start = Instant::now();
    let mut breaker = Breaker::new(BreakerSettings { threshold: 1, ..SETTINGS });
    breaker.failed(start, Pass::Normal, None, 1.0);
    breaker.failed(start + seconds(1), Pass::Normal, None, 1.0);
    assert_eq!(breaker.admit(start + seconds(2)), Ok(Pass::Trial));
    breaker.failed(start + seconds(2), Pass::Normal, None, 1.0);
    assert!(breaker.admit(start + seconds(2)).is_err(), "the trial is still out");
    breaker.abandoned(start + seconds(2), Pass::Normal);
    assert!(breaker.admit(start + seconds(2)).is_err(), "the trial is still out");
}

#[test]
fn a_time_that_the_provider_names_is_kept_within_reason() {
    let start = Instant::now();
    let mut breaker = Breaker::new(BreakerSettings { threshold: 1, ..SETTINGS });
    breaker.failed(start, Pass::Normal, Some(seconds(30)), 1.0);
    assert_eq!(breaker.admit(start), Err(seconds(30)));
    let mut breaker = Breaker::new(BreakerSettings { threshold: 1, ..SETTINGS });
    breaker.failed(start, Pass::Normal, Some(seconds(100_000)), 1.0);
    assert_eq!(breaker.admit(start), Err(seconds(120)));
}

#[test]
fn a_bucket_lets_a_burst_through_and_then_its_rate() {
    let start = Instant::now();
    let mut bucket = Bucket::new(2, 3, start);
    for _ in 0..3 {
        assert_eq!(bucket.take(start), Ok(()));
    }
    assert_eq!(bucket.take(start), Err(Duration::from_millis(500)));
    assert_eq!(bucket.take(start + Duration::from_millis(500)), Ok(()));
    assert!(bucket.take(start + Duration::from_millis(500)).is_err());
    assert_eq!(bucket.take(start), Err(Duration::from_millis(500)), "a clock that jumps back gives nothing");
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Call(Outcome),
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Answer,
    Fail,
    Abandon,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..5_000).prop_map(Step::Wait),
        prop_oneof![Just(Outcome::Answer), Just(Outcome::Fail), Just(Outcome::Abandon)].prop_map(Step::Call),
    ]
}

proptest! {
    #[test]
    fn it_never_stays_shut_for_longer_than_it_says(steps in prop::collection::vec(step(), 1..80), random in 0.0..1.0_f64) {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(SETTINGS);
        let mut failures = 0;
        for step in steps {
            match step {
                Step::Wait(millis) => now += Duration::from_millis(millis),
                Step::Call(outcome) => match breaker.admit(now) {
                    Ok(pass) => match outcome {
                        Outcome::Answer => { breaker.answered(); failures = 0; }
                        Outcome::Fail => { breaker.failed(now, pass, None, random); failures += 1; }
                        Outcome::Abandon => breaker.abandoned(now, pass),
                    },
                    Err(wait) => {
                        prop_assert!(failures >= SETTINGS.threshold, "refused after {failures} failures");
                        prop_assert!(wait <= SETTINGS.backoff.cap * 2);
                        prop_assert!(breaker.clone().admit(now + wait.max(SETTINGS.trial_timeout)).is_ok());
                    }
                },
            }
        }
    }

    #[test]
    fn a_bucket_never_gives_more_than_burst_and_rate(
        rate in 1_u32..50, burst in 1_u32..50, waits in prop::collection::vec(0_u64..400, 1..200),
    ) {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate, burst, start);
        let (mut now, mut taken) = (start, 0_u32);
        for wait in waits {
            now += Duration::from_millis(wait);
            match bucket.take(now) {
                Ok(()) => taken += 1,
                Err(wait) => {
                    let mut later = bucket;
                    prop_assert!(later.take(now + wait + Duration::from_micros(1)).is_ok());
                }
            }
        }
        let most = f64::from(burst) + f64::from(rate) * (now - start).as_secs_f64();
        prop_assert!(f64::from(taken) <= most + 1e-6, "{taken} of {most}");
    }
}
