use super::*;
use exeat_crds::approval::Needed;
use exeat_crds::authority::{self, Authority};
use exeat_crds::rules::Grant;
use exeat_crds::v1alpha1::{ApprovalDecision, ApprovalScope, NameRef, Requester, Verdict, Workload};
use exeat_crds::{AgentCredentialPolicy, CredentialProvider};
use serde_json::json;

const NOW: &str = "2026-01-01T12:00:00Z";
const SOON: &str = "2026-01-01T12:10:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[path = "orders_tests.rs"]
mod orders;
#[path = "refused_tests.rs"]
mod refused;

#[derive(Clone)]
struct Fixture {
    authority: Authority,
    grant: Grant,
    needed: Needed,
    session: CredentialSession,
    approvals: Vec<Arc<Approval>>,
    room: bool,
}

impl Fixture {
    fn new() -> Self {
        let provider: CredentialProvider = serde_json::from_value(json!({
            "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": "here", "uid": "prov"},
            "spec": {"kubernetes": {}, "bindings": [{"name": "b", "namespaces": ["agents"],
                "principals": ["system:serviceaccounts:exeat-grants"], "maxActions": ["*"],
                "approvalRules": [{"name": "deletes", "actions": ["delete *"], "required": [{"group": "security", "count": 1}],
                    "deadline": "1h", "validFor": "2h", "uses": 2, "coolDown": "30m"}]}]}
        }))
        .unwrap();
        let policy: AgentCredentialPolicy = serde_json::from_value(json!({
            "apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy",
            "metadata": {"name": "cleaner", "namespace": "agents", "uid": "pol"},
            "spec": {"providerRef": {"name": "here"}, "principal": "system:serviceaccounts:exeat-grants", "owners": [{"user": "olga"}],
                "subjects": {"serviceAccounts": ["sa"]}, "allow": [{"actions": ["delete pods"], "resources": ["agents/*"]}]}
        }))
        .unwrap();
        let authority = authority::resolve(&policy, Some(&provider)).unwrap();
        let grant = authority.grant("sa", None).unwrap();
        let needed = authority.approval.needed(&grant).unwrap();
        let session = serde_json::from_value(json!({
            "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession", "metadata": {"name": "pod-1", "namespace": "agents", "uid": "s1"},
            "spec": {"request": {"policyRef": {"name": "cleaner", "uid": "pol"}, "providerRef": {"name": "here"}, "number": 1,
                "authorityHash": authority.hash, "agent": {"serviceAccount": "sa", "pod": {"name": "pod", "uid": "p"},
                    "workload": {"kind": "Deployment", "name": "cleaner", "uid": "w"}}}}
        }))
        .unwrap();
        Self { authority, grant, needed, session, approvals: Vec::new(), room: true }
    }

    fn judge(&self, now: &str) -> Gate {
        let asked =
            Asked { session: &self.session, authority: &self.authority, grant: &self.grant, needed: &self.needed };
        judge(&asked, Queue { approvals: &self.approvals, room: self.room }, at(now))
    }

    fn judge_at(&self, now: Timestamp) -> Gate {
        self.judge(&now.to_string())
    }

    /// What is asked stands in the API server, with these words and looked at then.
    fn stand(&mut self, words: &[(&str, Verdict)], seen: &str) -> String {
        let Gate::Ask(approval) = self.judge(NOW) else { panic!("{:?}", self.judge(NOW)) };
        let name = approval.name_any();
        self.approvals.push(Arc::from(approval));
        self.say(words, seen);
        name
    }

    /// Somebody says something about what was asked last, and it is looked at then.
    fn say(&mut self, words: &[(&str, Verdict)], seen: &str) {
        let mut approval = (*self.approvals.pop().unwrap()).clone();
        for (who, decision) in words {
            approval.spec.decisions.push(ApprovalDecision {
                approver: (*who).into(),
                uid: None,
                groups: vec!["security".into()],
                decision: *decision,
                digest: approval.spec.request.digest.clone(),
                comment: Some("because".into()),
                time: Some(SOON.into()),
            });
        }
        approval.status = Some(approval::status(&approval, at(seen)).0);
        self.approvals.push(Arc::new(approval));
    }

    /// The session has used what was approved last.
    fn uses(&mut self, uid: &str) {
        let mut used = (*self.approvals.pop().unwrap()).clone();
        used.status = used.status.map(|s| approval::consume(&s, uid));
        self.approvals.push(Arc::new(used));
    }
}

#[test]
fn people_are_asked_once_for_a_workload_and_let_in_what_they_approved() {
    let mut fixture = Fixture::new();
    let name = fixture.stand(&[], SOON);
    assert!(name.starts_with("cleaner-") && name.ends_with("-1"), "{name}");
    let Gate::Wait { name: waits, message, .. } = fixture.judge(SOON) else { panic!("{:?}", fixture.judge(SOON)) };
    assert_eq!(waits.as_deref(), Some(name.as_str()));
    assert!(message.contains("1 of security") && message.contains("2026-01-01T13:00:00Z"), "{message}");
    fixture.session.metadata.uid = Some("s2".into());
    fixture.session.metadata.name = Some("other-pod-1".into());
    assert!(matches!(fixture.judge(SOON), Gate::Wait { .. }), "its other pods wait for the same approval");
    fixture.approvals.clear();
    let name = fixture.stand(&[("alice", Verdict::Approve)], SOON);
    assert_eq!(fixture.judge(SOON), Gate::Use { name });
}

