use super::*;
use crate::controller::session::end::End;
use proptest::prelude::*;
use serde_json::json;

#[path = "founded_tests.rs"]
mod founded;
#[path = "people_tests.rs"]
mod people;
#[path = "silence_tests.rs"]
mod silence;

const NOW: &str = "2026-01-01T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn provider() -> CredentialProvider {
    serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": "here", "uid": "prov"},
        "spec": {"kubernetes": {}, "bindings": [{
            "name": "b", "namespaces": ["agents"], "principals": ["system:serviceaccounts:exeat-grants"], "maxActions": ["get *", "list *"]}]}
    }))
    .unwrap()
}

fn policy(ready: bool) -> AgentCredentialPolicy {
    let mut policy: AgentCredentialPolicy = serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy",
        "metadata": {"name": "reader", "namespace": "agents", "uid": "pol"},
        "spec": {
            "providerRef": {"name": "here"}, "principal": "system:serviceaccounts:exeat-grants",
            "subjects": {"serviceAccounts": ["sa"]}, "session": {"duration": "1h"},
            "allow": [{"actions": ["get pods", "list pods"], "resources": ["agents/*"]}]
        }
    }))
    .unwrap();
    let authority = authority::resolve(&policy, Some(&provider())).unwrap();
    let mut status = exeat_crds::v1alpha1::AgentCredentialPolicyStatus {
        authority_hash: Some(authority.hash),
        ..Default::default()
    };
    condition::set(
        &mut status.conditions,
        "Ready",
        ready,
        if ready { "Ready" } else { "ProviderUnreachable" },
        "",
        None,
        at(NOW),
    );
    policy.status = Some(status);
    policy
}

fn session(policy: &AgentCredentialPolicy, status: serde_json::Value) -> CredentialSession {
    let hash = authority::resolve(policy, Some(&provider())).map(|a| a.hash).unwrap();
    serde_json::from_value(json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession",
        "metadata": {"name": "pod-1", "namespace": "agents", "uid": "ses", "generation": 1},
        "spec": {"request": {
            "policyRef": {"name": "reader", "uid": "pol"}, "providerRef": {"name": "here"}, "authorityHash": hash, "number": 1,
            "agent": {"serviceAccount": "sa", "pod": {"name": "pod", "uid": "poduid"}}}},
        "status": status
    }))
    .unwrap()
}

struct Case {
    session: CredentialSession,
    policy: Option<AgentCredentialPolicy>,
    provider: Option<CredentialProvider>,
    agent: AgentEnd,
    pod: Option<Result<(), Refused>>,
    backstop: bool,
    hold: Option<CredentialHold>,
    approvals: Vec<Arc<Approval>>,
    room: bool,
}

impl Case {
    fn fresh() -> Self {
        let policy = policy(true);
        Self {
            session: session(&policy, json!({})),
            policy: Some(policy),
            provider: Some(provider()),
            agent: AgentEnd::Alive,
            pod: Some(Ok(())),
            backstop: true,
            hold: None,
            approvals: Vec::new(),
            room: true,
        }
    }

    fn active() -> Self {
        let mut case = Self::fresh();
        case.session.status = Some(case.decide(NOW).status);
        case.pod = None;
        case
    }

    fn decide(&self, now: &str) -> Decision {
        let facts = Facts {
            session: &self.session,
            policy: self.policy.as_ref(),
            provider: self.provider.as_ref(),
            agent: self.agent.clone(),
            pod: self.pod.clone(),
            backstop: self.backstop,
            hold: self.hold.as_ref(),
            approvals: &self.approvals,
            room: self.room,
        };
        decide(&facts, at(now))
    }

    fn outcome(&self, now: &str) -> (Phase, String) {
        let status = self.decide(now).status;
        (status.phase.unwrap(), status.reason.unwrap())
    }
}

#[test]
fn a_covered_pod_under_a_ready_policy_becomes_active_until_its_time() {
    let decision = Case::fresh().decide(NOW);
    let status = decision.status;
    assert_eq!(status.phase, Some(Phase::Active));
    assert_eq!(status.expires_at.as_deref(), Some("2026-01-01T13:00:00Z"));
    assert_eq!(decision.look_again, Some(at("2026-01-01T13:00:00Z")));
    assert_eq!(status.grant.unwrap().allow.len(), 1);
    assert_eq!(status.revocation.unwrap().effective_by, "2026-01-01T13:00:15Z");
}

#[test]
fn what_may_outlive_its_session_is_promised_for_so_much_longer() {
    let mut authority = authority::resolve(&policy(true), Some(&provider())).unwrap();
    (authority.revocation, authority.outlives) = (RevocationMode::ExpiryOnly, SignedDuration::from_mins(90));
    let mut status = CredentialSessionStatus::default();
    say(&mut status, &authority, at("2026-01-01T13:00:00Z"));
    assert_eq!(status.revocation.unwrap().effective_by, "2026-01-01T14:30:00Z");
}

#[test]
fn while_an_admission_policy_is_missing_nothing_is_opened_and_nothing_ended() {
    let mut case = Case::fresh();
    case.backstop = false;
    assert_eq!(case.outcome(NOW), (Phase::Pending, "BackstopMissing".into()));
    assert_eq!(case.decide(NOW).look_again, Some(at("2026-01-01T12:00:01Z")));
    let mut case = Case::active();
    case.backstop = false;
    assert_eq!(case.outcome(NOW), (Phase::Active, "Active".into()));
}

