//! Whether people let a session open. Pure.

use exeat_crds::approval::{self, Asked};
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::v1alpha1::{ApprovalPhase, ApprovalRequest, ApprovalSpec, ApprovalStatus, Phase, Verdict};
use exeat_crds::{Approval, CredentialSession, condition};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use std::sync::Arc;

/// How soon a session of a namespace in which too much waits for people is looked at again.
const CROWDED: SignedDuration = SignedDuration::from_secs(10);

/// What people come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Gate {
    /// They are to be asked this.
    Ask(Box<Approval>),
    /// They are asked.
    Wait {
        /// The approval; `None` while there is no room for another one.
        name: Option<String>,
        /// For the agent.
        message: String,
        /// When to look again, where nothing tells.
        look_again: Option<Timestamp>,
    },
    /// They let it: this approval opens the session.
    Use {
        /// The approval.
        name: String,
    },
    /// They do not.
    Closed {
        /// The approval.
        name: String,
        /// Why.
        why: Refused,
    },
}

/// The approvals of a session's policy.
#[derive(Clone, Copy, Debug)]
pub struct Queue<'a> {
    /// All of them.
    pub approvals: &'a [Arc<Approval>],
    /// Whether people may be asked one more thing in this namespace.
    pub room: bool,
}

/// Judges. A denial stands for its cool-down, and nobody is asked for any of what it refused; what was not decided in time ends who waited for it;
/// what was used up or became too old is asked for anew.
pub fn judge(asked: &Asked<'_>, queue: Queue<'_>, now: Timestamp) -> Gate {
    let fresh = approval::request(asked, None, now);
    let key = approval::key(&fresh);
    // A key takes a while to compute: of a long queue only for those that may be it.
    let may_be = |a: &&Arc<Approval>| answers(&a.spec.request, asked.session);
    let mut same: Vec<&Arc<Approval>> =
        queue.approvals.iter().filter(may_be).filter(|a| approval::key(&a.spec.request) == key).collect();
    same.sort_by_key(|a| number(a));
    let uid = asked.session.uid().unwrap_or_default();
    let closed = |approval: &Approval, why| Gate::Closed { name: approval.name_any(), why };
    if let Some((denied, why)) = same.iter().find_map(|a| Some((a, approval::refusal(a, now)?))) {
        return closed(denied, why);
    }
    if let Some(open) = same.iter().find(|a| approval::usable(a, &uid, now)) {
        return Gate::Use { name: open.name_any() };
    }
    match same.last() {
        Some(last) if status(last).phase.is_none_or(|p| p == ApprovalPhase::Pending) => waiting(last),
        Some(last) if names(asked, last) && lapsed(last, now) => closed(last, late(last)),
        last => match refused_alike(asked, queue, &fresh, now) {
            Some((denied, why)) => closed(&denied, why),
            None => ask(asked, queue, last.map_or(0, |l| number(l)) + 1, now),
        },
    }
}

/// A no to another question that answers this one too.
fn refused_alike(
    asked: &Asked<'_>,
    queue: Queue<'_>,
    fresh: &ApprovalRequest,
    now: Timestamp,
) -> Option<(Arc<Approval>, Refused)> {
    let no = |a: &Arc<Approval>| {
        let why = approval::refusal(a, now)?;
        approval::reaches(&a.spec.request, fresh, asked.grant).then(|| (Arc::clone(a), why))
    };
    queue.approvals.iter().find_map(no)
}

fn late(approval: &Approval) -> Refused {
    let told = approval.status.as_ref().and_then(|s| condition::get(&s.conditions, "Decided"));
    let why = told.map_or("it was not decided in time", |c| c.message.as_str());
    let message = format!("approval {}: {why}; delete the pod to have people asked again", approval.name_any());
    Refused::new(Reason::ApprovalExpired, message)
}

/// Whether a session is not decided yet.
pub fn waits(session: &CredentialSession) -> bool {
    let phase = session.status.as_ref().and_then(|s| s.phase);
    phase.is_none_or(|p| matches!(p, Phase::Pending | Phase::AwaitingApproval))
}

