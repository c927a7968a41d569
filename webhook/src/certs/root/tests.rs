use exeat_runtime::ca::{LEAF_VALIDITY, ROOT_OVERLAP, certificates};
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use secrecy::ExposeSecret;

use super::*;

const HOST: &str = "exeat-webhook.exeat-system.svc";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn start() -> Timestamp {
    time("2026-01-01T00:00:00Z")
}

fn secret(certificate: &str, key: &str) -> Secret {
    let data = [(CERTIFICATE, certificate), (KEY, key)];
    let data = data.map(|(name, text)| (name.to_owned(), ByteString(text.as_bytes().to_vec())));
    Secret { data: Some(data.into()), ..Secret::default() }
}

fn first() -> Secret {
    State::first(HOST, None, start()).unwrap().write(Secret::default())
}

fn asking(mut secret: Secret, value: &str) -> Secret {
    secret.metadata.annotations.get_or_insert_default().insert(names::ROTATE.to_owned(), value.to_owned());
    secret
}

fn read(secret: &Secret, now: Timestamp) -> State {
    State::read(secret, now).unwrap().unwrap()
}

fn action(secret: &Secret, published: bool, now: Timestamp) -> Action {
    decide(State::read(secret, now).unwrap().as_ref(), asked(secret), HOST, published, now)
}

fn known<'a>(mine: Option<&'a State>, secret: &'a Secret, now: Timestamp) -> Known<'a> {
    Known { mine, asked: asked(secret), host: HOST, overlap: ROOT_OVERLAP, now }
}

/// What a replica that looks now makes of the Secret.
fn step(secret: &Secret, published: bool, now: Timestamp) -> Secret {
    let found = State::read(secret, now).unwrap();
    let action = decide(found.as_ref(), asked(secret), HOST, published, now);
    State::after(action, found.as_ref(), &known(None, secret, now)).unwrap().write(secret.clone())
}

#[test]
fn an_empty_secret_is_filled_once_and_then_used() {
    for empty in [Secret::default(), secret("", ""), secret(" \n", "")] {
        assert_eq!(action(&empty, false, start()), Action::Fill);
        let stored = step(&empty, false, start());
        assert_eq!(action(&stored, false, start()), Action::Keep);
        let state = read(&stored, start());
        assert_eq!(state.bundle(), state.root.cert_pem());
        state.root.issue(&[HOST], LEAF_VALIDITY, start()).unwrap();
    }
}

#[test]
fn an_emptied_secret_gets_back_all_that_is_in_use() {
    let stored = step(&asking(first(), "one"), false, start());
    let mine = read(&stored, start());
    let empty = secret("", "");
    let filled = State::after(Action::Fill, None, &known(Some(&mine), &empty, start())).unwrap();
    assert_eq!((filled.bundle(), filled.root.cert_pem()), (mine.bundle(), mine.root.cert_pem()));
    let over = time("2036-06-01T00:00:00Z");
    let fresh = State::after(Action::Fill, None, &known(Some(&mine), &empty, over)).unwrap();
    assert_ne!(fresh.root.cert_pem(), mine.root.cert_pem(), "what has expired helps nobody");
}

#[test]
fn a_rotation_is_prepared_promoted_and_ended() {
    let old = asking(first(), "one");
    assert_eq!(action(&old, true, start()), Action::Prepare);
    let prepared = step(&old, false, start());
    let state = read(&prepared, start());
    assert!(state.is_prepared());
    assert_eq!(state.root.cert_pem(), read(&old, start()).root.cert_pem(), "the old one is in use");
    assert_eq!(certificates(&state.bundle()).count(), 2);
    assert_eq!(prepared.metadata.annotations.as_ref().unwrap()[names::ROTATED], "one");
    assert_eq!(
        action(&prepared, false, time("2026-02-01T00:00:00Z")),
        Action::Keep,
        "for as long as it is not published"
    );

    assert_eq!(action(&prepared, true, start()), Action::Promote);
    let promoted = step(&prepared, true, start());
    let after = read(&promoted, start());
    assert_ne!(after.root.cert_pem(), state.root.cert_pem());
    assert_eq!(after.bundle(), state.bundle(), "what is trusted stays as it is, to the letter");
    let old_key = &old.data.as_ref().unwrap()[KEY];
    assert!(promoted.data.as_ref().unwrap().values().all(|value| value != old_key), "the old key is gone");

    let second = SignedDuration::from_secs(1);
    let end = start() + SignedDuration::try_from(ROOT_OVERLAP).unwrap();
    assert_eq!(action(&asking(promoted.clone(), "two"), true, end - second), Action::Keep, "one rotation at a time");
    assert_eq!(action(&promoted, true, end), Action::DropFormer);
    let dropped = step(&promoted, true, end);
    assert_eq!(read(&dropped, end).bundle(), after.root.cert_pem());
    assert_eq!(action(&dropped, true, end), Action::Keep);
    assert_eq!(action(&asking(dropped, "two"), true, end), Action::Prepare);
}

#[test]
fn a_root_is_renewed_at_two_thirds_of_its_life() {
    assert_eq!(action(&first(), true, time("2032-08-01T00:00:00Z")), Action::Keep);
    assert_eq!(action(&first(), true, time("2032-10-01T00:00:00Z")), Action::Prepare);
    assert_eq!(action(&first(), true, time("2036-06-01T00:00:00Z")), Action::Fill, "it has expired");
}

#[test]
fn a_root_for_another_name_is_replaced_at_once() {
    let other = State::first("other.exeat-system.svc", None, start()).unwrap().write(Secret::default());
    assert_eq!(action(&other, false, start()), Action::Replace);
    let state = read(&step(&other, false, start()), start());
    assert_eq!(state.root.permitted(), [HOST]);
    assert_eq!(certificates(&state.bundle()).count(), 2);
}

#[test]
fn a_clock_that_is_behind_takes_no_next_root_away() {
    let later = start() + SignedDuration::from_hours(2);
    let prepared = step(&asking(first(), "one"), false, later);
    assert_eq!(State::read(&prepared, start()).unwrap_err().code(), "RootUnusable");
    let mut damaged = prepared;
    damaged.data.as_mut().unwrap().insert(NEXT_KEY.to_owned(), ByteString(b"x".to_vec()));
    assert!(!read(&damaged, later).is_prepared());
}

#[test]
fn what_is_no_root_is_left_alone_with_the_fix() {
    let good = State::first(HOST, None, start()).unwrap();
    let key = good.root.key_pem().expose_secret();
    let other = State::first(HOST, None, start()).unwrap();
    for (certificate, key) in [
        ("nonsense", key),
        (good.root.cert_pem(), ""),
        ("", key),
        (other.root.cert_pem(), key),
        (good.root.cert_pem(), "x"),
    ] {
        let error = State::read(&secret(certificate, key), start()).unwrap_err();
        assert_eq!(error.code(), "RootUnusable");
        let message = error.to_string();
        assert!(message.contains("empty ca.crt and ca.key"), "{message}");
        assert!(!message.contains("PRIVATE"), "{message}");
    }
}
