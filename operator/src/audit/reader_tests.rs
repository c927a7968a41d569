//! What `kubectl exeat audit` makes of the very records that the programs write.

use super::chain::Chain;
use super::tests::{key, origin, session};
use super::*;
use exeat_cli::audit::export::{COLUMNS, csv};
use exeat_cli::audit::record::{Happened, of_session, parse};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

/// An event with every field, named one by one: a new field does not compile here until it is.
fn full() -> AuditEvent {
    let some = |text: &str| Some(text.to_owned());
    AuditEvent {
        event: EventName::ApprovalDecided,
        reason: "Approve".to_owned(),
        message: "ann approves".to_owned(),
        namespace: "agents".to_owned(),
        session: "s-1".to_owned(),
        session_uid: "u1".to_owned(),
        policy: "p".to_owned(),
        provider: "aws".to_owned(),
        service_account: "sa".to_owned(),
        pod: "pod".to_owned(),
        pod_uid: "podu".to_owned(),
        approval: some("pod-1f0c"),
        approval_digest: some("d1"),
        approver: some("ann"),
        grant_digest: some("g1"),
        principal: some("role"),
        session_expires_at: some("2026-01-01T08:00:00Z"),
        credential_id: some("ASIA1"),
        credential_expires_at: some("2026-01-01T01:00:00Z"),
        claimed_justification: some("nightly"),
    }
}

fn lines(events: &[AuditEvent]) -> Vec<String> {
    let mut chain = Chain::new(key('1'), origin("pod-a", "b0"), "east");
    let line = |event: &AuditEvent| {
        let sealed = chain.seal(event, 1, Timestamp::UNIX_EPOCH).unwrap();
        chain.advance(&sealed);
        String::from_utf8(sealed.line.to_vec()).unwrap()
    };
    events.iter().map(line).collect()
}

#[test]
fn no_field_of_a_record_is_missing_from_the_csv() {
    let line = lines(&[full()]).remove(0);
    let Value::Object(fields) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
    assert_eq!(fields.len(), COLUMNS.len() + 4);
    for (field, value) in &fields {
        // These prove the record where it stands, and say nothing beside it.
        let of_the_chain = ["audit", "key", "previous", "mac"].contains(&field.as_str());
        assert_eq!(COLUMNS.contains(&field.as_str()), !of_the_chain, "{field}");
        assert_ne!(value, "", "{field}");
    }
    let text = csv(&[parse(&line).unwrap()]);
    let row: Vec<&str> = text.lines().nth(1).unwrap().split(',').collect();
    let of = |column: &str| row[COLUMNS.iter().position(|name| *name == column).unwrap()];
    assert_eq!((of("approval"), of("approvalDigest"), of("approver")), ("pod-1f0c", "d1", "ann"));
    assert!(row.len() == COLUMNS.len() && row.iter().all(|cell| !cell.is_empty()), "{text}");
}

/// A workload's approval: its own records name no session.
fn approval(name: &str) -> Approval {
    let request = v1alpha1::ApprovalRequest { digest: "d1".into(), ..Default::default() };
    let mut approval = Approval::new(name, v1alpha1::ApprovalSpec { request, decisions: vec![] });
    approval.metadata.namespace = Some("agents".into());
    approval
}

fn decided(approval: &Approval, who: &str) -> AuditEvent {
    let event = AuditEvent::of_approval(approval, EventName::ApprovalDecided, "Approve", &format!("{who} approves"));
    AuditEvent { approver: Some(who.to_owned()), ..event }
}

#[test]
fn a_session_is_told_with_who_approved_it_and_every_credential() {
    let named = |name: &str| {
        let mut session = session();
        session.metadata.name = Some(name.into());
        let approval_ref = Some(v1alpha1::NameRef { name: "fleet-1".into() });
        session.status = Some(CredentialSessionStatus { approval_ref, ..Default::default() });
        session
    };
    let of = |name: &str, event| AuditEvent::of(&named(name), event, "Active", "m");
    let issued = |name: &str, event, id: &str| AuditEvent { credential_id: Some(id.to_owned()), ..of(name, event) };
    let (ours, others) = (approval("fleet-1"), approval("other-1"));
    let records: Vec<_> = lines(&[
        of("s-1", EventName::SessionPending),
        AuditEvent::of_approval(&ours, EventName::ApprovalRequested, "ApprovalPending", "rules"),
        decided(&ours, "ann"),
        decided(&ours, "ben"),
        decided(&others, "eve"),
        issued("s-1", EventName::CredentialsIssued, "ASIA1"),
        issued("s-1", EventName::CredentialsRenewed, "ASIA2"),
        issued("s-2", EventName::CredentialsIssued, "ASIA3"),
    ])
    .iter()
    .map(|line| Happened::of_record(&parse(line).unwrap()).unwrap())
    .collect();
    let told = |records: &[Happened], known| -> Vec<(String, String, String)> {
        let shown = of_session(records.to_vec(), "s-1", known).into_iter();
        shown.map(|one| (one.event, one.approver, one.credential_id)).collect()
    };
    let expected = [
        ("SessionPending", "", ""),
        ("ApprovalRequested", "", ""),
        ("ApprovalDecided", "ann", ""),
        ("ApprovalDecided", "ben", ""),
        ("CredentialsIssued", "", "ASIA1"),
        ("CredentialsRenewed", "", "ASIA2"),
    ]
    .map(|(event, approver, id)| (event.to_owned(), approver.to_owned(), id.to_owned()));
    assert_eq!(told(&records, BTreeSet::new()), expected);
    // The session's own records are gone with their log: its status tells.
    let known = BTreeSet::from([("agents".to_owned(), "fleet-1".to_owned())]);
    assert_eq!(told(&records[1..5], known), expected[1..4]);
    assert_eq!(told(&records[1..5], BTreeSet::from([("elsewhere".to_owned(), "fleet-1".to_owned())])), []);
    let json = serde_json::to_value(&records[5]).unwrap();
    assert_eq!((&json["credentialID"], &json["approval"]), (&"ASIA1".into(), &"fleet-1".into()));
}
