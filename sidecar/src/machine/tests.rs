use std::sync::Arc;

use proptest::prelude::*;

use super::*;

mod properties;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn held(session: &str, digest: &str, expires: i64, session_expires: i64) -> Box<Held> {
    Box::new(Held {
        session: session.into(),
        digest: digest.into(),
        expires_at: at(expires),
        session_expires_at: at(session_expires),
        offline_grace: SignedDuration::from_secs(600),
        observe: false,
        payload: Arc::default(),
    })
}

fn refusal(code: &str, retryable: bool) -> Refusal {
    Refusal {
        code: code.into(),
        message: "m".into(),
        retryable,
        retry_after_seconds: None,
        session: Some("s-1".into()),
    }
}

fn active(session: &str, digest: &str) -> Event {
    Event::Stream(StreamMessage::Active { session: session.into(), digest: digest.into() })
}

fn heartbeat() -> Event {
    Event::Stream(StreamMessage::Heartbeat)
}

/// A machine that holds `s-1` under `d-1` from second 0: credential until 1800, session until 28800.
fn holding() -> Machine {
    let mut machine = Machine::new(at(0));
    let epoch = machine.fetch_started(at(0));
    machine.apply(Event::Fetched { epoch, held: held("s-1", "d-1", 1800, 28_800) }, at(0), 1.0);
    machine.apply(active("s-1", "d-1"), at(0), 1.0);
    assert!(served(&machine, 0).is_some());
    machine
}

/// Lets the stream beat up to second `until`.
fn beat(machine: &mut Machine, until: i64) {
    for second in (machine.contact.as_second() - at(0).as_second()..until).step_by(300) {
        machine.apply(heartbeat(), at(second), 1.0);
    }
    machine.apply(heartbeat(), at(until), 1.0);
}

fn served(machine: &Machine, second: i64) -> Option<String> {
    match machine.view(at(second)) {
        View::Held(held, _) => Some(held.session.clone()),
        View::Refused(_) => None,
    }
}

fn refused(machine: &Machine, second: i64) -> Refusal {
    match machine.view(at(second)) {
        View::Held(held, _) => panic!("serves {}", held.session),
        View::Refused(refusal) => refusal,
    }
}

#[test]
fn before_the_first_answer_it_waits_and_wants_to_fetch_at_once() {
    let machine = Machine::new(at(0));
    assert_eq!(refused(&machine, 0).code, PENDING);
    assert!(refused(&machine, 0).retryable && !machine.started());
    assert_eq!(machine.fetch_at(), Some(at(0)));
}

#[test]
fn a_credential_is_renewed_at_half_of_its_life_and_the_old_one_serves_meanwhile() {
    let mut machine = holding();
    assert!(machine.started());
    assert_eq!(machine.fetch_at(), Some(at(900)));
    beat(&mut machine, 895);
    let epoch = machine.fetch_started(at(900));
    assert_eq!(served(&machine, 900).as_deref(), Some("s-1"));
    machine.apply(Event::Fetched { epoch, held: held("s-1", "d-1", 2700, 28_800) }, at(901), 1.0);
    assert!(served(&machine, 1400).is_some());
    assert_eq!(machine.ends_at(), Some(at(1501)), "without contact the grace ends it");
    machine.apply(heartbeat(), at(1400), 1.0);
    assert!(served(&machine, 1999).is_some());
}

#[test]
fn the_last_credential_of_a_session_is_not_renewed() {
    let mut machine = Machine::new(at(0));
    let epoch = machine.fetch_started(at(0));
    machine.apply(Event::Fetched { epoch, held: held("s-1", "d-1", 1800, 1800) }, at(0), 1.0);
    assert_eq!(machine.fetch_at(), None);
    beat(&mut machine, 1799);
    assert!(served(&machine, 1799).is_some());
    assert_eq!(refused(&machine, 1800).code, EXPIRED);
    assert!(!refused(&machine, 1800).retryable);
    machine.tick(at(1800));
    assert_eq!(machine.fetch_at(), Some(at(1800)), "the next session may be there");
}

