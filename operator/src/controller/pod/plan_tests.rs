use super::*;
use exeat_crds::CredentialProvider;
use exeat_crds::v1alpha1::Workload;
use proptest::prelude::*;
use serde_json::json;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn pod(annotations: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "report-0", "namespace": "agents", "uid": "poduid", "annotations": annotations,
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "report", "uid": "j", "controller": true}]},
        "spec": {"serviceAccountName": "sa", "containers": []}
    }))
    .unwrap()
}

fn policy(on_expiry: &str) -> AgentCredentialPolicy {
    serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy",
        "metadata": {"name": "reader", "namespace": "agents", "uid": "pol"},
        "spec": {"providerRef": {"name": "here"}, "principal": "system:serviceaccounts:exeat-grants",
            "subjects": {"serviceAccounts": ["sa"]}, "session": {"duration": "1h", "onExpiry": on_expiry},
            "allow": [{"actions": ["get pods"], "resources": ["agents/*"]}]}
    }))
    .unwrap()
}

fn authority(policy: &AgentCredentialPolicy) -> Authority {
    let provider: CredentialProvider = serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": "here", "uid": "prov"},
        "spec": {"kubernetes": {}, "bindings": [{"name": "b", "namespaces": ["agents"],
            "principals": ["system:serviceaccounts:exeat-grants"], "maxActions": ["get *"]}]}
    }))
    .unwrap();
    authority::resolve(policy, Some(&provider)).unwrap()
}

fn run(sessions: &[(i32, &str, &str, &str)], on_expiry: &str, now: &str) -> Plan {
    let policy = policy(on_expiry);
    let authority = authority(&policy);
    let sessions: Vec<_> = sessions
        .iter()
        .map(|(number, phase, reason, hash)| {
            let hash = if *hash == "same" { authority.hash.as_str() } else { hash };
            Arc::new(
                serde_json::from_value(json!({
                    "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession", "metadata": {"name": format!("s-{number}")},
                    "spec": {"request": {"policyRef": {"name": "reader", "uid": "pol"}, "providerRef": {"name": "here"},
                        "authorityHash": hash, "number": number,
                        "agent": {"serviceAccount": "sa", "pod": {"name": "report-0", "uid": "poduid"}}}},
                    "status": {"phase": phase, "reason": reason,
                        "startedAt": "2026-01-01T12:00:00Z", "expiresAt": "2026-01-01T13:00:00Z"}
                }))
                .unwrap(),
            )
        })
        .collect();
    let pod = pod(json!({"exeat.dev/policy": "reader"}));
    plan(
        &Facts { pod: &pod, name: "reader", sessions: &sessions, policy: Some(&policy), authority: Some(&authority) },
        at(now),
    )
}

fn number(plan: &Plan) -> Option<i32> {
    match plan {
        Plan::Open(session) => Some(session.spec.request.number),
        Plan::Wait(_) => None,
    }
}

#[test]
fn the_first_session_carries_who_asks_for_what() {
    let Plan::Open(session) = run(&[], "Renew", "2026-01-01T12:00:00Z") else { panic!("no session") };
    let request = &session.spec.request;
    assert_eq!((request.number, request.policy_ref.uid.as_str()), (1, "pol"));
    assert_eq!(request.agent.workload, None, "what stands above the pod is looked up");
    assert_eq!(session.labels()[names::POD_UID_LABEL], "poduid");
    assert!(session.name_any().starts_with("report-0-") && session.name_any().ends_with("-1"));
}

#[test]
fn what_stands_above_a_pod_stays_as_it_was_found_for_its_first_session() {
    let policy = policy("Renew");
    let authority = authority(&policy);
    let mut first = Arc::unwrap_or_clone(of_policy("reader", 1, "Expired", "SessionExpired"));
    let workload = Workload { kind: "Deployment".into(), name: "app".into(), uid: "d".into() };
    first.spec.request.agent.workload = Some(workload.clone());
    // Nothing of that stands on the pod by now.
    let pod = pod(json!({"exeat.dev/policy": "reader"}));
    let sessions = [Arc::new(first)];
    let facts =
        Facts { pod: &pod, name: "reader", sessions: &sessions, policy: Some(&policy), authority: Some(&authority) };
    let Plan::Open(session) = plan(&facts, at("2026-01-01T13:00:00Z")) else { panic!("no session") };
    assert_eq!(session.spec.request.agent.workload, Some(workload));
}

