//! What people have to do with a session: approvals and holds.

use super::*;
use exeat_crds::approval;
use exeat_crds::v1alpha1::Verdict::{Approve, Deny};
use exeat_crds::v1alpha1::{CredentialHoldSpec, Owner, Verdict, Workload};

/// A policy whose provider lets people decide over what it allows.
fn guarded() -> Case {
    let mut case = Case::fresh();
    let mut provider = serde_json::to_value(case.provider.unwrap()).unwrap();
    provider["spec"]["bindings"][0]["approvalRules"] =
        json!([{"name": "reads", "actions": ["get pods"], "required": [{"group": "security", "count": 1}]}]);
    provider["spec"]["bindings"][0]["approvalCeiling"] = json!({"uses": 1});
    let provider: CredentialProvider = serde_json::from_value(provider).unwrap();
    let mut policy = case.policy.unwrap();
    policy.spec.owners = vec![Owner { user: "olga".into() }];
    let hash = authority::resolve(&policy, Some(&provider)).unwrap().hash;
    policy.status.as_mut().unwrap().authority_hash = Some(hash.clone());
    case.session.spec.request.authority_hash = hash;
    case.session.spec.request.agent.workload =
        Some(Workload { kind: "Deployment".into(), name: "app".into(), uid: "w".into() });
    (case.policy, case.provider) = (Some(policy), Some(provider));
    case
}

fn say(case: &mut Case, who: &str, decision: Verdict) {
    let mut approval = (*case.approvals[0]).clone();
    let digest = approval.spec.request.digest.clone();
    approval.spec.decisions.push(
        serde_json::from_value(
            json!({"approver": who, "groups": ["security"], "decision": decision, "digest": digest, "time": NOW}),
        )
        .unwrap(),
    );
    approval.status = Some(approval::status(&approval, at(NOW)).0);
    case.approvals[0] = Arc::new(approval);
}

/// As `apply` does it: people are asked, or what they gave is used, before the session says so.
fn pass(case: &mut Case) -> CredentialSessionStatus {
    let decision = case.decide(NOW);
    match &decision.gate {
        Some(Gate::Ask(approval)) => {
            let mut approval = (**approval).clone();
            approval.status = Some(approval::status(&approval, at(NOW)).0);
            case.approvals.push(Arc::new(approval));
        }
        Some(Gate::Use { .. }) => {
            let mut approval = (*case.approvals[0]).clone();
            approval.status = approval.status.map(|s| approval::consume(&s, "ses"));
            case.approvals[0] = Arc::new(approval);
        }
        _ => {}
    }
    case.session.status = Some(decision.status.clone());
    decision.status
}

#[test]
fn what_a_rule_names_waits_for_people_and_opens_by_their_word_alone() {
    let mut case = guarded();
    let waiting = pass(&mut case);
    assert_eq!((waiting.phase, waiting.reason.as_deref()), (Some(Phase::AwaitingApproval), Some("ApprovalPending")));
    assert!(waiting.expires_at.is_none(), "its time does not run while people think");
    let name = waiting.approval_ref.unwrap().name;
    assert!(waiting.message.unwrap().contains(&name), "the agent reads which approval it waits for");
    assert_eq!(pass(&mut case).phase, Some(Phase::AwaitingApproval));
    say(&mut case, "olga", Approve);
    assert_eq!(pass(&mut case).phase, Some(Phase::AwaitingApproval), "the owner's word opens nothing");
    say(&mut case, "alice", Approve);
    let active = pass(&mut case);
    assert_eq!((active.phase, active.approval_ref.unwrap().name), (Some(Phase::Active), name));
    case.pod = None;
    assert_eq!(case.outcome(NOW), (Phase::Active, "Active".into()));
    say(&mut case, "bob", Deny);
    assert_eq!(case.outcome(NOW), (Phase::Revoked, "ApprovalWithdrawn".into()));
}

#[test]
fn no_guarded_session_is_active_without_its_approval() {
    let mut case = guarded();
    pass(&mut case);
    say(&mut case, "alice", Approve);
    pass(&mut case);
    let opened = case.approvals.clone();
    case.approvals.clear();
    assert_eq!(case.outcome(NOW), (Phase::Revoked, "ApprovalWithdrawn".into()), "it was deleted");
    case.approvals = opened;
    case.session.metadata.uid = Some("another".into());
    assert_eq!(case.outcome(NOW), (Phase::Revoked, "ApprovalWithdrawn".into()), "it opened another session");
    case.session.metadata.uid = Some("ses".into());
    case.session.status.as_mut().unwrap().approval_ref = None;
    assert_eq!(case.outcome(NOW), (Phase::Revoked, "ApprovalWithdrawn".into()), "somebody wrote the phase");
}

#[test]
fn a_denial_ends_who_waits_and_a_missing_admission_policy_uses_nothing() {
    let mut case = guarded();
    pass(&mut case);
    say(&mut case, "alice", Approve);
    case.backstop = false;
    let decision = case.decide(NOW);
    assert_eq!((decision.gate, decision.status.reason.as_deref()), (None, Some("BackstopMissing")));
    case.backstop = true;
    say(&mut case, "bob", Deny);
    assert_eq!(case.outcome(NOW), (Phase::Denied, "ApprovalDenied".into()));
}

#[test]
fn whom_nobody_can_be_asked_for_waits_and_says_what_stands_in_the_way() {
    let mut case = guarded();
    let quota = "approvals.exeat.dev \"a-1\" is forbidden: exceeded quota: small\n";
    let refused = unasked(&case.session, "a-1", quota, at(NOW));
    let status = refused.status;
    assert_eq!((status.phase, status.reason.as_deref()), (Some(Phase::Pending), Some("ApprovalNotCreated")));
    let message = status.message.clone().unwrap();
    for part in ["approval a-1", "exceeded quota: small;", "change the ResourceQuota", "namespace \"agents\""] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!((refused.gate, status.approval_ref.clone(), status.expires_at.clone()), (None, None, None));
    case.session.status = Some(status.clone());
    let again = unasked(&case.session, "a-1", quota, at("2026-01-01T12:20:00Z")).status;
    assert_eq!(again, status, "the same words are written once");
    let long = unasked(&case.session, "a-1", &"é".repeat(3000), at(NOW)).status.message.unwrap();
    assert!(long.ends_with("it is tried again"), "{long}");
    assert_eq!(pass(&mut case).phase, Some(Phase::AwaitingApproval), "and once they can be asked they are");
}

#[test]
fn a_hold_keeps_new_sessions_off_and_ends_none() {
    let spec =
        CredentialHoldSpec { namespace: Some("agents".into()), reason: "incident 7".into(), ..Default::default() };
    let mut case = Case::fresh();
    case.hold = Some(CredentialHold::new("stop", spec.clone()));
    let held = case.decide(NOW).status;
    assert_eq!((held.phase, held.reason.as_deref()), (Some(Phase::Pending), Some("Held")));
    assert!(held.message.unwrap().contains("incident 7"));
    let mut case = Case::active();
    case.hold = Some(CredentialHold::new("stop", spec));
    assert_eq!(case.outcome(NOW), (Phase::Active, "Active".into()));
}
