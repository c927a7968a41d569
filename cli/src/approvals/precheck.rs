//! Why the API server would refuse a decision, known before it is written. Pure: the verdict is that of [`approval::may_decide`], by which the
//! webhook judges; here are the words for whoever sits at the terminal, and what is asked beside it.

use exeat_crds::Approval;
use exeat_crds::approval;
use exeat_crds::approval::Writer;
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::v1alpha1::Verdict;
use jiff::Timestamp;
use kube::ResourceExt;

/// Who decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Me {
    /// User name.
    pub username: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Whether the authorizer grants the verb `approve` on the policy; `None`: it did not say.
    pub may: Option<bool>,
}

/// Judges a decision.
///
/// # Errors
/// What the API server would refuse it for, and what would help.
pub fn check(object: &Approval, me: &Me, verdict: Verdict, now: Timestamp) -> Result<(), String> {
    let request = &object.spec.request;
    let policy = &request.policy_ref.name;
    if me.may == Some(false) && approval::is_person(&me.username) {
        return Err(format!(
            "you ({}) lack the verb approve on agentcredentialpolicies.exeat.dev {policy:?} in namespace {}: ask for ClusterRole exeat-approver there",
            me.username,
            object.namespace().unwrap_or_default()
        ));
    }
    if verdict == Verdict::Approve && request.digest != approval::digest(request) {
        return Err("the request's digest is not its own: nobody should say yes to it; tell who runs Exeat".to_owned());
    }
    let mine = object.spec.decisions.iter().find(|d| d.approver == me.username).map(|d| d.decision);
    match (mine, verdict) {
        (None, _) | (Some(Verdict::Approve), Verdict::Deny) => {}
        (Some(Verdict::Deny), Verdict::Approve) => {
            return Err("you have denied it, and a denial can't be taken back".to_owned());
        }
        _ => return Err("you have said so already".to_owned()),
    }
    let writer = Writer { username: &me.username, uid: None, groups: &me.groups };
    approval::may_decide(object, verdict, writer, now).map(drop).map_err(|refused| words(object, me, &refused))
}

