//! The table of sessions.

use super::{phase, tone};
use crate::output::{Cell, Table, time};
use exeat_crds::CredentialSession;
use jiff::Timestamp;
use kube::ResourceExt;

/// The table; `all` adds the namespace.
pub fn table(sessions: &[CredentialSession], all: bool, now: Timestamp) -> Table {
    let columns = ["NAMESPACE", "NAME", "POLICY", "POD", "PROVIDER", "PHASE", "REASON", "LEFT", "AGE"];
    let skip = usize::from(!all);
    let mut table = Table::new(&columns[skip..], &["WORKLOAD", "PRINCIPAL", "APPROVAL", "ENFORCEMENT", "MESSAGE"]);
    for session in sessions {
        table.row(row(session, now).into_iter().skip(skip).collect());
    }
    table
}

fn row(session: &CredentialSession, now: Timestamp) -> Vec<Cell> {
    let request = &session.spec.request;
    let status = session.status.clone().unwrap_or_default();
    let phase = phase(session);
    let left = if phase.is_terminal() { String::new() } else { time::until_text(status.expires_at.as_deref(), now) };
    let age = session.creation_timestamp().map(|t| time::age(t.0, now)).unwrap_or_default();
    let workload = request.agent.workload.as_ref().map(|w| format!("{}/{}", w.kind, w.name));
    vec![
        session.namespace().unwrap_or_default().into(),
        session.name_any().into(),
        request.policy_ref.name.as_str().into(),
        request.agent.pod.name.as_str().into(),
        request.provider_ref.name.as_str().into(),
        Cell::new(phase.as_str()).tone(tone(phase)),
        status.reason.unwrap_or_default().into(),
        left.into(),
        age.into(),
        workload.unwrap_or_default().into(),
        status.grant.map(|g| g.principal).unwrap_or_default().into(),
        status.approval_ref.map(|a| a.name).unwrap_or_default().into(),
        status.enforcement.map(|e| format!("{e:?}")).unwrap_or_default().into(),
        status.message.unwrap_or_default().into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Paint;
    use crate::sessions::filter::tests::session;

    #[test]
    fn a_session_is_a_row() {
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let sessions = [session("a", "Active"), session("b", "Revoked")];
        let text = table(&sessions, false, now).render(false, Paint(false));
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["NAME", "POLICY", "POD", "PROVIDER", "PHASE", "REASON", "LEFT", "AGE"]);
        assert_eq!(lines[1], ["a", "reader", "a-pod", "aws-prod", "Active", "Active", "7h", "60m"]);
        assert_eq!(lines[2][6], "-", "what has ended has nothing left");
        let wide = table(&sessions, true, now).render(true, Paint(false));
        assert!(
            wide.starts_with("NAMESPACE") && wide.contains("ReplicaSet/fleet-7d") && wide.contains("until then"),
            "{wide}"
        );
    }
}
