use super::super::fixtures::{approval, ask, at, says};
use super::super::{consume, status};
use super::*;
use crate::rules::{Kind, Statement};
use crate::v1alpha1::{NameRef, Requester, Verdict, Workload};
use Verdict::{Approve, Deny};

const NOW: &str = "2026-01-01T13:00:00Z";

fn statement(actions: &[&str], resources: &[&str]) -> Statement {
    let own = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect();
    Statement { actions: own(actions), resources: own(resources) }
}

fn grant(request: &ApprovalRequest) -> Grant {
    let (principal, allow) = (request.principal.clone(), request.allow.clone());
    Grant { kind: Kind::Aws, principal, allow, deny: vec![], observe: false }
}

/// Whether the no to a question (a Deployment's, to delete in bucket `a`) answers the same with a change.
fn also(change: impl FnOnce(&mut ApprovalRequest)) -> bool {
    let refused = ask(&[("security", 1)], 1);
    let mut asked = refused.clone();
    change(&mut asked);
    reaches(&refused, &asked, &grant(&asked))
}

fn of(kind: &str, name: &str, uid: &str) -> Option<Workload> {
    Some(Workload { kind: kind.into(), name: name.into(), uid: uid.into() })
}

#[test]
fn a_no_reaches_all_that_asks_for_some_of_the_same_for_the_same_workload() {
    assert!(also(|_| ()));
    assert!(also(|r| r.duration = "59m59s".into()), "a second less is no other question");
    assert!(also(|r| r.session_ref = Some(NameRef { name: "pod-2".into() })), "nor is the next session");
    assert!(also(|r| r.allow[0].resources = vec!["arn:aws:s3:::a/2026/*".into()]), "nor a part of it");
    assert!(also(|r| r.allow.push(statement(&["s3:GetObject"], &["arn:aws:s3:::b/*"]))), "nor something beside it");
    assert!(also(|r| r.workload = of("Deployment", "reports", "made-again")), "nor a workload that was made again");
    assert!(also(|r| (r.uses, r.required[0].count) = (9, 2)));
}

#[test]
fn a_no_reaches_nobody_who_was_never_refused() {
    assert!(!also(|r| r.workload = of("Deployment", "others", "o")), "another workload");
    assert!(!also(|r| r.workload = of("Job", "reports", "o")), "a name means nothing without its kind");
    assert!(!also(|r| r.service_account = "other".into()), "another account");
    assert!(!also(|r| r.policy_ref.uid = "made-again".into()), "another policy, of the same name too");
    assert!(!also(|r| r.authority_hash = "changed".into()), "a policy that gives something else now");
    assert!(!also(|r| r.allow[0].resources = vec!["arn:aws:s3:::b/*".into()]), "another bucket");
    assert!(!also(|r| r.allow[0].actions = vec!["s3:PutObject".into()]), "another action");
}

#[test]
fn whoever_makes_bare_pods_by_hand_gets_no_second_answer_by_another_one() {
    let made = |name: &str, uid: &str, by: Option<&str>| ApprovalRequest {
        workload: of("Pod", name, uid),
        session_ref: Some(NameRef { name: format!("{name}-1") }),
        requester: by.map(|username| Requester { username: username.into() }),
        ..ask(&[("security", 1)], 1)
    };
    let refused = made("a", "u", Some("paula"));
    let also = |asked: &ApprovalRequest| reaches(&refused, asked, &grant(asked));
    assert!(also(&made("a", "u", Some("paula"))) && also(&made("a", "u2", None)), "the pod, and one of its name");
    assert!(also(&made("b", "v", Some("paula"))), "another of the same person");
    assert!(
        !also(&made("b", "v", Some("peter"))) && !also(&made("b", "v", None)),
        "of somebody else, and of nobody known"
    );
    let (machines, other) = (made("a", "u", None), made("b", "v", None));
    assert!(!reaches(&machines, &other, &grant(&other)), "two that no person made have nothing in common");
    let fleet = ApprovalRequest { workload: of("Deployment", "fleet", "w"), ..made("x", "y", Some("paula")) };
    assert!(!also(&fleet), "a workload is no pod of hers");
}

#[test]
fn a_no_stands_for_its_cool_down_from_the_moment_it_was_seen() {
    let request = ask(&[("security", 1)], 1);
    let yes = says(&request, "alice", &["security"], Approve, NOW);
    let no = says(&request, "carol", &[], Deny, NOW);
    let mut object = approval(request, vec![yes]);
    object.status = Some(consume(&status(&object, at(NOW)).0, "s1"));
    assert_eq!(refusal(&object, at(NOW)), None);
    object.spec.decisions.push(no);
    let told = refusal(&object, at(NOW)).unwrap();
    assert_eq!(told.reason, Reason::ApprovalDenied);
    assert!(
        told.message.contains("nobody is asked again before its cool-down is over"),
        "it counts before the controller has seen it: {told}"
    );
    object.status = Some(status(&object, at("2026-01-01T13:20:00Z")).0);
    let told = refusal(&object, at("2026-01-01T13:49:59Z")).unwrap();
    assert!(told.message.contains("before 2026-01-01T13:50:00Z"), "{told}");
    assert_eq!(refusal(&object, at("2026-01-01T13:50:00Z")), None);
    assert_eq!(refused_at(&object), None, "it was withdrawn: it had let somebody in");
    object.status = Some(status(&Approval { status: None, ..object.clone() }, at("2026-01-01T13:20:00Z")).0);
    assert_eq!(refused_at(&object), Some(at("2026-01-01T13:20:00Z")));
}