/// The refusal in words for the one who is refused; its own where there are none better.
fn words(object: &Approval, me: &Me, refused: &Refused) -> String {
    let request = &object.spec.request;
    if !approval::is_person(&me.username) {
        return format!("you are {:?}, and people alone decide: use credentials of your own", me.username);
    }
    if approval::moot_at(object).is_some() {
        return "nobody needs it any more: whoever needs it again, a new pod for one, asks anew".to_owned();
    }
    let phase = super::phase(object);
    if refused.reason == Reason::ApprovalExpired {
        let what = if phase.is_final() { "it is Expired already" } else { "its time is over" };
        return format!("{what}: a new pod asks again");
    }
    if phase.is_final() {
        return format!("it is {} already, and stays so", phase.as_str());
    }
    if refused.reason != Reason::ApproverNotEligible {
        return refused.message.clone();
    }
    if request.excluded.contains(&me.username) {
        return "you asked for it, own the policy, or changed it last: somebody else approves (you may deny)"
            .to_owned();
    }
    if !request.required.iter().any(|r| me.groups.contains(&r.group)) {
        let groups: Vec<&str> = request.required.iter().map(|r| r.group.as_str()).collect();
        return format!(
            "you are in none of the groups that are asked: {} (your groups: {})",
            groups.join(", "),
            me.groups.join(", ")
        );
    }
    refused.message.clone()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use exeat_crds::v1alpha1::{ApprovalDecision, ApprovalPhase, ApprovalStatus};
    use serde_json::json;

    pub(crate) fn approval() -> Approval {
        let mut object: Approval = serde_json::from_value(json!({
            "apiVersion": "exeat.dev/v1alpha1", "kind": "Approval",
            "metadata": {"name": "reports-1", "namespace": "agents", "creationTimestamp": "2026-01-01T12:00:00Z"},
            "spec": {"request": {
                "policyRef": {"name": "writer", "uid": "pol"}, "providerRef": {"name": "aws"}, "authorityHash": "h", "serviceAccount": "agent",
                "workload": {"kind": "Deployment", "name": "reports", "uid": "w"}, "rules": ["provider/deletes"], "principal": "arn:aws:iam::123456789012:role/r",
                "allow": [{"actions": ["s3:DeleteObject"], "resources": ["arn:aws:s3:::a/*"]}], "duration": "1h", "deadline": "2026-01-01T16:00:00Z",
                "validFor": "1h", "uses": 2, "coolDown": "30m", "required": [{"group": "security", "count": 1}], "minimum": 1, "excluded": ["carol"], "digest": ""
            }},
            "status": {"phase": "Pending", "missing": ["1 of security"]}
        }))
        .unwrap();
        object.spec.request.digest = exeat_crds::approval::digest(&object.spec.request);
        object
    }

    fn me(name: &str, groups: &[&str]) -> Me {
        Me { username: name.into(), groups: groups.iter().map(|g| (*g).to_owned()).collect(), may: Some(true) }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn said(who: &str, decision: Verdict) -> ApprovalDecision {
        ApprovalDecision {
            approver: who.into(),
            uid: None,
            groups: Vec::new(),
            decision,
            digest: String::new(),
            comment: None,
            time: None,
        }
    }

    #[test]
    fn what_the_api_server_would_refuse_is_told_before() {
        let (now, late) = (at("2026-01-01T13:00:00Z"), at("2026-01-01T17:00:00Z"));
        let security: &[&str] = &["security"];
        let approves = |object: &Approval, me: &Me, now| check(object, me, Verdict::Approve, now);
        let plain = approval();
        assert_eq!(approves(&plain, &me("dave", security), now), Ok(()));
        let why = |object: &Approval, me: &Me, now, word: &str| {
            let told = approves(object, me, now).unwrap_err();
            assert!(told.contains(word), "{word}: {told}");
        };
        why(&plain, &me("system:serviceaccount:a:b", security), now, "people alone");
        why(&plain, &Me { may: Some(false), ..me("dave", security) }, now, "exeat-approver");
        why(&plain, &me("carol", security), now, "somebody else approves");
        why(&plain, &me("dave", &["dev"]), now, "none of the groups");
        why(&plain, &me("dave", security), late, "a new pod asks again");
        let mut forged = approval();
        forged.spec.request.uses = 100;
        why(&forged, &me("dave", security), now, "digest");
        let mut denied = approval();
        denied.status.as_mut().unwrap().phase = Some(ApprovalPhase::Denied);
        why(&denied, &me("dave", security), now, "Denied already");
        let moot = json!({"phase": "Expired", "conditions": [{"type": "Decided", "status": "True", "reason": "ApprovalUnneeded",
            "message": "", "lastTransitionTime": "2026-01-01T12:30:00Z"}]});
        let withdrawn = Approval { status: serde_json::from_value(moot).ok(), ..approval() };
        why(&withdrawn, &me("dave", security), now, "nobody needs it any more");
    }

    /// Each phase and word, before and after the deadline: what is let through here is what the webhook lets through.
    #[test]
    fn the_verdict_is_that_of_the_webhook() {
        use ApprovalPhase::{Approved, Denied, Expired, Pending, Withdrawn};
        let times = [at("2026-01-01T13:00:00Z"), at("2026-01-01T17:00:00Z")];
        let people = [
            me("dave", &["security"]),
            me("dave", &["dev"]),
            me("carol", &["security"]),
            me("system:serviceaccount:a:b", &["security"]),
        ];
        for phase in [Pending, Approved, Expired, Denied, Withdrawn] {
            for used in [0, 3] {
                let status = ApprovalStatus { phase: Some(phase), used, ..ApprovalStatus::default() };
                let object = Approval { status: Some(status), ..approval() };
                for (me, now) in people.iter().flat_map(|me| times.map(|now| (me, now))) {
                    for verdict in [Verdict::Approve, Verdict::Deny] {
                        let writer = Writer { username: &me.username, uid: None, groups: &me.groups };
                        let webhook = approval::may_decide(&object, verdict, writer, now);
                        let told = check(&object, me, verdict, now);
                        assert_eq!(
                            told.is_ok(),
                            webhook.is_ok(),
                            "{phase:?} {used} {me:?} {verdict:?} {now}: {told:?}"
                        );
                    }
                }
            }
        }
        let mut full = approval();
        full.spec.decisions = (0..approval::MAX_PEOPLE).map(|n| said(&format!("p{n}"), Verdict::Approve)).collect();
        assert!(check(&full, &people[0], Verdict::Approve, times[0]).is_err());
        assert_eq!(check(&full, &people[0], Verdict::Deny, times[0]), Ok(()), "the last place is kept for a no");
        let used = ApprovalStatus { phase: Some(Expired), used: 3, ..ApprovalStatus::default() };
        let mut opened = Approval { status: Some(used), ..approval() };
        assert_eq!(check(&opened, &people[0], Verdict::Deny, times[1]), Ok(()), "what it let in may be taken back");
        opened.spec.request.digest = "forged".into();
        assert_eq!(check(&opened, &people[0], Verdict::Deny, times[1]), Ok(()), "whatever it says");
    }

    #[test]
    fn a_denial_needs_the_verb_alone_and_may_follow_an_approval() {
        let now = at("2026-01-01T13:00:00Z");
        let mut object = approval();
        assert_eq!(check(&object, &me("carol", &[]), Verdict::Deny, now), Ok(()));
        object.spec.decisions = vec![said("dave", Verdict::Approve)];
        assert_eq!(check(&object, &me("dave", &[]), Verdict::Deny, now), Ok(()));
        assert!(check(&object, &me("dave", &["security"]), Verdict::Approve, now).unwrap_err().contains("already"));
        object.spec.decisions = vec![said("dave", Verdict::Deny)];
        assert!(check(&object, &me("dave", &["security"]), Verdict::Approve, now).unwrap_err().contains("taken back"));
    }
}
