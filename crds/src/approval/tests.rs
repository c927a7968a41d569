use super::ask::same_ask;
use super::fixtures::{ASKED, approval, ask, at, required, says};
use super::*;
use crate::authority::{Authority, resolve};
use crate::reason::Reason;
use crate::v1alpha1::{
    Agent, Approval, ApprovalPhase, ApprovalScope, CredentialSession, CredentialSessionSpec, ObjectRef, Requester,
    SessionRequest, Verdict, Workload,
};
use Verdict::{Approve, Deny};
use serde_json::{Value, json};

const LATER: &str = "2026-01-01T13:00:00Z";

fn authority(binding: Value, policy: Value) -> Result<Authority, crate::reason::Refused> {
    let mut bound = json!({
        "name": "agents", "namespaces": ["agents"], "principals": ["arn:aws:iam::123456789012:role/*"], "maxActions": ["s3:*"]
    });
    let mut spec = json!({
        "providerRef": {"name": "aws"}, "principal": "arn:aws:iam::123456789012:role/r", "subjects": {"serviceAccounts": ["agent"]},
        "allow": [{"actions": ["s3:*"], "resources": ["arn:aws:s3:::a/*"]}]
    });
    for (into, from) in [(&mut bound, &binding), (&mut spec, &policy)] {
        for (key, value) in from.as_object().unwrap() {
            into[key] = value.clone();
        }
    }
    let provider = json!({"apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": "aws", "uid": "prov"},
        "spec": {"aws": {"region": "eu-west-1"}, "bindings": [bound]}});
    let policy = json!({"apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy",
        "metadata": {"name": "writer", "namespace": "agents", "uid": "pol", "annotations": {"exeat.dev/last-editor": "erin"}}, "spec": spec});
    resolve(&serde_json::from_value(policy).unwrap(), Some(&serde_json::from_value(provider).unwrap()))
}

fn rule(name: &str, actions: &[&str], groups: Value) -> Value {
    json!({"name": name, "actions": actions, "required": groups})
}

fn session(workload: bool) -> CredentialSession {
    let workload = workload.then(|| Workload { kind: "Deployment".into(), name: "reports".into(), uid: "w".into() });
    let request = SessionRequest {
        policy_ref: ObjectRef { name: "writer".into(), uid: "pol".into() },
        agent: Agent {
            service_account: "agent".into(),
            pod: ObjectRef { name: "pod".into(), uid: "p".into() },
            workload,
        },
        ..SessionRequest::default()
    };
    CredentialSession::new("pod-1", CredentialSessionSpec { request, revoke: None })
}

#[test]
fn a_grant_that_could_do_what_a_rule_names_needs_approval() {
    let deletes = json!([rule("deletes", &["*:Delete*"], json!([{"group": "security", "count": 1}]))]);
    let needs = |allow: Value, narrowing: Option<&str>| {
        let authority = authority(json!({"approvalRules": deletes}), json!({"allow": allow})).unwrap();
        let narrowing = narrowing.map(|n| crate::rules::parse_narrowing(n).unwrap());
        authority.approval.needed(&authority.grant("agent", narrowing.as_deref()).unwrap()).is_some()
    };
    let on = |actions: &[&str]| json!([{"actions": actions, "resources": ["arn:aws:s3:::a/*"]}]);
    assert!(needs(on(&["s3:*"]), None));
    assert!(needs(on(&["s3:GetObject", "s3:DeleteObject"]), None));
    assert!(!needs(on(&["s3:GetObject"]), None));
    assert!(!needs(on(&["s3:*"]), Some("s3:GetObject on arn:aws:s3:::a/*")), "a pod that asks for less needs nobody");
}