#[test]
fn nobody_who_may_not_opens_the_gate() {
    for who in ["olga", "system:serviceaccount:agents:sa"] {
        let mut fixture = Fixture::new();
        fixture.stand(&[(who, Verdict::Approve)], SOON);
        assert!(matches!(fixture.judge(SOON), Gate::Wait { .. }), "{who}");
    }
}

#[test]
fn a_denial_stands_for_its_cool_down_and_then_people_may_be_asked_again() {
    let mut fixture = Fixture::new();
    let name = fixture.stand(&[("alice", Verdict::Approve), ("bob", Verdict::Deny)], SOON);
    let Gate::Closed { name: closed, why } = fixture.judge(SOON) else { panic!("{:?}", fixture.judge(SOON)) };
    assert_eq!((closed, why.reason), (name, Reason::ApprovalDenied));
    assert!(why.message.contains("bob") && why.message.contains("because"), "{}", why.message);
    let Gate::Ask(next) = fixture.judge("2026-01-01T12:40:00Z") else { panic!("the cool-down is over") };
    assert!(next.name_any().ends_with("-2"), "{}", next.name_any());
}

#[test]
fn what_nobody_decided_ends_who_waited_and_others_ask_anew() {
    let mut fixture = Fixture::new();
    let name = fixture.stand(&[], "2026-01-01T13:00:01Z");
    let late = "2026-01-01T13:00:02Z";
    assert!(matches!(fixture.judge(late), Gate::Ask(_)), "who did not wait for it asks anew");
    fixture.session.status.get_or_insert_default().approval_ref = Some(NameRef { name });
    let Gate::Closed { why, .. } = fixture.judge(late) else { panic!("{:?}", fixture.judge(late)) };
    assert_eq!(why.reason, Reason::ApprovalExpired);
    assert!(why.message.contains("missing: 1 of security; delete the pod"), "{}", why.message);
}

#[test]
fn what_people_said_in_time_and_nobody_saw_refuses_nobody() {
    let mut fixture = Fixture::new();
    let late = "2026-01-01T13:02:01Z";
    let name = fixture.stand(&[("alice", Verdict::Approve)], late);
    fixture.session.status.get_or_insert_default().approval_ref = Some(NameRef { name });
    let Gate::Ask(next) = fixture.judge(late) else { panic!("{:?}", fixture.judge(late)) };
    assert!(next.name_any().ends_with("-2"), "it opens nothing, but whoever waited asks anew");
}

#[test]
fn what_is_used_up_or_too_old_is_asked_for_anew_with_what_changed() {
    let mut fixture = Fixture::new();
    fixture.stand(&[("alice", Verdict::Approve)], SOON);
    ["a", "b"].iter().for_each(|uid| fixture.uses(uid));
    let Gate::Ask(next) = fixture.judge(SOON) else { panic!("it is used up: {:?}", fixture.judge(SOON)) };
    assert!(next.name_any().ends_with("-2"));
    assert_eq!(next.spec.request.changes.as_deref(), Some(&[][..]), "people see that nothing changed");
    fixture.session.metadata.uid = Some("b".into());
    assert!(matches!(fixture.judge(SOON), Gate::Use { .. }), "who was counted already comes in");
    let mut fixture = Fixture::new();
    fixture.stand(&[("alice", Verdict::Approve)], SOON);
    assert!(matches!(fixture.judge("2026-01-01T14:10:01Z"), Gate::Ask(_)), "it was good for two hours");
}

#[test]
fn a_namespace_with_a_full_queue_asks_nothing_more() {
    let mut fixture = Fixture::new();
    fixture.room = false;
    let Gate::Wait { name: None, look_again, .. } = fixture.judge(NOW) else { panic!("{:?}", fixture.judge(NOW)) };
    assert!(look_again.is_some());
}

#[test]
fn only_approvals_of_the_same_session_or_workload_are_looked_at() {
    let mut fixture = Fixture::new();
    fixture.stand(&[], SOON);
    let request = fixture.approvals[0].spec.request.clone();
    assert!(answers(&request, &fixture.session));
    let mut other = fixture.session.clone();
    other.spec.request.agent.workload = None;
    assert!(!answers(&request, &other), "a bare pod is not of the workload");
    let one = ApprovalRequest { workload: None, session_ref: Some(NameRef { name: "pod-1".into() }), ..request };
    assert!(answers(&one, &other) && answers(&one, &fixture.session));
    other.metadata.name = Some("pod-2".into());
    assert!(!answers(&one, &other));
}
