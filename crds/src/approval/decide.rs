//! One person's word on what is asked: whether they may give it now, and what is stored of it. The webhook stamps by [`decide`] and checks
//! by it again; the command line asks [`may_decide`] beforehand. There is no second opinion anywhere.

use super::{MAX_PEOPLE, State, is_person, state};
use crate::reason::{Reason, Refused};
use crate::v1alpha1::{Approval, ApprovalDecision, ApprovalPhase, Verdict};
use crate::{condition, text};
use jiff::Timestamp;

/// Longest UID that a decision holds.
const MAX_UID: usize = 128;

/// Who writes, as the API server has proved it for this very request.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// User name.
    pub username: &'a str,
    /// UID, where the cluster's authentication gives one.
    pub uid: Option<&'a str>,
    /// All groups.
    pub groups: &'a [String],
}

/// What a write to an approval comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Decided {
    /// It decides nothing.
    Nothing,
    /// This belongs at that place of `spec.decisions`, whatever was written there. All others stay as they are.
    One {
        /// Place in the list as it was written.
        index: usize,
        /// What is stored.
        decision: Box<ApprovalDecision>,
    },
}

/// What the write that turns `old` into `new` decides.
///
/// # Errors
/// Why it is refused, naming the field and the fix.
pub fn decide(old: &Approval, new: &Approval, writer: Writer<'_>, now: Timestamp) -> Result<Decided, Refused> {
    if old.spec.request != new.spec.request {
        return Err(no("spec.request", "it is what people are asked, and stays", "write to spec.decisions only"));
    }
    let (before, after) = (&old.spec.decisions, &new.spec.decisions);
    if let Some(gone) = before.iter().find(|o| after.iter().all(|n| n.approver != o.approver)) {
        let problem = format!("the decision of {:?} would be taken away", gone.approver);
        let fix = "add yours beside it: server-side apply with a field manager of your own (--field-manager=$USER), or a JSON patch that adds to /spec/decisions/-";
        return Err(no("spec.decisions", &problem, fix));
    }
    let changed: Vec<usize> = (0..after.len()).filter(|i| !before.contains(&after[*i])).collect();
    match changed[..] {
        [] => Ok(Decided::Nothing),
        [index] => one(old, &after[index], writer, now).map(|d| Decided::One { index, decision: Box::new(d) }),
        _ => Err(no("spec.decisions", &format!("{} decisions at once", changed.len()), "write one decision, your own")),
    }
}

fn one(
    old: &Approval,
    said: &ApprovalDecision,
    writer: Writer<'_>,
    now: Timestamp,
) -> Result<ApprovalDecision, Refused> {
    let path = format!("spec.decisions[approver={:?}]", said.approver);
    if said.approver != writer.username {
        let problem = format!("you are {:?}", writer.username);
        return Err(no(
            &format!("{path}.approver"),
            &problem,
            "decide in your own name, and leave others' words as they are",
        ));
    }
    let comment = clean(said.comment.as_deref());
    if let Some(earlier) = old.spec.decisions.iter().find(|d| d.approver == said.approver) {
        let same = earlier.decision == said.decision && earlier.digest == said.digest;
        if same && comment == clean(earlier.comment.as_deref()) {
            return Ok(earlier.clone());
        }
        if (earlier.decision, said.decision) != (Verdict::Approve, Verdict::Deny) {
            let problem =
                format!("you have decided {:?}, which can only change from Approve to Deny", earlier.decision);
            return Err(no(&path, &problem, "leave it as it is"));
        }
    }
    let groups = may_decide(old, said.decision, writer, now)?;
    if said.digest != old.spec.request.digest {
        let (problem, fix) =
            ("it is not the digest of this request", "read spec.request again and decide with its digest");
        return Err(Refused::new(Reason::GrantChanged, format!("{path}.digest: {problem}; {fix}")));
    }
    Ok(ApprovalDecision {
        approver: said.approver.clone(),
        uid: writer.uid.filter(|uid| !uid.is_empty() && uid.len() <= MAX_UID).map(str::to_owned),
        groups,
        decision: said.decision,
        digest: said.digest.clone(),
        comment,
        time: Some(condition::whole_seconds(now).to_string()),
    })
}

