use super::digest;
use crate::v1alpha1::{
    ApprovalDecision, ApprovalRequest, ApprovalSpec, NameRef, ObjectRef, RequiredApprovals, Verdict, Workload,
};
use crate::{Approval, rules::Statement};
use jiff::Timestamp;

pub(super) const ASKED: &str = "2026-01-01T12:00:00Z";

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn required(groups: &[(&str, i32)]) -> Vec<RequiredApprovals> {
    groups.iter().map(|(group, count)| RequiredApprovals { group: (*group).into(), count: *count }).collect()
}

/// Until 16:00, then an hour of use; carol may not approve.
pub(super) fn ask(groups: &[(&str, i32)], minimum: i32) -> ApprovalRequest {
    let mut request = ApprovalRequest {
        policy_ref: ObjectRef { name: "writer".into(), uid: "pol".into() },
        provider_ref: NameRef { name: "aws".into() },
        authority_hash: "hash".into(),
        service_account: "agent".into(),
        workload: Some(Workload { kind: "Deployment".into(), name: "reports".into(), uid: "w".into() }),
        rules: vec!["provider/deletes".into()],
        principal: "arn:aws:iam::123456789012:role/r".into(),
        allow: vec![Statement { actions: vec!["s3:DeleteObject".into()], resources: vec!["arn:aws:s3:::a/*".into()] }],
        duration: "1h".into(),
        deadline: "2026-01-01T16:00:00Z".into(),
        valid_for: "1h".into(),
        cool_down: "30m".into(),
        uses: 2,
        required: required(groups),
        minimum,
        excluded: vec!["carol".into()],
        ..ApprovalRequest::default()
    };
    request.digest = digest(&request);
    request
}

pub(super) fn says(
    request: &ApprovalRequest,
    who: &str,
    groups: &[&str],
    decision: Verdict,
    time: &str,
) -> ApprovalDecision {
    ApprovalDecision {
        approver: who.into(),
        uid: None,
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
        decision,
        digest: request.digest.clone(),
        comment: None,
        time: Some(time.into()),
    }
}

pub(super) fn approval(request: ApprovalRequest, decisions: Vec<ApprovalDecision>) -> Approval {
    Approval::new("a", ApprovalSpec { request, decisions })
}