#[test]
fn failed_renewals_serve_until_expiry_then_5xx_with_the_issuers_reason() {
    let mut machine = holding();
    for second in [900, 1000, 1200, 1700] {
        beat(&mut machine, second);
        let epoch = machine.fetch_started(at(second));
        machine.apply(Event::Refused { epoch, refusal: refusal("ProviderThrottled", true) }, at(second), 1.0);
        assert!(served(&machine, second).is_some());
    }
    beat(&mut machine, 1799);
    let late = refused(&machine, 1800);
    assert_eq!((late.code.as_str(), late.retryable), ("ProviderThrottled", true));
    machine.tick(at(1800));
    assert_eq!(refused(&machine, 1800).code, "ProviderThrottled");
}

#[test]
fn without_contact_it_serves_for_the_grace_and_names_the_issuer() {
    let mut machine = holding();
    machine.apply(Event::Failed { cause: "connection refused".into() }, at(300), 1.0);
    assert!(served(&machine, 599).is_some());
    let late = refused(&machine, 600);
    assert_eq!((late.code.as_str(), late.retryable), (UNREACHABLE, true));
    assert!(
        late.message.contains("connection refused") && late.message.contains("NetworkPolicies"),
        "{}",
        late.message
    );
    machine.tick(at(600));
    machine.apply(heartbeat(), at(601), 1.0);
    assert!(served(&machine, 601).is_none(), "what was dropped does not come back by a heartbeat");
    machine.apply(active("s-1", "d-1"), at(602), 1.0);
    assert_eq!(machine.fetch_at(), Some(at(602)));
}

#[test]
fn an_issuer_that_sees_nothing_fresh_is_no_contact() {
    let mut machine = holding();
    for second in (0..600).step_by(30) {
        machine.apply(Event::Connected, at(second), 1.0);
        machine.apply(active("s-1", "d-1"), at(second), 1.0);
        machine.apply(Event::StreamRefused(refusal("InternalError", true)), at(second), 1.0);
    }
    assert!(served(&machine, 599).is_some());
    assert_eq!(refused(&machine, 600).code, UNREACHABLE);
}

#[test]
fn a_stop_drops_at_once_and_a_call_in_flight_can_not_undo_it() {
    let mut machine = holding();
    let epoch = machine.fetch_started(at(900));
    machine.apply(Event::Stream(StreamMessage::Stopped(refusal("SessionRevoked", false))), at(901), 1.0);
    assert_eq!(refused(&machine, 901).code, "SessionRevoked");
    machine.apply(Event::Fetched { epoch, held: held("s-1", "d-1", 2700, 28_800) }, at(902), 1.0);
    assert_eq!(refused(&machine, 902).code, "SessionRevoked");
    let epoch = machine.fetch_started(at(1201));
    machine.apply(Event::Fetched { epoch, held: held("s-1", "d-1", 2700, 28_800) }, at(1202), 1.0);
    assert_eq!(refused(&machine, 1202).code, "SessionRevoked", "not even a later answer for the ended session");
}

#[test]
fn after_a_stop_the_next_session_is_fetched_when_the_stream_names_it() {
    let mut machine = holding();
    machine.apply(Event::Stream(StreamMessage::Stopped(refusal("SessionExpired", false))), at(10), 1.0);
    machine.apply(active("s-2", "d-2"), at(20), 1.0);
    assert_eq!(machine.fetch_at(), Some(at(20)));
    assert!(served(&machine, 20).is_none());
    let epoch = machine.fetch_started(at(20));
    machine.apply(Event::Fetched { epoch, held: held("s-2", "d-2", 1820, 28_800) }, at(21), 1.0);
    assert_eq!(served(&machine, 21).as_deref(), Some("s-2"));
}

#[test]
fn a_session_that_the_stream_calls_active_again_may_be_held_again() {
    let mut machine = holding();
    machine.apply(Event::Stream(StreamMessage::Stopped(refusal("HolderConflict", false))), at(10), 1.0);
    machine.apply(active("s-1", "d-1"), at(20), 1.0);
    let epoch = machine.fetch_started(at(20));
    machine.apply(Event::Fetched { epoch, held: held("s-1", "d-1", 1820, 28_800) }, at(21), 1.0);
    assert_eq!(served(&machine, 21).as_deref(), Some("s-1"));
}

