use super::state::*;
use exeat_crds::names;
use exeat_runtime::ca::secret::{FORMER, FORMER_UNTIL, KEY};
use exeat_runtime::ca::{MAX_CROSSES, ROOT_OVERLAP, ROOT_VALIDITY, certificates};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

const HOST: &str = "exeat-issuer.exeat-system.svc";

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn later(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

fn hours(hours: i64) -> Timestamp {
    later(hours * 3600)
}

fn asking(mut secret: Secret, value: &str) -> Secret {
    secret.metadata.annotations.get_or_insert_default().insert(names::ROTATE.to_owned(), value.to_owned());
    secret
}

fn held(secret: &Secret, key: &str) -> Option<String> {
    secret.data.as_ref()?.get(key).map(|bytes| String::from_utf8(bytes.0.clone()).unwrap())
}

fn first() -> Secret {
    State::first(HOST, None, start()).unwrap().write(Secret::default())
}

fn read(secret: &Secret, now: Timestamp) -> State {
    State::read(secret, now).unwrap().unwrap()
}

fn action(secret: &Secret, now: Timestamp) -> Action {
    decide(State::read(secret, now).unwrap().as_ref(), asked(secret), now)
}

/// What a replica that looks now makes of the Secret.
fn step(secret: &Secret, now: Timestamp) -> Secret {
    let state = read(secret, now);
    match action(secret, now) {
        Action::Keep => secret.clone(),
        Action::Rotate => state.rotated(asked(secret), ROOT_OVERLAP, now).unwrap().write(secret.clone()),
        Action::DropFormer => state.settled().write(secret.clone()),
        Action::Fill => panic!("nothing to fill"),
    }
}

#[test]
fn a_first_root_is_kept_as_it_was_written() {
    for empty in [
        Secret::default(),
        Secret { data: Some([(CERTIFICATE.to_owned(), ByteString(b" \n".to_vec()))].into()), ..Secret::default() },
    ] {
        assert!(State::read(&empty, start()).unwrap().is_none());
        assert_eq!(action(&empty, start()), Action::Fill);
    }
    let secret = first();
    assert_eq!(action(&secret, start()), Action::Keep);
    let state = read(&secret, start());
    assert_eq!(state.bundle(), held(&secret, CERTIFICATE).unwrap());
    assert!(state.crosses.is_empty());
    assert!(held(&secret, CROSSES).is_none() && held(&secret, FORMER).is_none());
}

#[test]
fn a_rotation_leaves_a_cross_the_former_certificate_for_a_while_and_no_former_key() {
    let old = asking(first(), "one");
    assert_eq!(action(&old, hours(1)), Action::Rotate);
    let new = step(&old, hours(1));
    assert_ne!(held(&new, CERTIFICATE), held(&old, CERTIFICATE));
    let old_key = held(&old, KEY).unwrap();
    assert!(new.data.as_ref().unwrap().keys().all(|key| held(&new, key).unwrap() != old_key), "the old key is gone");
    assert_eq!(new.metadata.annotations.as_ref().unwrap()[names::ROTATED], "one");
    let state = read(&new, hours(1));
    assert_eq!(state.crosses.len(), 1);
    assert_eq!(state.bundle(), held(&new, CERTIFICATE).unwrap() + &held(&old, CERTIFICATE).unwrap());

    assert_eq!(action(&new, hours(2) - SignedDuration::from_secs(1)), Action::Keep);
    assert_eq!(action(&new, hours(2)), Action::DropFormer);
    let settled = step(&new, hours(2));
    assert_eq!(action(&settled, hours(2)), Action::Keep);
    let state = read(&settled, hours(2));
    assert_eq!(state.bundle(), held(&new, CERTIFICATE).unwrap());
    assert_eq!(state.crosses.len(), 1, "old pods are about for longer than the overlap");
    assert!(held(&settled, FORMER).is_none() && held(&settled, FORMER_UNTIL).is_none());
}

#[test]
fn the_next_wish_waits_for_the_overlap_and_is_then_fulfilled() {
    let secret = step(&asking(first(), "one"), start());
    let again = asking(secret, "two");
    assert_eq!(action(&again, later(60)), Action::Keep);
    let settled = step(&again, hours(1));
    assert_eq!(action(&settled, hours(1)), Action::Rotate);
    let second = step(&settled, hours(1));
    assert_eq!(second.metadata.annotations.as_ref().unwrap()[names::ROTATED], "two");
    assert_eq!(read(&second, hours(1)).crosses.len(), 2);
    assert_eq!(certificates(&held(&second, CROSSES).unwrap()).count(), 2);
}

#[test]
fn a_wish_from_before_the_first_root_is_handled_by_it() {
    let empty = asking(Secret::default(), "early");
    let secret = State::first(HOST, asked(&empty), start()).unwrap().write(empty);
    assert_eq!(action(&secret, hours(5)), Action::Keep);
}

#[test]
fn a_root_is_rotated_at_two_thirds_of_its_life_without_a_wish() {
    let secret = asking(first(), "one");
    let secret = step(&step(&secret, hours(48)), hours(49));
    let life = SignedDuration::try_from(ROOT_VALIDITY).unwrap();
    assert_eq!(action(&secret, start() + life / 3 * 2 - SignedDuration::from_hours(24)), Action::Keep);
    let due = start() + life / 3 * 2 + SignedDuration::from_hours(72);
    assert_eq!(action(&secret, due), Action::Rotate);
    let rotated = step(&secret, due);
    assert_eq!(rotated.metadata.annotations.as_ref().unwrap()[names::ROTATED], "one");
    assert_eq!(read(&rotated, due).crosses.len(), 2);
    let expired = start() + life + SignedDuration::from_hours(1);
    assert_eq!(read(&rotated, expired).crosses.len(), 1, "the cross of the first root ends with it");
    assert!(
        State::read(&secret, expired + SignedDuration::from_hours(48)).unwrap().is_none(),
        "nobody is served from it"
    );
}

#[test]
fn so_many_crosses_are_kept_as_a_path_may_have() {
    let mut secret = first();
    for round in 0..7 {
        secret = step(&asking(secret, &format!("{round}")), hours(round));
        secret = step(&secret, hours(round + 1));
    }
    assert_eq!(read(&secret, hours(8)).crosses.len(), usize::from(MAX_CROSSES));
}

#[test]
fn a_secret_that_is_half_or_damaged_is_left_alone_and_named() {
    let damaged = |key: &str, text: &str| {
        let mut secret = first();
        secret.data.as_mut().unwrap().insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
        State::read(&secret, start())
    };
    for (key, text, named) in
        [(KEY, "", "ca.key"), (CERTIFICATE, "", "ca.crt"), (KEY, "x", "private key"), (CERTIFICATE, "x", "certificate")]
    {
        let error = damaged(key, text).unwrap_err().to_string();
        assert!(error.contains(named) && !error.contains("BEGIN"), "{error}");
    }
    for (key, text) in [(CROSSES, "nonsense"), (FORMER, "nonsense"), (FORMER_UNTIL, "nonsense")] {
        let state = damaged(key, text).unwrap().unwrap();
        assert_eq!((state.crosses.len(), certificates(&state.bundle()).count()), (0, 1), "{key}");
    }
    let early = start() - SignedDuration::from_hours(1);
    assert!(State::read(&first(), early).unwrap_err().to_string().contains("valid from"), "a clock that is behind");
}

#[test]
fn keys_are_hidden() {
    let secret = step(&asking(first(), "one"), start());
    let shown = format!("{:?}", read(&secret, start()));
    assert!(!shown.contains("PRIVATE KEY") && !shown.contains(held(&secret, KEY).unwrap().lines().nth(1).unwrap()));
}