#[test]
fn of_two_rules_the_stricter_value_counts_each_time() {
    let of_provider = json!([{"name": "a", "actions": ["s3:*"], "required": [{"group": "security", "count": 2}], "deadline": "4h", "validFor": "8h",
        "uses": 50, "coolDown": "10m"}]);
    let of_policy = json!([{"name": "b", "actions": ["s3:Put*"], "required": [{"group": "security", "count": 1}, {"group": "data", "count": 1}],
        "scope": "Session", "deadline": "8h", "validFor": "2h", "uses": 9, "coolDown": "2h"}]);
    let authority = authority(json!({"approvalRules": of_provider}), json!({"approvalRules": of_policy})).unwrap();
    let needed = authority.approval.needed(&authority.grant("agent", None).unwrap()).unwrap();
    assert_eq!(needed.rules, ["provider/a", "policy/b"]);
    assert_eq!(needed.demand.required, required(&[("data", 1), ("security", 2)]));
    assert_eq!((needed.demand.scope, needed.demand.uses), (ApprovalScope::Session, 1));
    let times = [needed.demand.deadline, needed.demand.valid_for, needed.demand.cool_down].map(crate::duration::format);
    assert_eq!(times, ["4h", "2h", "2h"]);
}

#[test]
fn rules_that_cannot_be_read_or_met_or_give_too_much_make_their_policy_useless() {
    let one = json!([{"group": "security", "count": 1}]);
    for (binding, policy, reason, field) in [
        (
            json!({}),
            json!({"approvalRules": [rule("r", &["Delete"], one.clone())]}),
            Reason::ActionInvalid,
            "spec.approvalRules[0].actions[0]",
        ),
        (
            json!({"approvalRules": [rule("r", &["s3:*"], json!([{"group": "system:masters", "count": 1}]))]}),
            json!({}),
            Reason::ApprovalRuleInvalid,
            "spec.bindings[name=agents].approvalRules[0] of the provider.required",
        ),
        (
            json!({}),
            json!({"approvalRules": [rule("r", &["s3:*"], json!([{"group": "a", "count": 9}, {"group": "b", "count": 8}]))]}),
            Reason::ApprovalRuleInvalid,
            "at most 15",
        ),
        (
            json!({"approvalCeiling": {"uses": 10}}),
            json!({"approvalRules": [{"name": "r", "actions": ["s3:*"], "required": one, "uses": 11}]}),
            Reason::ApprovalTooBroad,
            "spec.approvalRules[0].uses",
        ),
        (
            json!({"approvalCeiling": {"validFor": "4h"}}),
            json!({"approvalRules": [{"name": "r", "actions": ["s3:*"], "required": one, "validFor": "5h"}]}),
            Reason::ApprovalTooBroad,
            "spec.approvalRules[0].validFor",
        ),
        (
            json!({}),
            json!({"approvalRules": [{"name": "r", "actions": ["s3:*"], "required": one, "deadline": "soon"}]}),
            Reason::ApprovalRuleInvalid,
            "spec.approvalRules[0].deadline",
        ),
        (
            json!({}),
            json!({"approvalRules": [{"name": "r", "actions": ["s3:*"], "required": one, "coolDown": "720h1s"}]}),
            Reason::ApprovalRuleInvalid,
            "spec.approvalRules[0].coolDown: 720h1s exceeds 720h",
        ),
    ] {
        let refused = authority(binding, policy).unwrap_err();
        assert_eq!(refused.reason, reason, "{refused}");
        assert!(refused.message.contains(field), "{refused}");
    }
    let defaults = authority(
        json!({"approvalCeiling": {"uses": 10, "validFor": "4h"}}),
        json!({"approvalRules": [rule("r", &["s3:*"], one)]}),
    );
    let rule = &defaults.unwrap().approval.rules[0].demand;
    assert_eq!((rule.uses, crate::duration::format(rule.valid_for)), (10, "4h".to_owned()), "defaults fit the ceiling");
}