#[test]
fn waiting_drops_and_is_retryable_whatever_it_says() {
    let mut machine = holding();
    machine.apply(Event::Stream(StreamMessage::Waiting(refusal("Deciding", false))), at(10), 1.0);
    let waits = refused(&machine, 10);
    assert_eq!((waits.code.as_str(), waits.retryable), ("Deciding", true));
    assert!(machine.fetch_at().is_some_and(|next| next > at(20)));
    assert_eq!(refused(&machine, 100).code, UNREACHABLE, "an old word is not repeated when nobody answers");
}

#[test]
fn another_grant_serves_ten_seconds_more_while_its_credential_is_fetched() {
    let mut machine = holding();
    machine.apply(active("s-1", "d-2"), at(100), 1.0);
    assert_eq!(machine.fetch_at(), Some(at(100)));
    assert!(served(&machine, 109).is_some());
    assert_eq!(refused(&machine, 110).code, PENDING);
    machine.apply(active("s-1", "d-2"), at(105), 1.0);
    assert_eq!(machine.ends_at(), Some(at(110)), "naming it again does not lengthen the grace");
    let epoch = machine.fetch_started(at(105));
    machine.apply(Event::Fetched { epoch, held: held("s-1", "d-2", 1900, 28_800) }, at(106), 1.0);
    assert!(served(&machine, 700).is_some());
}

#[test]
fn a_call_that_started_under_the_old_grant_is_taken_only_if_it_brings_the_new_one() {
    for (digest, taken) in [("d-1", false), ("d-2", true)] {
        let mut machine = Machine::new(at(0));
        let epoch = machine.fetch_started(at(0));
        machine.apply(active("s-1", "d-2"), at(1), 1.0);
        machine.apply(Event::Fetched { epoch, held: held("s-1", digest, 1800, 28_800) }, at(2), 1.0);
        assert_eq!(served(&machine, 2).is_some(), taken, "{digest}");
        assert_eq!(machine.fetch_at() == Some(at(1)), !taken, "{digest}");
    }
}

#[test]
fn an_issuer_that_tells_no_digest_is_believed_by_the_streams_first_word() {
    let mut machine = Machine::new(at(0));
    let epoch = machine.fetch_started(at(0));
    machine.apply(Event::Fetched { epoch, held: held("s-1", "", 1800, 28_800) }, at(0), 1.0);
    machine.apply(active("s-1", "d-1"), at(1), 1.0);
    assert_eq!(machine.fetch_at(), Some(at(900)));
    machine.apply(active("s-1", "d-2"), at(2), 1.0);
    assert_eq!(machine.fetch_at(), Some(at(2)));
}

#[test]
fn a_denial_is_known_and_asked_again_after_minutes_only() {
    let mut machine = Machine::new(at(0));
    let epoch = machine.fetch_started(at(0));
    machine.apply(Event::Refused { epoch, refusal: refusal("PodNotCovered", false) }, at(0), 1.0);
    assert!(machine.started());
    assert_eq!(refused(&machine, 4000).code, "PodNotCovered");
    assert!(machine.fetch_at().unwrap() >= at(300));
}

#[test]
fn a_call_that_was_refused_is_undone_by_a_later_one_that_is_not() {
    let mut machine = holding();
    let epoch = machine.fetch_started(at(10));
    machine.apply(Event::Refused { epoch, refusal: refusal("TokenInvalid", false) }, at(10), 1.0);
    assert_eq!(refused(&machine, 10).code, "TokenInvalid");
    let epoch = machine.fetch_started(at(340));
    machine.apply(Event::Fetched { epoch, held: held("s-1", "d-1", 2140, 28_800) }, at(341), 1.0);
    assert!(served(&machine, 341).is_some());
}