/// Whether an approval may be the one that a session needs: it is for this very session, or for its workload.
pub fn answers(request: &ApprovalRequest, session: &CredentialSession) -> bool {
    match (&request.session_ref, &request.workload) {
        (Some(one), _) => one.name == session.name_any(),
        (None, Some(workload)) => {
            session.spec.request.agent.workload.as_ref().is_some_and(|own| own.uid == workload.uid)
        }
        (None, None) => false,
    }
}

/// Whether a session waits for an approval, or may come to wait for it.
pub fn waits_for(session: &CredentialSession, approval: &Approval) -> bool {
    let named = session.status.as_ref().and_then(|s| s.approval_ref.as_ref());
    waits(session)
        && session.spec.request.policy_ref == approval.spec.request.policy_ref
        && answers(&approval.spec.request, session)
        && named.is_none_or(|named| named.name == approval.name_any())
}

fn status(approval: &Approval) -> ApprovalStatus {
    approval.status.clone().unwrap_or_default()
}

/// The number at the end of its name.
fn number(approval: &Approval) -> usize {
    approval.name_any().rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn names(asked: &Asked<'_>, approval: &Approval) -> bool {
    let name = asked.session.status.as_ref().and_then(|s| s.approval_ref.as_ref()).map(|r| r.name.clone());
    name == Some(approval.name_any())
}

/// Whether its deadline has passed without the people who are needed. What nobody waited for any more has ended too, and what they said was seen too
/// late, but whoever needs that asks anew.
fn lapsed(approval: &Approval, now: Timestamp) -> bool {
    let undecided = status(approval).decided_at.is_none() && approval::moot_at(approval).is_none();
    undecided && approval::state(&approval.spec.request, &approval.spec.decisions, now) != approval::State::Approved
}

fn waiting(approval: &Approval) -> Gate {
    let missing = match status(approval).missing {
        lines if lines.is_empty() => "people to decide".to_owned(),
        lines => lines.join(", "),
    };
    let (name, deadline) = (approval.name_any(), &approval.spec.request.deadline);
    let message = format!("approval {name} waits for {missing}, until {deadline}");
    Gate::Wait { name: Some(name), message, look_again: None }
}

fn ask(asked: &Asked<'_>, queue: Queue<'_>, number: usize, now: Timestamp) -> Gate {
    if !queue.room {
        let message =
            "people must approve this, and too much waits for them in this namespace already, or was refused or asked for nothing within the hour; it is asked once there is room"
                .to_owned();
        return Gate::Wait { name: None, message, look_again: now.checked_add(CROWDED).ok() };
    }
    let request = approval::request(asked, last_approved(asked, queue), now);
    let name = approval::name(&request, &asked.session.spec.request.agent.pod.name, number);
    let mut approval = Approval::new(&name, ApprovalSpec { request, decisions: Vec::new() });
    approval.metadata.namespace = asked.session.namespace();
    Gate::Ask(Box::new(approval))
}

/// The request of the same workload (or account, of pods that nothing stands above) and policy that people approved last, and have not taken back.
fn last_approved<'a>(asked: &Asked<'_>, queue: Queue<'a>) -> Option<&'a ApprovalRequest> {
    let (own, account) = (asked.subject(), &asked.session.spec.request.agent.service_account);
    let same = |request: &ApprovalRequest| {
        request.workload.as_ref().is_some_and(|w| {
            w.uid == own.uid || (w.kind == own.kind && w.kind == approval::POD && request.service_account == *account)
        })
    };
    let no = |a: &Approval| a.spec.decisions.iter().any(|d| d.decision == Verdict::Deny);
    let yes = |a: &&Arc<Approval>| same(&a.spec.request) && status(a).valid_until.is_some() && !no(a);
    let approved = queue.approvals.iter().filter(yes);
    approved.max_by_key(|a| status(a).decided_at.clone()).map(|a| &a.spec.request)
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