#[test]
fn nobody_approves_what_they_asked_for_own_or_changed_last_and_without_an_owner_two_are_needed() {
    let one = json!([rule("r", &["s3:*"], json!([{"group": "security", "count": 1}]))]);
    let ask = |owners: Value, requester: Option<&str>| {
        let authority = authority(json!({"approvalRules": one}), json!({"owners": owners})).unwrap();
        let grant = authority.grant("agent", None).unwrap();
        let needed = authority.approval.needed(&grant).unwrap();
        let mut session = session(true);
        session.spec.request.requester = requester.map(|username| Requester { username: username.into() });
        request(&Asked { session: &session, authority: &authority, grant: &grant, needed: &needed }, None, at(ASKED))
    };
    let nobody = ask(json!([]), None);
    assert_eq!((nobody.minimum, nobody.excluded), (2, vec!["erin".to_owned()]));
    let owned = ask(json!([{"user": "alice"}]), None);
    assert_eq!((owned.minimum, owned.excluded), (1, vec!["alice".to_owned(), "erin".to_owned()]));
    let asked = ask(json!([]), Some("bob"));
    assert_eq!((asked.minimum, asked.excluded), (1, vec!["bob".to_owned(), "erin".to_owned()]));
}

#[test]
fn a_request_is_the_same_until_anything_that_people_approved_differs() {
    let rules = json!([rule("r", &["s3:*"], json!([{"group": "security", "count": 1}]))]);
    let base = authority(json!({"approvalRules": rules}), json!({})).unwrap();
    let grant = base.grant("agent", None).unwrap();
    let needed = base.approval.needed(&grant).unwrap();
    let (pod, bare) = (session(true), session(false));
    let asked = Asked { session: &pod, authority: &base, grant: &grant, needed: &needed };
    let standing = request(&asked, None, at(ASKED));
    assert_eq!(standing.digest, digest(&standing));
    assert!(same_ask(&standing, &asked));
    assert!(same_ask(&request(&asked, Some(&standing), at(LATER)), &asked), "when it is asked makes no difference");
    assert_eq!(key(&standing), key(&request(&asked, Some(&standing), at(LATER))));
    let alone = Asked { session: &bare, ..asked };
    assert!(!same_ask(&standing, &alone), "a bare pod is not a workload's");
    assert_eq!(request(&alone, None, at(ASKED)).session_ref.unwrap().name, "pod-1");
    assert_eq!(request(&alone, None, at(ASKED)).uses, 1);
    let less =
        base.grant("agent", Some(&crate::rules::parse_narrowing("s3:GetObject on arn:aws:s3:::a/*").unwrap())).unwrap();
    assert!(!same_ask(&standing, &Asked { grant: &less, ..asked }));
    let stricter = authority(json!({"approvalRules": rules}), json!({"session": {"duration": "1h"}})).unwrap();
    assert!(!same_ask(&standing, &Asked { authority: &stricter, ..asked }));
    let mut forged = standing.clone();
    forged.required[0].count = 0;
    assert!(!same_ask(&forged, &asked));
    let mut other_account = session(true);
    other_account.spec.request.agent.service_account = "other".into();
    assert!(!same_ask(&standing, &Asked { session: &other_account, ..asked }));
    assert!(name(&standing, "pod", 3).starts_with("reports-") && name(&standing, "pod", 3).ends_with("-3"));
    let bare = request(&alone, None, at(ASKED));
    assert_eq!(bare.workload.as_ref().map(|w| (w.kind.as_str(), w.uid.as_str())), Some(("Pod", "p")));
    assert!(name(&bare, "pod", 3).starts_with("pod-"));
    let unnamed = crate::v1alpha1::ApprovalRequest { workload: None, ..bare.clone() };
    assert!(same_ask(&unnamed, &alone) && key(&unnamed) == key(&bare), "one session is named by its own name");
    let each = authority(
        json!({"approvalRules": [{"name": "r", "actions": ["s3:*"], "scope": "Session",
        "required": [{"group": "security", "count": 1}]}]}),
        json!({}),
    );
    let each = each.unwrap();
    let needed = each.approval.needed(&grant).unwrap();
    let of_one = request(&Asked { authority: &each, needed: &needed, ..asked }, None, at(ASKED));
    assert!(of_one.session_ref.is_some() && of_one.workload == standing.workload, "people see whose it is");
    assert!(name(&of_one, "pod", 1).starts_with("pod-"));
}

