//! Whatever happens in whatever order, nothing is served that may not be.

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Pass(i64),
    Start,
    Bring { session: u8, digest: u8, life: i64, session_life: i64 },
    Refuse(bool),
    Fail,
    Active(u8, u8),
    Waiting,
    Stopped(u8),
    StreamRefused(bool),
    Connected,
    Heartbeat,
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_i64..700).prop_map(Step::Pass),
        4 => Just(Step::Start),
        4 => (0_u8..3, 0_u8..3, -50_i64..2000, -50_i64..4000)
            .prop_map(|(session, digest, life, session_life)| Step::Bring { session, digest, life, session_life }),
        1 => any::<bool>().prop_map(Step::Refuse),
        1 => Just(Step::Fail),
        2 => (0_u8..3, 0_u8..3).prop_map(|(session, digest)| Step::Active(session, digest)),
        1 => Just(Step::Waiting),
        1 => (0_u8..3).prop_map(Step::Stopped),
        1 => any::<bool>().prop_map(Step::StreamRefused),
        1 => Just(Step::Connected),
        2 => Just(Step::Heartbeat),
        1 => Just(Step::Tick),
    ]
}

/// What a reader of the issuer's words alone knows: when it was heard last, which calls began before a stop, which
/// session and grant it named last and when.
#[derive(Default)]
struct Witness {
    contact: i64,
    words: u64,
    call: Option<(u64, u64)>,
    brought: Option<(u64, i64, i64)>,
    other_grant_since: Option<i64>,
}

fn name(session: u8) -> String {
    format!("s-{session}")
}

fn grant(digest: u8) -> String {
    format!("d-{digest}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 700, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_served_past_an_end_a_stop_or_the_grace(steps in prop::collection::vec(step(), 0..60), roll in 0.0..1.0_f64) {
        let mut machine = Machine::new(at(0));
        let mut seen = Witness::default();
        let mut last_held: Option<(u8, u8)> = None;
        let mut now = 0;
        for step in steps {
            let contact = matches!(step, Step::Bring { .. } | Step::Heartbeat);
            let mut stop = false;
            match step {
                Step::Pass(seconds) => now += seconds,
                Step::Start => if seen.call.is_none() {
                    seen.call = Some((machine.fetch_started(at(now)), seen.words));
                },
                Step::Bring { session, digest, life, session_life } => {
                    let Some((epoch, words)) = seen.call.take() else { continue };
                    let credential = held(&name(session), &grant(digest), now + life, now + session_life);
                    machine.apply(Event::Fetched { epoch, held: credential }, at(now), roll);
                    if matches!(machine.view(at(now)), View::Held(held, _)
                        if held.expires_at == at(now + life) && held.session_expires_at == at(now + session_life)) {
                        seen.brought = Some((words, now + life, now + session_life));
                        seen.other_grant_since = None;
                        last_held = Some((session, digest));
                    }
                }
                Step::Refuse(retryable) => {
                    let Some((epoch, words)) = seen.call.take() else { continue };
                    stop = !retryable && words == seen.words && epoch == machine.epoch;
                    machine.apply(Event::Refused { epoch, refusal: refusal("R", retryable) }, at(now), roll);
                }
                Step::Fail => {
                    if seen.call.take().is_none() { continue }
                    machine.apply(Event::Failed { cause: "f".into() }, at(now), roll);
                }
                Step::Active(session, digest) => {
                    machine.apply(active(&name(session), &grant(digest)), at(now), roll);
                    if last_held == Some((session, digest)) {
                        seen.other_grant_since = None;
                    } else {
                        seen.other_grant_since.get_or_insert(now);
                    }
                }
                Step::Waiting => {
                    machine.apply(Event::Stream(StreamMessage::Waiting(refusal("W", true))), at(now), roll);
                    stop = true;
                }
                Step::Stopped(session) => {
                    let refusal = Refusal { session: Some(name(session)), ..refusal("S", false) };
                    machine.apply(Event::Stream(StreamMessage::Stopped(refusal)), at(now), roll);
                    stop = true;
                }
                Step::StreamRefused(retryable) => {
                    machine.apply(Event::StreamRefused(refusal("T", retryable)), at(now), roll);
                    stop = !retryable;
                }
                Step::Connected => machine.apply(Event::Connected, at(now), roll),
                Step::Heartbeat => machine.apply(heartbeat(), at(now), roll),
                Step::Tick => machine.tick(at(now)),
            }
            if contact {
                seen.contact = now;
            }
            if stop {
                seen.words += 1;
                seen.brought = None;
            }
            if let View::Held(held, until) = machine.view(at(now)) {
                let (_, expires, session_expires) = seen.brought.expect("a credential that was brought after the last stop");
                prop_assert!(now < expires && now < session_expires);
                prop_assert!(now < seen.contact + 600);
                prop_assert!(until <= held.ends_at() && until <= at(seen.contact + 600) && until > at(now));
                if let Some(since) = seen.other_grant_since {
                    prop_assert!(now < since + 10, "another grant was named at {since}, and it serves at {now}");
                }
            } else {
                let refusal = refused(&machine, now);
                prop_assert!(!refusal.code.is_empty() && !refusal.message.is_empty());
            }
        }
    }

    #[test]
    fn it_always_comes_back_to_asking(steps in prop::collection::vec(step(), 0..60), roll in 0.0..1.0_f64) {
        let mut machine = Machine::new(at(0));
        let mut now = 0;
        let mut call = None;
        for step in steps {
            match step {
                Step::Pass(seconds) => now += seconds,
                Step::Start => call = call.or_else(|| Some(machine.fetch_started(at(now)))),
                Step::Bring { session, digest, life, session_life } => if let Some(epoch) = call.take() {
                    let credential = held(&name(session), &grant(digest), now + life, now + session_life);
                    machine.apply(Event::Fetched { epoch, held: credential }, at(now), roll);
                },
                Step::Refuse(retryable) => if let Some(epoch) = call.take() {
                    machine.apply(Event::Refused { epoch, refusal: refusal("R", retryable) }, at(now), roll);
                },
                Step::Active(session, digest) => machine.apply(active(&name(session), &grant(digest)), at(now), roll),
                Step::Stopped(_) => {
                    machine.apply(Event::Stream(StreamMessage::Stopped(refusal("S", false))), at(now), roll);
                }
                Step::Waiting => machine.apply(Event::Stream(StreamMessage::Waiting(refusal("W", true))), at(now), roll),
                _ => machine.tick(at(now)),
            }
            if call.is_none() {
                let next = machine.fetch_at().or(machine.ends_at());
                prop_assert!(next.is_some(), "neither a call nor an end is due");
            }
        }
    }
}