#[test]
fn the_newest_session_decides_what_comes_next() {
    for (phase, reason, hash, on_expiry, expected) in [
        ("Pending", "Deciding", "same", "Renew", None),
        ("Active", "Active", "same", "Renew", None),
        ("Expired", "SessionExpired", "same", "Renew", Some(3)),
        ("Expired", "SessionExpired", "same", "Stop", None),
        ("Revoked", "SessionRevoked", "same", "Renew", None),
        ("Revoked", "SessionRevoked", "older", "Renew", None),
        ("Revoked", "AuthorityChanged", "older", "Stop", Some(3)),
        ("Revoked", "ProviderNotFound", "same", "Renew", Some(3)),
        ("Denied", "PodNotCovered", "same", "Renew", None),
        ("Denied", "AuthorityChanged", "older", "Renew", Some(3)),
        ("Completed", "AgentCompleted", "same", "Renew", None),
        ("Failed", "AgentFailed", "older", "Renew", None),
    ] {
        let plan = run(
            &[(2, phase, reason, hash), (1, "Expired", "SessionExpired", "same")],
            on_expiry,
            "2026-01-01T12:10:00Z",
        );
        assert_eq!(number(&plan), expected, "{phase} {reason} {hash} {on_expiry}");
    }
}

#[test]
fn the_next_session_is_opened_ahead_of_the_end_and_only_where_it_is_wanted() {
    let active = [(1, "Active", "Active", "same")];
    assert_eq!(run(&active, "Renew", "2026-01-01T12:58:00Z"), Plan::Wait(Some(at("2026-01-01T12:59:00Z"))));
    assert_eq!(number(&run(&active, "Renew", "2026-01-01T12:59:00Z")), Some(2));
    assert_eq!(run(&active, "Stop", "2026-01-01T12:59:30Z"), Plan::Wait(None));
}

#[test]
fn an_unreadable_annotation_never_asks_for_more_than_a_readable_one() {
    let policy = policy("Renew");
    let authority = authority(&policy);
    let pod = pod(json!({"exeat.dev/policy": "reader", "exeat.dev/allow": "nonsense"}));
    let facts = Facts { pod: &pod, name: "reader", sessions: &[], policy: Some(&policy), authority: Some(&authority) };
    let Plan::Open(session) = plan(&facts, at("2026-01-01T12:00:00Z")) else { panic!("no session") };
    let judged = authority::ask_of_pod(&authority, pod.annotations());
    assert!(judged.is_err(), "the decision judges the annotations again and denies: {:?}", session.spec.request.allow);
}

/// Sessions of one policy as the plan for it sees them, and of other policies as it must not.
fn of_policy(name: &str, number: i32, phase: &str, reason: &str) -> Arc<CredentialSession> {
    Arc::new(
        serde_json::from_value(json!({
            "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession", "metadata": {"name": format!("{name}-{number}")},
            "spec": {"request": {"policyRef": {"name": name, "uid": "pol"}, "providerRef": {"name": "here"}, "authorityHash": "h",
                "number": number, "agent": {"serviceAccount": "sa", "pod": {"name": "report-0", "uid": "poduid"}}}},
            "status": {"phase": phase, "reason": reason, "startedAt": "2026-01-01T12:00:00Z", "expiresAt": "2026-01-01T13:00:00Z"}
        }))
        .unwrap(),
    )
}

proptest! {
    /// What one of a pod's policies has next is what it would have if the pod named it alone.
    #[test]
    fn policies_of_a_pod_know_nothing_of_each_other(
        own in prop::collection::vec((1..5_i32, 0..6_usize), 0..4),
        others in prop::collection::vec((1..9_i32, 0..6_usize), 0..4),
        minute in 0..90_i64,
    ) {
        const STATES: [(&str, &str); 6] = [
            ("Pending", "Deciding"), ("Active", "Active"), ("Expired", "SessionExpired"), ("Revoked", "SessionRevoked"),
            ("Revoked", "AuthorityChanged"), ("Completed", "AgentCompleted"),
        ];
        let policy = policy("Renew");
        let authority = authority(&policy);
        let named = |name: &str, all: &[(i32, usize)]| -> Vec<_> {
            all.iter().map(|(number, state)| of_policy(name, *number, STATES[*state].0, STATES[*state].1)).collect()
        };
        let alone = named("reader", &own);
        let mixed: Vec<_> = named("writer", &others).into_iter().chain(alone.clone()).collect();
        let pod = pod(json!({"exeat.dev/policy": "writer,reader"}));
        let of = |sessions: &[Arc<CredentialSession>]| {
            let facts = Facts { pod: &pod, name: "reader", sessions, policy: Some(&policy), authority: Some(&authority) };
            plan(&facts, at("2026-01-01T12:00:00Z") + SignedDuration::from_mins(minute))
        };
        let planned = of(&mixed);
        prop_assert_eq!(&planned, &of(&alone));
        if let Plan::Open(session) = planned {
            prop_assert_eq!(&session.spec.request.policy_ref.name, "reader");
            let taken = mixed.iter().any(|s| s.spec.request.policy_ref.name == "reader" && s.spec.request.number == session.spec.request.number);
            prop_assert!(!taken, "its number is new among its own");
        }
    }
}