#[test]
fn words_count_only_from_those_who_may_for_these_terms_and_in_time() {
    let request = ask(&[("security", 1)], 1);
    let now = at(LATER);
    let open = |decisions: &[_]| matches!(state(&request, decisions, now), State::Open(_));
    let good = says(&request, "alice", &["security"], Approve, LATER);
    assert_eq!(state(&request, std::slice::from_ref(&good), now), State::Approved);
    let with = |change: fn(&mut crate::v1alpha1::ApprovalDecision)| {
        let mut decision = good.clone();
        change(&mut decision);
        [decision]
    };
    assert!(open(&[]));
    assert!(open(&with(|d| d.approver = "carol".into())), "excluded");
    assert!(open(&with(|d| d.approver = "system:serviceaccount:agents:agent".into())), "no person");
    assert!(open(&with(|d| d.digest = "another".into())), "other terms");
    assert!(open(&with(|d| d.groups = vec!["data".into()])), "another group");
    assert!(open(&with(|d| d.groups.clear())), "no group");
    assert!(open(&with(|d| d.time = None)), "not stamped");
    assert!(open(&with(|d| d.time = Some("2026-01-01T16:00:01Z".into()))), "after the deadline");
    assert!(open(&with(|d| d.time = Some("2026-01-01T15:00:00Z".into()))), "in the future");
    let mut altered = request.clone();
    altered.uses = 1000;
    assert!(matches!(state(&altered, &[good], now), State::Open(_)), "a digest that is not the request's own");
}

#[test]
fn a_denial_wins_sticks_and_takes_back_what_was_used() {
    let request = ask(&[("security", 1)], 1);
    let yes = says(&request, "alice", &["security"], Approve, LATER);
    let no = says(&request, "carol", &[], Deny, LATER);
    let mut object = approval(request, vec![yes.clone(), no.clone()]);
    let (denied, _) = status(&object, at(LATER));
    assert_eq!(denied.phase, Some(ApprovalPhase::Denied));
    assert_eq!(denied.cool_down_until.as_deref(), Some("2026-01-01T13:30:00Z"));
    object.status = Some(denied.clone());
    object.spec.decisions = vec![yes.clone()];
    assert_eq!(status(&object, at(LATER)).0, denied, "it stays denied whatever is written afterwards");
    object.status = None;
    let (approved, until) = status(&object, at(LATER));
    assert_eq!((approved.phase, until), (Some(ApprovalPhase::Approved), Some(at("2026-01-01T14:00:00Z"))));
    object.status = Some(consume(&approved, "s1"));
    object.spec.decisions.push(no);
    assert!(!usable(&object, "new", at(LATER)));
    let (withdrawn, _) = status(&object, at("2026-01-01T13:20:00Z"));
    assert_eq!(withdrawn.phase, Some(ApprovalPhase::Withdrawn));
    assert_eq!(withdrawn.consumers, ["s1"]);
    let times = [withdrawn.decided_at, withdrawn.cool_down_until].map(Option::unwrap);
    assert_eq!(times, ["2026-01-01T13:20:00Z", "2026-01-01T13:50:00Z"], "of the no, not of the yes before it");
    assert_eq!(withdrawn.valid_until, None, "nothing may be opened by it any more");
}

