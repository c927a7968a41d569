use super::*;
use crate::controller::session::end::End;
use proptest::prelude::*;
use serde_json::json;

#[path = "people_tests.rs"]
mod people;

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

type Forgery = (&'static str, fn(&mut CredentialSessionStatus), Reason);

/// What somebody may write into an active session's status while no admission policy stands in the way, with the reason by which it ends.
const FORGED: &[Forgery] = &[
    ("phase alone", |s| *s = of_phase(Phase::Active), Reason::SessionNotActive),
    ("no decision", |s| s.conditions.clear(), Reason::SessionNotActive),
    ("a decision that was none", |s| s.conditions[0].status = "False".into(), Reason::SessionNotActive),
    ("no grant", |s| s.grant = None, Reason::GrantChanged),
    ("another digest", |s| grant(s).digest = "0".repeat(64), Reason::GrantChanged),
    ("another principal", |s| grant(s).principal = "root".into(), Reason::GrantChanged),
    ("more actions", |s| grant(s).allow[0].actions.push("get secrets".into()), Reason::GrantChanged),
    ("another denial", |s| grant(s).deny = vec!["get nodes".into()], Reason::GrantChanged),
    ("no start", |s| s.started_at = None, Reason::GrantChanged),
    ("no time as start", |s| s.started_at = Some("soon".into()), Reason::GrantChanged),
    ("no end", |s| s.expires_at = None, Reason::GrantChanged),
    ("a later end", |s| s.expires_at = Some("2026-01-01T13:00:01Z".into()), Reason::GrantChanged),
    (
        "a start to come, with its end",
        |s| {
            s.started_at = Some("2026-01-01T12:05:01Z".into());
            s.expires_at = Some("2026-01-01T13:05:01Z".into());
        },
        Reason::GrantChanged,
    ),
];

fn of_phase(phase: Phase) -> CredentialSessionStatus {
    CredentialSessionStatus { phase: Some(phase), ..CredentialSessionStatus::default() }
}

fn grant(status: &mut CredentialSessionStatus) -> &mut GrantStatus {
    status.grant.as_mut().unwrap()
}

#[test]
fn an_active_session_that_the_controller_did_not_decide_ends() {
    for (what, forge, reason) in FORGED {
        let mut case = Case::active();
        assert_eq!(case.outcome(NOW), (Phase::Active, "Active".into()));
        forge(case.session.status.as_mut().unwrap());
        assert_eq!(case.outcome(NOW), (Phase::Revoked, reason.to_string()), "{what}");
    }
}

#[test]
fn an_active_session_ends_when_its_pod_is_not_what_may_hold_it() {
    let mut case = Case::active();
    case.pod = Some(Ok(()));
    assert_eq!(case.outcome(NOW), (Phase::Active, "Active".into()));
    case.pod = Some(Err(Refused::new(Reason::NotInjected, "no sidecar of ours")));
    assert_eq!(case.outcome(NOW), (Phase::Revoked, "NotInjected".into()));
}

#[test]
fn what_is_said_of_an_active_session_is_put_right() {
    let mut case = Case::active();
    let before = case.session.status.clone().unwrap();
    let status = case.session.status.as_mut().unwrap();
    status.revocation = Some(Revocation { mode: RevocationMode::ExpiryOnly, effective_by: NOW.into() });
    status.enforcement = None;
    status.exceptions = vec!["none at all".into()];
    assert_eq!(case.decide(NOW).status, before);
}

fn stream(case: &mut Case, lost_at: Option<&str>) {
    let stream = exeat_crds::v1alpha1::StreamRecord {
        replica: "issuer-0".into(),
        since: NOW.into(),
        lost_at: lost_at.map(Into::into),
    };
    let issuance = exeat_crds::v1alpha1::Issuance { stream: Some(stream), ..Default::default() };
    case.session.status.as_mut().unwrap().issuance = Some(issuance);
}

fn silent(case: &mut Case, now: &str) -> (Option<(String, String)>, Option<Timestamp>) {
    let decision = case.decide(now);
    case.session.status = Some(decision.status.clone());
    let found = condition::get(&decision.status.conditions, "SidecarSilent");
    (found.map(|c| (c.status.clone(), c.message.clone())), decision.look_again)
}

#[test]
fn a_sidecar_without_a_stream_shows_after_half_a_minute_and_until_it_is_back() {
    let mut case = Case::active();
    stream(&mut case, None);
    assert_eq!(silent(&mut case, NOW).0, None, "one that was never silent says nothing");
    stream(&mut case, Some("2026-01-01T12:10:00Z"));
    assert_eq!(silent(&mut case, "2026-01-01T12:10:29Z"), (None, Some(at("2026-01-01T12:10:30Z"))));
    let (found, again) = silent(&mut case, "2026-01-01T12:10:30Z");
    let (status, message) = found.unwrap();
    assert_eq!((status.as_str(), again), ("True", Some(at("2026-01-01T13:00:00Z"))));
    assert!(message.contains("since 2026-01-01T12:10:00Z"), "{message}");
    let before = case.session.status.clone();
    silent(&mut case, "2026-01-01T12:30:00Z");
    assert_eq!(case.session.status, before, "nothing happened, so nothing is written");
    stream(&mut case, None);
    assert_eq!(silent(&mut case, "2026-01-01T12:31:00Z").0.unwrap().0, "False");
}

#[test]
fn it_is_said_until_when_a_silent_sidecar_serves() {
    for (grace, until) in [("10m", "2026-01-01T12:20:00Z"), ("2h", "2026-01-01T13:00:00Z")] {
        let mut case = Case::fresh();
        let mut policy = policy(true);
        policy.spec.session.offline_grace = Some(grace.into());
        let hash = authority::resolve(&policy, Some(&provider())).map(|a| a.hash).unwrap();
        case.session.spec.request.authority_hash.clone_from(&hash);
        policy.status.as_mut().unwrap().authority_hash = Some(hash);
        case.policy = Some(policy);
        case.session.status = Some(case.decide(NOW).status);
        stream(&mut case, Some("2026-01-01T12:10:00Z"));
        let message = silent(&mut case, "2026-01-01T12:15:00Z").0.unwrap().1;
        assert!(message.contains(&format!("until {until}")), "{message}");
    }
}

#[test]
fn a_session_that_ended_is_not_listened_for() {
    let mut case = Case::active();
    stream(&mut case, Some("2026-01-01T12:10:00Z"));
    case.agent = AgentEnd::Ended(End::Completed);
    assert_eq!(silent(&mut case, "2026-01-01T12:15:00Z").0, None);
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

proptest! {
    /// Whatever mix of fields somebody writes beside phase Active: it stands only as what the controller would have decided itself.
    #[test]
    fn what_stands_as_active_is_what_the_controller_decides(
        forgeries in prop::collection::vec(0..FORGED.len(), 0..4), minutes in 0i64..90, pod in any::<bool>()
    ) {
        let mut case = Case::active();
        let decided = case.session.status.clone().unwrap();
        for index in forgeries {
            // A forgery of a field that another one took away changes nothing.
            let mut status = case.session.status.clone().unwrap();
            if status.grant.is_some() && !status.conditions.is_empty() {
                FORGED[index].1(&mut status);
            }
            case.session.status = Some(status);
        }
        case.pod = Some(if pod { Ok(()) } else { Err(Refused::new(Reason::NotInjected, "")) });
        let now = at(NOW).checked_add(SignedDuration::from_mins(minutes)).unwrap();
        let status = case.decide(&now.to_string()).status;
        if status.phase == Some(Phase::Active) {
            prop_assert!(pod && expiry(&status).unwrap() > now);
            // A start that has come by now may stand: the schema lets no recorded end move later.
            let same = |s: &CredentialSessionStatus| (s.grant.clone(), s.enforcement, s.exceptions.clone());
            prop_assert_eq!(same(&status), same(&decided));
        }
        prop_assert!(status.phase.is_some_and(|p| p == Phase::Active || p.is_terminal()), "{:?}", status.phase);
    }
}
