use exeat_crds::Approval;
use exeat_crds::approval::{Decided, Writer, decide};
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::v1alpha1::ApprovalDecision;
use jiff::{SignedDuration, Timestamp};
use json_patch::jsonptr::PointerBuf;
use json_patch::{Patch, PatchOperation, ReplaceOperation};
use serde_json::json;

use crate::message::refused;

/// Between our stamp and the check of it lies one request.
const AGE: SignedDuration = SignedDuration::from_mins(1);

/// Puts the one decision that is new or changed as it must be stored. All others are left as they are, byte for byte.
///
/// # Errors
/// Why it may not be written.
pub fn approval(old: &Approval, new: &Approval, writer: Writer<'_>, now: Timestamp) -> Result<Patch, Refused> {
    let Decided::One { index, decision } = decide(old, new, writer, now)? else { return Ok(Patch::default()) };
    if new.spec.decisions.get(index) == Some(&decision) {
        return Ok(Patch::default());
    }
    let tokens = ["spec".to_owned(), "decisions".to_owned(), index.to_string()];
    let path = PointerBuf::from_tokens(tokens.iter().map(String::as_str));
    Ok(Patch(vec![PatchOperation::Replace(ReplaceOperation { path, value: json!(decision) })]))
}

/// What is wrong with a decision after the stamp: another webhook may have changed it.
pub fn unstamped(old: &Approval, new: &Approval, writer: Writer<'_>, now: Timestamp) -> Option<Refused> {
    let (index, stamp) = match decide(old, new, writer, now) {
        Ok(Decided::Nothing) => return None,
        Ok(Decided::One { index, decision }) => (index, *decision),
        Err(problem) => return Some(problem),
    };
    let written = new.spec.decisions.get(index)?;
    let time: Option<Timestamp> = written.time.as_deref().and_then(|time| time.parse().ok());
    let fresh = old.spec.decisions.contains(written) || time.is_some_and(|t| now.duration_since(t).abs() <= AGE);
    let same = ApprovalDecision { time: written.time.clone(), ..stamp } == *written;
    (!fresh || !same).then(|| {
        refused(
            Reason::ApproverNotEligible,
            format_args!("spec.decisions[{index}]"),
            "uid, groups or time are not as the webhook has just stamped them",
            "see which other mutating webhook changes approvals, and let it leave them alone",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const NOW: &str = "2026-01-01T13:00:00Z";

    fn approvals() -> (Value, Value) {
        let decided = |who: &str| json!({"approver": who, "decision": "Approve", "digest": "d"});
        let object = |decisions: Value| {
            json!({
                "apiVersion": "exeat.dev/v1alpha1", "kind": "Approval", "metadata": {"name": "a", "namespace": "agents"},
                "spec": {
                    "request": {
                        "policyRef": {"name": "p", "uid": "u"}, "providerRef": {"name": "aws-prod"}, "authorityHash": "h",
                        "serviceAccount": "agent", "rules": ["provider/deletes"], "principal": "p", "duration": "1h", "validFor": "1h",
                        "allow": [{"actions": ["s3:*"], "resources": ["*"]}], "coolDown": "1h", "uses": 1, "minimum": 1, "digest": "d",
                        "deadline": "2026-01-01T16:00:00Z", "required": [{"group": "security", "count": 1}],
                    },
                    "decisions": decisions,
                },
            })
        };
        (object(json!([decided("bob")])), object(json!([decided("bob"), decided("alice")])))
    }

    fn alice(groups: &[String]) -> Writer<'_> {
        Writer { username: "alice", uid: None, groups }
    }

    fn typed(value: &Value) -> Approval {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn the_patch_touches_the_writers_own_decision_alone_and_is_the_last_one() {
        let (old, new) = approvals();
        let (groups, now) = (["security".to_owned()], NOW.parse().unwrap());
        let patch = approval(&typed(&old), &typed(&new), alice(&groups), now).unwrap();
        let mut stored = new.clone();
        json_patch::patch(&mut stored, &patch).unwrap();
        let expected =
            json!({"approver": "alice", "decision": "Approve", "digest": "d", "groups": ["security"], "time": NOW});
        assert_eq!(stored["spec"]["decisions"], json!([old["spec"]["decisions"][0], expected]));
        stored["spec"]["decisions"][1] = new["spec"]["decisions"][1].clone();
        assert_eq!(stored, new, "nothing else is touched");
        stored["spec"]["decisions"][1] = expected;
        assert!(approval(&typed(&old), &typed(&stored), alice(&groups), now).unwrap().0.is_empty());
    }

    #[test]
    fn what_is_changed_after_the_stamp_is_seen() {
        let (old, new) = approvals();
        let (groups, now) = (["security".to_owned()], NOW.parse().unwrap());
        let mut stored = new.clone();
        json_patch::patch(&mut stored, &approval(&typed(&old), &typed(&new), alice(&groups), now).unwrap()).unwrap();
        let seen = |change: Value| {
            let mut after = stored.clone();
            json_patch::merge(&mut after["spec"]["decisions"][1], &change);
            unstamped(&typed(&old), &typed(&after), alice(&groups), now + SignedDuration::from_secs(2))
        };
        assert_eq!(seen(json!({})), None);
        for change in [
            json!({"time": null}),
            json!({"time": "2026-01-01T12:00:00Z"}),
            json!({"uid": "root"}),
            json!({"groups": ["security", "data"]}),
        ] {
            let problem = seen(change.clone()).unwrap_or_else(|| panic!("{change} passes"));
            assert!(problem.message.contains("spec.decisions[1]"), "{problem}");
        }
        assert_eq!(seen(json!({"digest": "e"})).unwrap().reason, Reason::GrantChanged);
        assert_eq!(unstamped(&typed(&new), &typed(&new), alice(&groups), now), None);
    }
}