/// Whether this person may say this now; if so, in which of the required groups they are. The right by RBAC (verb `approve` on the policy)
/// is asked beside it.
///
/// # Errors
/// Why not.
pub fn may_decide(
    approval: &Approval,
    verdict: Verdict,
    writer: Writer<'_>,
    now: Timestamp,
) -> Result<Vec<String>, Refused> {
    let request = &approval.spec.request;
    let field = "spec.decisions[].approver";
    if !is_person(writer.username) {
        let problem =
            format!("{:?} is no person: service accounts and the cluster's own users decide nothing", writer.username);
        return Err(no(field, &problem, "decide as yourself"));
    }
    is_open(approval, verdict, now)?;
    let required = request.required.iter().map(|r| &r.group);
    let groups: Vec<String> =
        required.clone().filter(|g| !g.starts_with("system:") && writer.groups.contains(g)).cloned().collect();
    if verdict == Verdict::Deny {
        return Ok(groups);
    }
    if request.excluded.iter().any(|e| e == writer.username) {
        let problem = format!(
            "{:?} asked for this, owns policy {:?} or changed it last, and may deny but not approve",
            writer.username, request.policy_ref.name
        );
        return Err(no(field, &problem, "ask somebody else"));
    }
    if groups.is_empty() {
        let wanted = required.map(String::as_str).collect::<Vec<_>>().join(", ");
        let problem = format!("{:?} is in none of the groups that must approve ({wanted})", writer.username);
        return Err(no(field, &problem, "ask somebody who is"));
    }
    is_wanted(approval, now)?;
    Ok(groups)
}

/// Whether one more yes is good for anything. More would take the place of a no.
fn is_wanted(approval: &Approval, now: Timestamp) -> Result<(), Refused> {
    let (spec, phase) = (&approval.spec, approval.status.as_ref().and_then(|s| s.phase));
    if phase == Some(ApprovalPhase::Approved) || state(&spec.request, &spec.decisions, now) == State::Approved {
        return Err(no("spec.decisions", "everybody who is needed has approved", "leave it; a no is still taken"));
    }
    if spec.decisions.len() >= MAX_PEOPLE {
        let problem = format!("{MAX_PEOPLE} people have decided, and the last place is kept for a no");
        return Err(no(
            "spec.decisions",
            &problem,
            "leave it: after its deadline the next session that needs it asks again",
        ));
    }
    Ok(())
}

/// A yes is taken until the deadline. A no that takes something back is taken as long as there is something to take back.
fn is_open(approval: &Approval, verdict: Verdict, now: Timestamp) -> Result<(), Refused> {
    let status = approval.status.as_ref();
    let phase = status.and_then(|s| s.phase).unwrap_or_default();
    let takes_back =
        verdict == Verdict::Deny && (phase == ApprovalPhase::Approved || status.is_some_and(|s| s.used > 0));
    let closed = |reason, problem: &str| {
        let fix = match reason {
            Reason::ApprovalExpired => "the next session that needs it asks again",
            _ => "the next session that needs it after the cool-down asks again",
        };
        Err(Refused::new(reason, format!("spec.decisions: {problem}; {fix}")))
    };
    let deadline = &approval.spec.request.deadline;
    let late = !deadline.parse::<Timestamp>().is_ok_and(|d| now <= d);
    match phase {
        ApprovalPhase::Denied => closed(Reason::ApprovalDenied, "somebody has said no already, which is final"),
        ApprovalPhase::Withdrawn => closed(Reason::ApprovalWithdrawn, "it was withdrawn already, which is final"),
        ApprovalPhase::Expired if !takes_back => closed(Reason::ApprovalExpired, "its time is over"),
        _ if late && !takes_back => {
            closed(Reason::ApprovalExpired, &format!("people could decide until {deadline} (spec.request.deadline)"))
        }
        _ => Ok(()),
    }
}

fn clean(comment: Option<&str>) -> Option<String> {
    comment.map(text::sanitize).filter(|c| !c.is_empty())
}

fn no(field: &str, problem: &str, fix: &str) -> Refused {
    Refused::new(Reason::ApproverNotEligible, format!("{field}: {problem}; {fix}"))
}

#[cfg(test)]
mod tests;
