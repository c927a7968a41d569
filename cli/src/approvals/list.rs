//! The queue as a table.

use super::{missing, phase};
use crate::output::{Cell, Table, Tone, time};
use exeat_crds::Approval;
use exeat_crds::v1alpha1::{ApprovalPhase, ApprovalRequest};
use jiff::Timestamp;
use kube::ResourceExt;

/// How a phase is coloured.
pub fn tone(phase: ApprovalPhase) -> Tone {
    match phase {
        ApprovalPhase::Pending => Tone::Warn,
        ApprovalPhase::Approved => Tone::Good,
        ApprovalPhase::Denied | ApprovalPhase::Withdrawn => Tone::Bad,
        ApprovalPhase::Expired => Tone::Dim,
    }
}

/// Whom it is for: the session, or the workload with all its pods.
pub fn whose(request: &ApprovalRequest) -> String {
    match (&request.workload, &request.session_ref) {
        (Some(workload), Some(session)) => format!("{}/{}, session {}", workload.kind, workload.name, session.name),
        (Some(workload), None) => format!("{}/{}", workload.kind, workload.name),
        (None, Some(session)) => format!("session {}", session.name),
        (None, None) => String::new(),
    }
}

/// The table; `all` adds the namespace.
pub fn table(approvals: &[Approval], all: bool, now: Timestamp) -> Table {
    let columns = ["NAMESPACE", "NAME", "POLICY", "FOR", "PHASE", "MISSING", "CHANGED", "DEADLINE", "AGE"];
    let skip = usize::from(!all);
    let mut table = Table::new(&columns[skip..], &["RULES", "PRINCIPAL", "USES", "BY"]);
    for approval in approvals {
        let request = &approval.spec.request;
        let status = approval.status.clone().unwrap_or_default();
        let phase = phase(approval);
        let waits = phase == ApprovalPhase::Pending;
        let changed = match &request.changes {
            None => "first".to_owned(),
            Some(lines) if lines.is_empty() => "nothing".to_owned(),
            Some(lines) => format!("{} lines", lines.len()),
        };
        let by: Vec<String> =
            approval.spec.decisions.iter().map(|d| format!("{} ({:?})", d.approver, d.decision)).collect();
        let cells = vec![
            approval.namespace().unwrap_or_default().into(),
            approval.name_any().into(),
            request.policy_ref.name.as_str().into(),
            whose(request).into(),
            Cell::new(phase.as_str()).tone(tone(phase)),
            missing(approval, now).join(", ").into(),
            changed.into(),
            if waits { time::until_text(Some(&request.deadline), now) } else { String::new() }.into(),
            approval.creation_timestamp().map(|t| time::age(t.0, now)).unwrap_or_default().into(),
            request.rules.join(", ").into(),
            request.principal.as_str().into(),
            format!("{} of {}", status.used, request.uses).into(),
            by.join(", ").into(),
        ];
        table.row(cells.into_iter().skip(skip).collect());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approvals::precheck::tests::approval;
    use crate::output::Paint;

    #[test]
    fn the_queue_tells_who_is_missing_and_what_changed() {
        let now = "2026-01-01T13:00:00Z".parse().unwrap();
        let mut changed = approval();
        changed.spec.request.changes = Some(vec!["+ allow x on y".into()]);
        changed.spec.request.digest = exeat_crds::approval::digest(&changed.spec.request);
        let text = table(&[approval(), changed], false, now).render(false, Paint(false));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("Deployment/reports   Pending   1 of security   first     3h"), "{text}");
        assert!(lines[2].contains("1 lines"), "{text}");
    }
}
