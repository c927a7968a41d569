use super::*;
use exeat_providers::SessionId;
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: &str = "2026-01-01T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn id(uid: &str) -> SessionId {
    let name = format!("session-{uid}");
    SessionId {
        name,
        uid: uid.into(),
        namespace: "agents".into(),
        service_account: String::new(),
        policy: String::new(),
    }
}

fn made(uid: &str, age: i64) -> Made {
    Made { session: id(uid), since: now() - SignedDuration::from_secs(age) }
}

fn uids(made: &[Made]) -> Vec<&str> {
    made.iter().map(|m| m.session.uid.as_str()).collect()
}

#[test]
fn what_no_session_has_is_swept_once_it_is_a_minute_old() {
    let known = HashSet::from(["lives".to_owned()]);
    let all =
        || vec![made("lives", 3600), made("gone", 3600), made("minute", 60), made("young", 59), made("ahead", -5)];
    let (due, next) = nobodys(all(), Some(&known), now());
    assert_eq!(uids(&due), ["gone", "minute"]);
    assert_eq!(next, Some("2026-01-01T12:00:01Z".parse().unwrap()), "the young one is looked at again");
    assert_eq!(nobodys(all(), None, now()), (Vec::new(), None), "it is not known which sessions there are");
    let (due, next) = nobodys(vec![made("lives", 3600)], Some(&known), now());
    assert_eq!((due.len(), next), (0, None));
    // A list without any session, and whole: all of them are gone.
    assert_eq!(uids(&nobodys(vec![made("gone", 61)], Some(&HashSet::new()), now()).0), ["gone"]);
}

proptest! {
    #[test]
    fn never_what_a_session_has_nor_what_is_young_nor_without_knowing(
        all in prop::collection::vec((0_u8..20, -100_i64..300), 0..40),
        known in prop::option::of(prop::collection::hash_set((0_u8..20).prop_map(|n| n.to_string()), 0..20)),
    ) {
        let all: Vec<_> = all.iter().map(|(n, age)| made(&n.to_string(), *age)).collect();
        let (due, next) = nobodys(all.clone(), known.as_ref(), now());
        for one in &due {
            prop_assert!(known.as_ref().is_some_and(|k| !k.contains(&one.session.uid)));
            prop_assert!(now().duration_since(one.since) >= YOUNG);
        }
        let Some(known) = known else { return Ok(()) };
        let unknown: Vec<_> = all.iter().filter(|m| !known.contains(&m.session.uid)).collect();
        let young = unknown.iter().filter(|m| !due.contains(m)).count();
        prop_assert_eq!(due.len() + young, unknown.len(), "nothing is forgotten");
        prop_assert_eq!(next.is_some(), young > 0);
        prop_assert!(next.is_none_or(|at| at > now()));
    }
}

fn session(uid: &str, issuance: &Value) -> Arc<CredentialSession> {
    Arc::new(
        serde_json::from_value(json!({
            "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession", "metadata": {"name": format!("session-{uid}"), "namespace": "agents", "uid": uid},
            "spec": {"request": {"policyRef": {"name": "p", "uid": "u"}, "providerRef": {"name": "here"}, "authorityHash": "h", "number": 1,
                "agent": {"serviceAccount": "sa", "pod": {"name": "a", "uid": "u"}}}},
            "status": {"phase": "Active", "revocation": {"mode": "Immediate", "effectiveBy": NOW}, "issuance": issuance}}))
        .unwrap(),
    )
}

fn seen(gone: &mut Gone) -> Vec<String> {
    let mut uids: Vec<_> = gone.look().into_iter().map(|o| o.id.uid).collect();
    uids.sort();
    uids
}

#[test]
fn who_went_with_something_in_hand_is_kept_until_it_is_taken_back_and_dealt_with_once() {
    let (tell, told) = broadcast::channel(16);
    let (sweep, swept) = mpsc::channel(4);
    let mut gone = Gone::new(told, swept);
    for (uid, issuance) in [
        ("held", json!({"handle": "h"})),
        ("revoked", json!({"handle": "h", "revokedAt": NOW})),
        ("never-minted", json!({})),
    ] {
        tell.send(session(uid, &issuance)).unwrap();
    }
    assert_eq!(seen(&mut gone), ["held"]);
    sweep.try_send(vec![made("held", 100), made("found", 100)]).unwrap();
    let left = gone.look();
    assert!(left.iter().any(|o| o.id.uid == "held" && o.session.is_some()), "what is known of it is not forgotten");
    assert_eq!(seen(&mut gone), ["found", "held"]);
    gone.tidied("held");
    tell.send(session("held", &json!({"handle": "h"}))).unwrap();
    assert_eq!(seen(&mut gone), ["found"], "the watch tells late of what was dealt with");
}

#[test]
fn a_flood_is_bounded() {
    let (tell, told) = broadcast::channel(4);
    let (sweep, swept) = mpsc::channel(4);
    let mut gone = Gone::new(told, swept);
    for n in 0..100 {
        tell.send(session(&n.to_string(), &json!({"handle": "h"}))).unwrap();
    }
    assert_eq!(gone.look().len(), 4, "those that were missed are swept");
    sweep.try_send((0..2 * MAX).map(|n| made(&format!("n{n}"), 100)).collect()).unwrap();
    assert_eq!(gone.look().len(), MAX);
}
