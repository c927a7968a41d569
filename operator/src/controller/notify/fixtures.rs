use super::due::{NOTIFIED, Notice};
use super::item::Item;
use exeat_crds::v1alpha1::{
    ApprovalPhase, ApprovalRequest, ApprovalSpec, ApprovalStatus, NameRef, ObjectRef, Requester, RequiredApprovals,
    Workload,
};
use exeat_crds::{Approval, condition};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// When people were asked; they have until 16:00.
pub(super) const ASKED: &str = "2026-01-01T12:00:00Z";

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn approval(name: &str) -> Approval {
    let request = ApprovalRequest {
        policy_ref: ObjectRef { name: "writer".into(), uid: "pol".into() },
        provider_ref: NameRef { name: "aws".into() },
        service_account: "agent".into(),
        workload: Some(Workload { kind: "Deployment".into(), name: "reports".into(), uid: "w".into() }),
        requester: Some(Requester { username: "alice@example.com".into() }),
        justification: Some("clean up <old> reports".into()),
        rules: vec!["provider/deletes".into()],
        principal: "arn:aws:iam::123456789012:role/r".into(),
        changes: Some(vec!["+ s3:DeleteObject".into()]),
        deadline: "2026-01-01T16:00:00Z".into(),
        required: vec![RequiredApprovals { group: "security".into(), count: 1 }],
        minimum: 1,
        digest: "d1".into(),
        ..ApprovalRequest::default()
    };
    let mut approval = Approval::new(name, ApprovalSpec { request, decisions: vec![] });
    approval.metadata.namespace = Some("agents".into());
    approval.metadata.uid = Some(format!("uid-{name}"));
    approval.metadata.creation_timestamp = Some(Time(at(ASKED)));
    let status = ApprovalStatus { missing: vec!["security: 1 more".into()], ..Default::default() };
    approval.status = Some(status);
    settle(approval, ApprovalPhase::Pending, "missing: security: 1 more", ASKED)
}

/// As the controller writes it at `time`.
pub(super) fn settle(mut approval: Approval, phase: ApprovalPhase, message: &str, time: &str) -> Approval {
    let status = approval.status.get_or_insert_default();
    status.phase = Some(phase);
    let settled = phase != ApprovalPhase::Pending;
    condition::set(&mut status.conditions, "Decided", settled, "Reason", message, None, at(time));
    approval
}

/// With this on record.
pub(super) fn told(mut approval: Approval, reason: &str) -> Approval {
    let conditions = &mut approval.status.get_or_insert_default().conditions;
    condition::set(conditions, NOTIFIED, true, reason, "", None, at(ASKED));
    approval
}

pub(super) fn items(count: usize) -> Vec<Item> {
    (0..count).map(|n| Item::new(&approval(&format!("a{n:03}")), Notice::Pending)).collect()
}
