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
    assert_eq!(
        message(&sessions, |_| Ok(()), now()),
        StreamMessage::Active { session: "s-2".into(), digest: "d".into() }
    );
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
        let refused = refusal(&session);
        let (told, waiting) = match message(&[session], |_| Ok(()), now()) {
            StreamMessage::Waiting(refusal) => (refusal, true),
            StreamMessage::Stopped(refusal) => (refusal, false),
            other => panic!("served: {other:?}"),
        };
        assert_eq!((told.code.as_str(), waiting), (code, waits));
        assert_eq!(refused.retry_after_seconds, waits.then_some(RETRY_AFTER), "who has no stream asks again");
        assert_eq!(told.retry_after_seconds, None, "who has one is told");
    }
    assert!(matches!(message(&[], |_| Ok(()), now()), StreamMessage::Waiting(r) if r.code == "SessionNotFound"));
}

#[test]
fn the_person_who_revoked_is_quoted_without_hidden_characters() {
    let mut session = active(1, LATER);
    Arc::make_mut(&mut session).spec.revoke = Some(exeat_crds::v1alpha1::Revoke { reason: "le\u{202E}ak".into() });
    assert!(refusal(&session).message.ends_with("was revoked: leak"));
}

#[test]
fn what_has_another_authority_by_now_is_withheld_whatever_the_reason_and_nothing_is_ended() {
    for reason in
        [Reason::AuthorityChanged, Reason::PolicyDeleted, Reason::NamespaceNotServed, Reason::ActionNotAllowed]
    {
        let told = message(&[active(1, LATER)], |_| Err(Refused::new(reason, "changed")), now());
        let StreamMessage::Waiting(told) = told else { panic!("{told:?}") };
        assert_eq!((told.code.as_str(), told.session.as_deref(), told.retryable), (reason.as_str(), Some("s-1"), true));
        assert_eq!(told.retry_after_seconds, None, "the stream tells when it goes on");
        assert!(told.message.ends_with("s-1 is not served any more: changed"), "{}", told.message);
    }
    let only_the_first = |s: &CredentialSession| match s.spec.request.number {
        1 => Err(Refused::new(Reason::AuthorityChanged, "changed")),
        _ => Ok(()),
    };
    let told = message(&[active(1, LATER), active(2, LATER)], only_the_first, now());
    assert!(
        matches!(told, StreamMessage::Active { session, .. } if session == "s-2"),
        "the next one is served at once"
    );
}

#[test]
fn an_end_is_told_for_what_it_is_whatever_became_of_the_authority() {
    let mut revoked = active(1, LATER);
    Arc::make_mut(&mut revoked).spec.revoke = Some(exeat_crds::v1alpha1::Revoke { reason: "leak".into() });
    let told = message(&[revoked], |_| Err(Refused::new(Reason::AuthorityChanged, "changed")), now());
    assert!(matches!(&told, StreamMessage::Stopped(r) if r.code == "SessionRevoked"), "{told:?}");
}

#[test]
fn while_people_are_asked_agents_are_told_to_come_back_later() {
    let told = message(&[session(1, json!({"phase": "AwaitingApproval"}))], |_| Ok(()), now());
    assert!(
        matches!(&told, StreamMessage::Waiting(r) if r.retry_after_seconds == Some(RETRY_AFTER_PEOPLE)),
        "{told:?}"
    );
}

#[test]
fn of_several_policies_each_has_a_session_in_use() {
    let of = |policy: &str, number: i32, until: &str| {
        let mut session = active(number, until);
        Arc::make_mut(&mut session).spec.request.policy_ref.name = policy.into();
        session
    };
    let all = vec![of("a", 1, LATER), of("b", 1, LATER), of("a", 2, LATER), of("b", 2, "2026-01-01T12:00:00Z")];
    let used: Vec<_> =
        in_use(&all, now()).iter().map(|s| (s.spec.request.policy_ref.name.as_str(), s.spec.request.number)).collect();
    assert_eq!(used, [("a", 2), ("b", 1)]);
    assert_eq!(of_policy(all.clone(), Some("b")).len(), 2);
    assert_eq!(of_policy(all.clone(), None).len(), 4, "a sidecar that names none is told of its pod's");
    let several = all.into_iter().map(|mut session| {
        Arc::make_mut(&mut session).spec.request.primary = Some("a".into());
        session
    });
    let named: Vec<_> =
        of_policy(several.collect(), None).iter().map(|s| s.spec.request.policy_ref.name.clone()).collect();
    assert_eq!(named, ["a", "a"], "where there are several, one that names none knows but the first");
}
