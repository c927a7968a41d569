//! What people must do, and who can.

use super::*;
use crate::explain::fixtures::{mutate, now, of, pending, well};
use crate::explain::judge::judge;
use crate::explain::judge::tests::finds;
use serde_json::json;

fn asks_people(facts: &mut Facts) {
    let rules = json!([{"name": "reads", "actions": ["s3:Get*"], "required": [{"group": "security", "count": 1}]}]);
    mutate(&mut facts.policy, |p| p.spec.approval_rules = of(rules));
    mutate(&mut facts.sessions, |sessions| {
        let status = sessions[0].status.as_mut().unwrap();
        (status.phase, status.reason) = (Some(Phase::AwaitingApproval), Some("ApprovalPending".into()));
    });
    facts.approval = Look::Found(crate::approvals::precheck::tests::approval());
    facts.approvers = Look::Found(vec![subject("Group", "security")]);
}

fn subject(kind: &str, name: &str) -> crate::doctor::access::rbac::Subject {
    crate::doctor::access::rbac::Subject { kind: kind.into(), namespace: String::new(), name: name.into() }
}

#[test]
fn what_people_must_do_is_found() {
    finds("people are asked", asks_people, "approval", "1 of security", "kubectl exeat approve reports-1");
    finds(
        "an approval nobody can give",
        |f| {
            asks_people(f);
            f.approvers = Look::Found(vec![subject("Group", "system:masters")]);
        },
        "approval",
        "NobodyCanApprove",
        "--clusterrole=exeat-approver --group=security",
    );
    finds(
        "an approval was denied",
        |f| {
            asks_people(f);
            mutate(&mut f.approval, |a| {
                a.status.as_mut().unwrap().phase = Some(exeat_crds::v1alpha1::ApprovalPhase::Denied)
            });
        },
        "approval",
        "ApprovalDenied",
        "after the cool-down",
    );
    finds(
        "a yes was taken back",
        |f| {
            asks_people(f);
            mutate(&mut f.approval, |a| {
                let status = a.status.as_mut().unwrap();
                status.phase = Some(exeat_crds::v1alpha1::ApprovalPhase::Withdrawn);
                status.cool_down_until = Some("2026-01-01T02:00:00Z".into());
            });
        },
        "approval",
        "the cool-down ends 2026-01-01T02:00:00Z",
        "after the cool-down a new pod asks again",
    );
    finds(
        "a hold",
        |f| {
            pending(f);
            let hold = json!({"metadata": {"name": "stop"}, "spec": {"namespace": "agents", "reason": "looks odd"}});
            f.holds = Look::Found(vec![of(hold)]);
        },
        "hold",
        "looks odd",
        "kubectl exeat release stop",
    );
}

/// What is said of people, for an approval that waits for security and compliance.
fn asked_of_two(approvers: Look<Vec<crate::doctor::access::rbac::Subject>>, yes: &[&str]) -> Vec<Gate> {
    let mut facts = well();
    asks_people(&mut facts);
    let both = json!([{"group": "compliance", "count": 1}, {"group": "security", "count": 1}]);
    mutate(&mut facts.policy, |p| p.spec.approval_rules[0].required = of(both.clone()));
    mutate(&mut facts.approval, |a| {
        a.spec.request.required = of(both);
        a.spec.decisions = of(
            json!([{"approver": "bob", "decision": "Approve", "digest": "", "time": "2026-01-01T00:00:00Z", "groups": yes}]),
        );
    });
    facts.approvers = approvers;
    judge(&facts, now()).unwrap().into_iter().filter(|gate| gate.gate == "approval").collect()
}

#[test]
fn a_group_that_nobody_was_given_is_named() {
    let bound =
        |subjects: &[(&str, &str)]| Look::Found(subjects.iter().map(|(kind, name)| subject(kind, name)).collect());
    let [nobody] = &asked_of_two(bound(&[("Group", "system:masters")]), &[])[..] else {
        panic!("one message is enough")
    };
    assert!(nobody.fix.as_deref().unwrap().ends_with("--group=compliance --group=security"), "{nobody:?}");
    for other in [("Group", "security"), ("User", "ann")] {
        let gates = asked_of_two(bound(&[other, ("Group", "security")]), &[]);
        let [waits, doubt] = &gates[..] else { panic!("{gates:?}") };
        assert_eq!((waits.verdict, waits.reason.as_deref()), (Verdict::Fail, Some("ApprovalPending")));
        assert_eq!((doubt.verdict, doubt.reason.as_deref()), (Verdict::Warn, Some("NobodyCanApprove")));
        assert!(doubt.message.contains("no binding gives group compliance the verb"), "{doubt:?}");
        assert!(doubt.fix.as_deref().unwrap().ends_with("exeat-approver --group=compliance"), "{doubt:?}");
    }
    for (approvers, yes) in [
        (bound(&[("Group", "security"), ("Group", "compliance")]), &[][..]),
        (bound(&[("Group", "system:authenticated")]), &[]),
        (bound(&[("Group", "security")]), &["compliance"]),
    ] {
        let gates = asked_of_two(approvers, yes);
        assert!(gates.len() == 1 && gates[0].reason.as_deref() == Some("ApprovalPending"), "{gates:?}");
    }
    let unseen = asked_of_two(Look::Unreadable("forbidden".into()), &[]);
    assert!(unseen.len() == 1 && unseen[0].message.ends_with("is not for you to see"), "{unseen:?}");
}

#[test]
fn a_yes_that_is_too_old_is_a_mistake_only_where_it_opened_nothing() {
    let expired = |phase: Phase| {
        let mut facts = well();
        asks_people(&mut facts);
        mutate(&mut facts.sessions, |sessions| sessions[0].status.as_mut().unwrap().phase = Some(phase));
        mutate(&mut facts.approval, |a| {
            a.status.as_mut().unwrap().phase = Some(exeat_crds::v1alpha1::ApprovalPhase::Expired)
        });
        facts
    };
    let said = |facts: &Facts| {
        let gates = judge(facts, now()).unwrap();
        gates.into_iter().find(|gate| gate.gate == "approval").unwrap()
    };
    for phase in [Phase::Active, Phase::Completed] {
        let gate = said(&expired(phase));
        let works = gate.verdict == Verdict::Ok && gate.message.contains("opened this session");
        assert!(works && gate.message.ends_with("the next one asks anew"), "{phase:?}: {gate:?}");
    }
    let mut never = expired(Phase::Completed);
    mutate(&mut never.sessions, |sessions| sessions[0].status.as_mut().unwrap().started_at = None);
    for facts in [never, expired(Phase::Denied), expired(Phase::AwaitingApproval)] {
        let gate = said(&facts);
        assert_eq!((gate.verdict, gate.reason.as_deref()), (Verdict::Fail, Some("ApprovalExpired")), "{gate:?}");
    }
}

#[test]
fn who_may_not_read_holds_is_told_by_the_session() {
    let hold = |reason: &str| {
        let mut facts = well();
        pending(&mut facts);
        facts.holds = Look::Unreadable("forbidden".into());
        mutate(&mut facts.sessions, |sessions| {
            let status = sessions[0].status.as_mut().unwrap();
            (status.reason, status.message) =
                (Some(reason.into()), Some("CredentialHold \"stop\" keeps new sessions off: drill".into()));
        });
        judge(&facts, now()).unwrap().into_iter().find(|gate| gate.gate == "hold").unwrap()
    };
    let held = hold("Held");
    assert!(held.verdict == Verdict::Fail && held.message.contains("drill"), "{held:?}");
    assert_eq!(hold("PolicyNotReady").verdict, Verdict::Unknown);
}