#[test]
fn an_approval_opens_so_many_sessions_each_once_and_until_its_time_is_over() {
    let request = ask(&[("security", 1)], 1);
    let yes = says(&request, "alice", &["security"], Approve, LATER);
    let mut object = approval(request, vec![yes]);
    assert!(!usable(&object, "new", at(LATER)), "the controller has not said so");
    object.status = Some(status(&object, at(LATER)).0);
    for (uid, used) in [("s1", 1), ("s1", 1), ("s2", 2)] {
        assert!(usable(&object, uid, at(LATER)), "{uid}");
        let consumed = consume(object.status.as_ref().unwrap(), uid);
        assert_eq!(consumed.used, used);
        object.status = Some(consumed);
    }
    assert!(!usable(&object, "new", at(LATER)), "used up");
    assert!(usable(&object, "s2", at(LATER)), "an opening that was cut short is taken up again");
    object.status.as_mut().unwrap().used = 1;
    assert!(!usable(&object, "new", at("2026-01-01T14:00:00Z")), "too late");
    assert_eq!(status(&object, at("2026-01-01T14:00:00Z")).0.phase, Some(ApprovalPhase::Expired));
}

#[test]
fn nobody_in_time_means_expired_and_late_words_revive_nothing() {
    let request = ask(&[("security", 1)], 1);
    let mut object = approval(request.clone(), vec![]);
    let (pending, until) = status(&object, at(LATER));
    assert_eq!((pending.phase, until), (Some(ApprovalPhase::Pending), Some(at("2026-01-01T16:00:00Z"))));
    assert_eq!(pending.missing, ["1 of security"]);
    object.status = Some(status(&object, at("2026-01-01T16:00:01Z")).0);
    assert_eq!(object.status.as_ref().unwrap().phase, Some(ApprovalPhase::Expired));
    let told = |object: &Approval, now| {
        let status = status(object, at(now)).0;
        crate::condition::get(&status.conditions, "Decided").unwrap().message.clone()
    };
    assert_eq!(told(&object, "2026-01-01T16:00:01Z"), "by 2026-01-01T16:00:00Z there was missing: 1 of security");
    object.spec.decisions = vec![says(&request, "alice", &["security"], Approve, LATER)];
    assert_eq!(status(&object, at("2026-01-01T16:00:02Z")).0.phase, Some(ApprovalPhase::Expired));
    object.spec.decisions = vec![says(&request, "bob", &[], Deny, LATER)];
    assert_eq!(status(&object, at("2026-01-01T16:00:02Z")).0.phase, Some(ApprovalPhase::Expired));
    object.spec.decisions = vec![says(&request, "alice", &["security"], Approve, LATER)];
    object.status = None;
    assert_eq!(
        status(&object, at("2026-01-01T16:01:00Z")).0.phase,
        Some(ApprovalPhase::Approved),
        "decided in time, seen just after"
    );
    assert_eq!(
        status(&object, at("2026-01-01T16:03:00Z")).0.phase,
        Some(ApprovalPhase::Expired),
        "a time that was written back helps nobody"
    );
    assert_eq!(
        told(&object, "2026-01-01T16:03:00Z"),
        "what people said by 2026-01-01T16:00:00Z was seen more than 2 min later: whoever waits asks anew",
        "nobody is told that nobody had decided"
    );
}

#[test]
fn people_read_what_is_new_alone() {
    let old = ask(&[("security", 1)], 1);
    let mut new = old.clone();
    assert!(changes(&old, &new).is_empty());
    new.allow[0].actions = vec!["s3:DeleteObject".into(), "s3:PutObject".into()];
    new.duration = "8h".into();
    new.deny = vec!["s3:PutBucketPolicy".into()];
    assert_eq!(
        changes(&old, &new),
        ["+ allow s3:PutObject on arn:aws:s3:::a/*", "+ deny s3:PutBucketPolicy", "duration: 1h → 8h"]
    );
    new.allow[0].resources = (0..40).map(|i| format!("arn:aws:s3:::b{i}/*")).collect();
    let many = changes(&old, &new);
    assert_eq!((many.len(), many[15].as_str()), (16, "… and 68 more"));
}
