use super::*;
use serde_json::json;

fn session(number: i32, status: serde_json::Value) -> Arc<CredentialSession> {
    Arc::new(
        serde_json::from_value(json!({
            "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession", "metadata": {"name": format!("s-{number}"), "namespace": "agents"},
            "spec": {"request": {"policyRef": {"name": "p", "uid": "u"}, "providerRef": {"name": "here"}, "authorityHash": "h", "number": number,
                "agent": {"serviceAccount": "sa", "pod": {"name": "pod", "uid": "poduid"}}}},
            "status": status
        }))
        .unwrap(),
    )
}

fn active(number: i32, until: &str) -> Arc<CredentialSession> {
    session(
        number,
        json!({"phase": "Active", "expiresAt": until, "grant": {"digest": "d", "principal": "p", "allow": []}}),
    )
}

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

const LATER: &str = "2026-01-01T13:00:00Z";

#[test]
fn the_newest_usable_session_is_served() {
    let sessions = [active(1, LATER), active(2, LATER), session(3, json!({"phase": "Pending"}))];
    assert_eq!(message(&sessions, now()), StreamMessage::Active { session: "s-2".into(), digest: "d".into() });
}

#[test]
fn nothing_usable_is_served_however_the_phase_reads() {
    let mut revoked = active(1, LATER);
    Arc::make_mut(&mut revoked).spec.revoke = Some(exeat_crds::v1alpha1::Revoke { reason: "leak".into() });
    for (session, code, waits) in [
        (revoked, "SessionRevoked", false),
        (active(1, "2026-01-01T12:00:00Z"), "SessionExpired", true),
        (session(1, json!({"phase": "Pending", "reason": "PolicyNotReady"})), "PolicyNotReady", true),
        (session(1, json!({})), "Deciding", true),
        (session(1, json!({"phase": "Denied", "reason": "PodNotCovered"})), "PodNotCovered", false),
        (session(1, json!({"phase": "Revoked", "reason": "AuthorityChanged"})), "AuthorityChanged", true),
        (session(1, json!({"phase": "Expired", "reason": "SessionExpired"})), "SessionExpired", false),
    ] {
        let (told, waiting) = match message(&[session], now()) {
            StreamMessage::Waiting(refusal) => (refusal, true),
            StreamMessage::Stopped(refusal) => (refusal, false),
            other => panic!("served: {other:?}"),
        };
        assert_eq!((told.code.as_str(), waiting), (code, waits));
    }
    assert!(matches!(message(&[], now()), StreamMessage::Waiting(r) if r.code == "SessionNotFound"));
}

#[test]
fn the_person_who_revoked_is_quoted_without_hidden_characters() {
    let mut session = active(1, LATER);
    Arc::make_mut(&mut session).spec.revoke = Some(exeat_crds::v1alpha1::Revoke { reason: "le\u{202E}ak".into() });
    assert!(refusal(&session).message.ends_with("was revoked: leak"));
}
