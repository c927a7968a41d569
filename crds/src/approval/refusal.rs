//! How far a no reaches: not only to the very question that it answered, or a second less of it would be another one.

use super::ask::POD;
use super::{State, state};
use crate::reason::{Reason, Refused};
use crate::rules::Grant;
use crate::v1alpha1::{Approval, ApprovalPhase, ApprovalRequest};
use jiff::Timestamp;
use kube::ResourceExt;

/// Whether a no to one request answers another one, which asks for this grant, as well: for the same workload under the same authority,
/// something of what was refused, for however long. A policy that changed is another authority: what it gives was never refused.
pub fn reaches(refused: &ApprovalRequest, asked: &ApprovalRequest, grant: &Grant) -> bool {
    refused.policy_ref.uid == asked.policy_ref.uid
        && refused.authority_hash == asked.authority_hash
        && refused.service_account == asked.service_account
        && same_subject(refused, asked)
        && grant.shares(&refused.allow)
}

/// The same workload, also where it was deleted and made again; of bare pods also another one that the same person made.
fn same_subject(refused: &ApprovalRequest, asked: &ApprovalRequest) -> bool {
    let (Some(a), Some(b)) = (&refused.workload, &asked.workload) else { return false };
    let by_hand = a.kind == POD && b.kind == POD && asked.requester.is_some() && refused.requester == asked.requester;
    a.uid == b.uid || (a.kind == b.kind && a.name == b.name) || by_hand
}

/// What somebody said no to, as long as that stands: nobody is asked again before.
pub fn refusal(approval: &Approval, now: Timestamp) -> Option<Refused> {
    let State::Denied { by, comment } = state(&approval.spec.request, &approval.spec.decisions, now) else {
        return None;
    };
    let until = match approval.status.as_ref().and_then(|s| s.cool_down_until.as_ref()) {
        None => "its cool-down is over".to_owned(),
        Some(until) if until.parse::<Timestamp>().is_ok_and(|t| now < t) => until.clone(),
        Some(_) => return None,
    };
    let why = if comment.is_empty() { String::new() } else { format!(": {comment}") };
    let name = approval.name_any();
    let message = format!(
        "{by} denied approval {name}{why}; nobody is asked again before {until}: delete the pod then to ask anew"
    );
    Some(Refused::new(Reason::ApprovalDenied, message))
}

/// When somebody said no to a question that had let nobody in.
pub fn refused_at(approval: &Approval) -> Option<Timestamp> {
    let status = approval.status.as_ref().filter(|s| s.phase == Some(ApprovalPhase::Denied))?;
    status.decided_at.as_ref()?.parse().ok()
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod tests;