#[test]
fn a_pending_session_is_not_started_and_the_stream_shortens_the_wait() {
    let mut machine = Machine::new(at(0));
    let epoch = machine.fetch_started(at(0));
    machine.apply(Event::Refused { epoch, refusal: refusal("SessionNotFound", true) }, at(0), 1.0);
    assert!(!machine.started());
    assert_eq!(machine.fetch_at(), Some(at(1)));
    machine.apply(active("s-1", "d-1"), Timestamp::from_millisecond(1_800_000_000_300).unwrap(), 1.0);
    assert_eq!(machine.fetch_at(), Some(Timestamp::from_millisecond(1_800_000_000_300).unwrap()));
}

#[test]
fn a_refusal_that_raced_with_the_session_becoming_active_is_asked_again_at_once() {
    let mut machine = Machine::new(at(0));
    let epoch = machine.fetch_started(at(0));
    machine.apply(active("s-1", "d-1"), at(1), 1.0);
    machine.apply(Event::Refused { epoch, refusal: refusal("PodNotCovered", false) }, at(2), 1.0);
    assert_eq!(machine.fetch_at(), Some(at(1)));
    assert!(!machine.started());
}

#[test]
fn an_already_ended_credential_is_a_failure_that_names_the_clock() {
    let mut machine = Machine::new(at(0));
    let epoch = machine.fetch_started(at(0));
    machine.apply(Event::Fetched { epoch, held: held("s-1", "d-1", -5, 28_800) }, at(0), 1.0);
    assert!(refused(&machine, 0).message.contains("clock"), "{}", refused(&machine, 0).message);
}

#[test]
fn a_throttled_poll_does_not_hide_why_a_session_was_stopped() {
    let mut machine = holding();
    machine.apply(Event::Stream(StreamMessage::Stopped(refusal("SessionRevoked", false))), at(10), 1.0);
    let epoch = machine.fetch_started(at(310));
    machine.apply(Event::Refused { epoch, refusal: refusal("RateLimited", true) }, at(311), 1.0);
    assert_eq!(refused(&machine, 311).code, "SessionRevoked");
    machine.apply(Event::Failed { cause: "gone".into() }, at(312), 1.0);
    assert_eq!(refused(&machine, 4000).code, "SessionRevoked");
}

#[test]
fn a_holder_conflict_is_asked_again_and_what_is_held_is_kept() {
    let conflict = Refusal { retry_after_seconds: Some(2), ..refusal("HolderConflict", true) };
    let mut machine = holding();
    beat(&mut machine, 895);
    machine.apply(Event::StreamRefused(conflict.clone()), at(899), 1.0);
    for second in [900, 903] {
        let epoch = machine.fetch_started(at(second));
        machine.apply(Event::Refused { epoch, refusal: conflict.clone() }, at(second), 1.0);
        assert_eq!(served(&machine, second).as_deref(), Some("s-1"));
        assert!(machine.fetch_at().is_some_and(|next| next >= at(second + 2) && next <= at(second + 5)));
    }
    let mut restarted = Machine::new(at(0));
    let epoch = restarted.fetch_started(at(0));
    restarted.apply(Event::Refused { epoch, refusal: conflict }, at(0), 1.0);
    assert_eq!((refused(&restarted, 0).code.as_str(), restarted.started()), ("HolderConflict", false));
    assert!(restarted.fetch_at().is_some_and(|next| next >= at(2) && next <= at(3)));
    let epoch = restarted.fetch_started(at(2));
    restarted.apply(Event::Fetched { epoch, held: held("s-1", "d-1", 1800, 28_800) }, at(2), 1.0);
    assert_eq!(served(&restarted, 2).as_deref(), Some("s-1"), "kubelet has reported the restart by now");
}

#[test]
fn the_streams_refusal_counts_as_a_stop_only_when_waiting_can_not_help() {
    let mut machine = holding();
    machine.apply(Event::StreamRefused(refusal("RateLimited", true)), at(10), 1.0);
    assert!(served(&machine, 10).is_some());
    machine.apply(Event::StreamRefused(refusal("PodGone", false)), at(11), 1.0);
    assert_eq!(refused(&machine, 11).code, "PodGone");
}