#[test]
fn what_may_come_right_waits() {
    let mut case = Case::fresh();
    case.policy = None;
    assert_eq!(case.outcome(NOW), (Phase::Pending, "PolicyNotFound".into()));
    let mut case = Case::fresh();
    case.provider = None;
    assert_eq!(case.outcome(NOW), (Phase::Pending, "ProviderNotFound".into()));
    let mut case = Case::fresh();
    case.policy = Some(policy(false));
    assert_eq!(case.outcome(NOW), (Phase::Pending, "PolicyNotReady".into()));
    let mut case = Case::fresh();
    case.pod = None;
    assert_eq!(case.outcome(NOW), (Phase::Pending, "Deciding".into()));
}

#[test]
fn what_waiting_cannot_help_is_denied() {
    let mut case = Case::fresh();
    case.pod = Some(Err(Refused::new(Reason::PodNotCovered, "not covered")));
    assert_eq!(case.outcome(NOW), (Phase::Denied, "PodNotCovered".into()));
    let mut case = Case::fresh();
    case.session.spec.request.allow =
        Some(vec![rules::Statement { actions: vec!["get secrets".into()], resources: vec!["agents/*".into()] }]);
    assert_eq!(case.outcome(NOW), (Phase::Denied, "NarrowingTooWide".into()));
}

#[test]
fn an_active_session_ends_for_every_cause() {
    let mut revoked = Case::active();
    revoked.session.spec.revoke = Some(exeat_crds::v1alpha1::Revoke { reason: "leak".into() });
    assert_eq!(revoked.outcome(NOW), (Phase::Revoked, "SessionRevoked".into()));
    assert_eq!(Case::active().outcome("2026-01-01T13:00:00Z"), (Phase::Expired, "SessionExpired".into()));
    assert_eq!(Case::active().outcome("2026-01-01T12:59:59Z"), (Phase::Active, "Active".into()));
    for (end, phase, reason) in [
        (End::Completed, Phase::Completed, "AgentCompleted"),
        (End::Failed { container: "a".into(), code: 1 }, Phase::Failed, "AgentFailed"),
        (End::Deleted, Phase::Completed, "PodDeleted"),
        (End::Unknown, Phase::Completed, "ExitUnknown"),
    ] {
        let mut case = Case::active();
        case.agent = AgentEnd::Ended(end);
        assert_eq!(case.outcome(NOW), (phase, reason.into()));
    }
    let mut gone = Case::active();
    gone.policy = None;
    assert_eq!(gone.outcome(NOW), (Phase::Revoked, "PolicyDeleted".into()));
    let mut unserved = Case::active();
    unserved.provider.as_mut().unwrap().spec.bindings[0].namespaces = vec!["other".into()];
    assert_eq!(unserved.outcome(NOW), (Phase::Revoked, "NamespaceNotServed".into()));
    let mut tightened = Case::active();
    tightened.policy.as_mut().unwrap().spec.allow[0].actions = vec!["get pods".into()];
    assert_eq!(tightened.outcome(NOW), (Phase::Revoked, "AuthorityChanged".into()));
    let mut replaced = Case::active();
    replaced.policy.as_mut().unwrap().metadata.uid = Some("another".into());
    assert_eq!(replaced.outcome(NOW), (Phase::Revoked, "AuthorityChanged".into()));
    let mut early = Case::active();
    early.session.status = None;
    early.session.spec.request.policy_ref.uid = UNRESOLVED.into();
    let said = early.decide(NOW).status;
    assert_eq!(said.phase, Some(Phase::Denied));
    assert!(said.message.is_some_and(|m| m.starts_with("the policy was created since this session was asked for")));
}

#[test]
fn an_early_end_brings_the_promise_closer() {
    let mut case = Case::active();
    case.session.spec.revoke = Some(exeat_crds::v1alpha1::Revoke { reason: "leak".into() });
    let status = case.decide("2026-01-01T12:10:00Z").status;
    assert_eq!(status.revocation.unwrap().effective_by, "2026-01-01T12:10:15Z");
    assert_eq!(status.expires_at.as_deref(), Some("2026-01-01T13:00:00Z"));
}

#[test]
fn a_policy_that_is_not_ready_any_more_does_not_end_a_session() {
    let mut case = Case::active();
    case.policy = Some(policy(false));
    assert_eq!(case.outcome(NOW).0, Phase::Active);
}

proptest! {
    /// Whatever happens in whatever order: an end is final, the expiry never moves, and nothing is active past it.
    #[test]
    fn an_end_is_final_and_time_never_grows(steps in prop::collection::vec((0u8..7, 0i64..1200), 1..20)) {
        let mut case = Case::fresh();
        let mut now = at(NOW);
        let mut ended = None;
        let mut expires: Option<Timestamp> = None;
        for (what, seconds) in steps {
            now = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
            match what {
                0 => case.policy = None,
                1 => case.policy = Some(policy(true)),
                2 => case.policy = Some(policy(false)),
                3 => case.provider = None,
                4 => case.provider = Some(provider()),
                5 => case.agent = AgentEnd::Ended(End::Completed),
                _ => {}
            }
            let status = case.decide(&now.to_string()).status;
            let phase = status.phase.unwrap();
            if let Some(ended) = ended {
                prop_assert_eq!(phase, ended);
            }
            let until = expiry(&status);
            if let (Some(before), Some(after)) = (expires, until) {
                prop_assert!(after <= before);
            }
            if phase == Phase::Active {
                prop_assert!(until.unwrap() > now);
            }
            ended = phase.is_terminal().then_some(phase);
            expires = until;
            case.session.status = Some(status);
        }
    }
}
