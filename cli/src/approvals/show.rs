//! What exactly would be approved, for the one who is asked. Pure.

use super::list::whose;
use crate::output::time;
use crate::sessions::show::{Lines, statement};
use exeat_crds::Approval;
use jiff::Timestamp;
use kube::ResourceExt;

/// An approval in words: what is asked comes first, what is claimed last.
pub fn describe(approval: &Approval, now: Timestamp) -> String {
    let request = &approval.spec.request;
    let mut lines = Lines::default();
    lines.field(
        "Approval",
        format!("{} in namespace {}", approval.name_any(), approval.namespace().unwrap_or_default()),
    );
    lines.field("For", whose(request));
    lines.field("Account", &request.service_account);
    lines.field("Policy", format!("{} (rules: {})", request.policy_ref.name, request.rules.join(", ")));
    lines.field("Provider", &request.provider_ref.name);
    lines.field("Principal", &request.principal);
    lines.list("Would be allowed", request.allow.iter().map(statement));
    lines.list("Stays denied", request.deny.iter().cloned());
    if let Some(enforcement) = request.enforcement {
        lines.field("Enforced", format!("{enforcement:?}: nothing narrower than the principal within this"));
    }
    lines.field("Each session", &request.duration);
    lines.field("Opens", format!("{} sessions within {} of the approval", request.uses, request.valid_for));
    match &request.changes {
        None => lines.field("Changed", "nothing like it was approved before"),
        Some(changes) if changes.is_empty() => {
            lines.field("Changed", "nothing since the request that was approved last")
        }
        Some(changes) => lines.list("Changed since the request that was approved last", changes.iter().cloned()),
    }
    let required: Vec<String> = request.required.iter().map(|r| format!("{} of {}", r.count, r.group)).collect();
    lines.field("Required", format!("{}; {} people at least", required.join(" and "), request.minimum));
    lines.field("Missing", super::missing(approval, now).join(", "));
    let decisions = approval.spec.decisions.iter();
    lines.list(
        "Decided",
        decisions.map(|d| {
            let comment = d.comment.as_ref().map(|c| format!(": {c}")).unwrap_or_default();
            format!("{:?} by {}{comment}", d.decision, d.approver)
        }),
    );
    lines.field("Deadline", format!("{} ({})", request.deadline, time::until_text(Some(&request.deadline), now)));
    lines.field(
        "Asked by",
        request.requester.as_ref().map(|r| r.username.clone()).unwrap_or_else(|| "not known".to_owned()),
    );
    lines.field("Claimed reason", request.justification.as_deref().unwrap_or_default());
    lines.field("Digest", &request.digest);
    lines.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approvals::precheck::tests::approval;

    #[test]
    fn what_is_approved_stands_there_in_full() {
        let mut one = approval();
        one.spec.request.justification = Some("urgent\u{1b}[2J\u{202E}".into());
        let text = describe(&one, "2026-01-01T13:00:00Z".parse().unwrap());
        for part in [
            "s3:DeleteObject on arn:aws:s3:::a/*",
            "2 sessions within 1h",
            "1 of security; 1 people",
            "(3h)",
            "Claimed reason:  urgent[2J",
            &one.spec.request.digest,
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202E}'));
    }
}
