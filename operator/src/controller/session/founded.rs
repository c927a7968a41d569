//! Whether an active session is one that the controller itself would have opened. Pure.
//!
//! Phase and all that stands beside it are fields that somebody may write while the admission policies are away. So an active session is
//! held, at every look, to what its policy gives and its pod is.

use super::decide::{Facts, end_of};
use exeat_crds::Approval;
use exeat_crds::approval::{self, Asked};
use exeat_crds::authority::Authority;
use exeat_crds::condition;
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::rules::Grant;
use exeat_crds::v1alpha1::{CredentialSessionStatus, GrantStatus};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use std::sync::Arc;

/// The clock of the leader before may have been ahead of ours by this much.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Holds an active session to what the controller decides.
///
/// # Errors
/// The first thing that somebody else must have written, or the pod's own fault.
pub(super) fn check(
    facts: &Facts<'_>,
    status: &CredentialSessionStatus,
    authority: &Authority,
    now: Timestamp,
) -> Result<(), Refused> {
    if let Some(Err(refused)) = &facts.pod {
        return Err(refused.clone());
    }
    if !condition::is_true(&status.conditions, "Decided") {
        return Err(Refused::new(
            Reason::SessionNotActive,
            "the session's phase was Active, but the controller had not decided it",
        ));
    }
    let forged = |what: &str| {
        Err(Refused::new(Reason::GrantChanged, format!("the session's recorded {what} is not what its policy gives")))
    };
    let request = &facts.session.spec.request;
    let grant = authority.grant(&request.agent.service_account, request.allow.as_deref())?;
    if status.grant != Some(GrantStatus::from(&grant)) {
        return forged("grant");
    }
    let started: Option<Timestamp> = status.started_at.as_ref().and_then(|t| t.parse().ok());
    let Some(started) = started.filter(|t| t.duration_since(now) <= MAX_SKEW) else {
        return forged("start");
    };
    if status.expires_at != Some(end_of(authority, request.duration.as_deref(), started)?.to_string()) {
        return forged("end");
    }
    approved(facts, status, authority, &grant, now)
}

/// What people had to let in must still be let in: a person's no takes back what was approved.
fn approved(
    facts: &Facts<'_>,
    status: &CredentialSessionStatus,
    authority: &Authority,
    grant: &Grant,
    now: Timestamp,
) -> Result<(), Refused> {
    let Some(needed) = authority.approval.needed(grant) else { return Ok(()) };
    let named = |a: &&Arc<Approval>| status.approval_ref.as_ref().is_some_and(|r| r.name == a.name_any());
    let approval = facts.approvals.iter().find(named).map(Arc::as_ref);
    approval::rests(approval, &Asked { session: facts.session, authority, grant, needed: &needed }, now)
}
