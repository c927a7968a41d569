//! What decisions come to, and what becomes of an approval.

use super::{digest, is_person, quorum};
use crate::reason::Reason;
use crate::v1alpha1::{Approval, ApprovalDecision, ApprovalPhase, ApprovalRequest, ApprovalStatus, Verdict};
use crate::{condition, duration, text};
use jiff::{SignedDuration, Timestamp};

/// The webhook's clock may be ahead of ours by this much.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(1);
/// What was decided in time may be seen by the controller this much later: its replicas may just be changing.
const SEEN_WITHIN: SignedDuration = SignedDuration::from_mins(2);

/// What the decisions come to, whatever the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// These are missing.
    Open(Vec<String>),
    /// Everybody needed has approved.
    Approved,
    /// Somebody said no.
    Denied {
        /// Who.
        by: String,
        /// Why, as they wrote it; sanitised.
        comment: String,
    },
}

/// Whether a decision counts as an approval: by a person who may, for these very terms, in time.
pub fn is_eligible(request: &ApprovalRequest, decision: &ApprovalDecision, now: Timestamp) -> bool {
    let time = |text: Option<&str>| text.and_then(|t| t.parse::<Timestamp>().ok());
    let in_time = match (time(decision.time.as_deref()), time(Some(&request.deadline))) {
        (Some(at), Some(deadline)) => at <= deadline && at <= now.saturating_add(MAX_SKEW).unwrap_or(now),
        _ => false,
    };
    decision.decision == Verdict::Approve
        && is_person(&decision.approver)
        && !request.excluded.contains(&decision.approver)
        && decision.digest == request.digest
        && in_time
}

/// What the decisions come to. A denial always wins; of approvals only those count that [`is_eligible`] takes, and only for the very request
/// that its digest is of.
pub fn state(request: &ApprovalRequest, decisions: &[ApprovalDecision], now: Timestamp) -> State {
    if let Some(no) = decisions.iter().find(|d| d.decision == Verdict::Deny) {
        let comment = text::sanitize(no.comment.as_deref().unwrap_or_default());
        return State::Denied { by: text::sanitize(&no.approver), comment };
    }
    let people: Vec<(&str, &[String])> = decisions
        .iter()
        .filter(|d| is_eligible(request, d, now))
        .map(|d| (d.approver.as_str(), d.groups.as_slice()))
        .collect();
    if request.digest != digest(request) {
        return State::Open(vec!["a digest that is the request's own".to_owned()]);
    }
    match quorum::missing(&request.required, request.minimum, &people) {
        lines if lines.is_empty() => State::Approved,
        lines => State::Open(lines),
    }
}

/// What an approval's status should be now, and when to look again where time alone changes it.
pub fn status(approval: &Approval, now: Timestamp) -> (ApprovalStatus, Option<Timestamp>) {
    let request = &approval.spec.request;
    let mut status = approval.status.clone().unwrap_or_default();
    let old = status.phase.unwrap_or_default();
    if matches!(old, ApprovalPhase::Denied | ApprovalPhase::Withdrawn) {
        return (status, None);
    }
    // Whom nobody let in has nothing to lose by a late no.
    if old == ApprovalPhase::Expired && status.used == 0 {
        return (status, None);
    }
    let deadline: Timestamp = request.deadline.parse().unwrap_or(Timestamp::MIN);
    let mut look_again = None;
    let (phase, reason, message) = match state(request, &approval.spec.decisions, now) {
        State::Denied { by, comment } => {
            let (phase, reason) = deny(&mut status, request, now);
            (phase, reason, denial(&by, &comment))
        }
        _ if old == ApprovalPhase::Expired => return (status, None),
        State::Open(missing) if now <= deadline => {
            look_again = Some(deadline);
            let message = format!("missing: {}", missing.join(", "));
            status.missing = missing;
            (ApprovalPhase::Pending, Reason::ApprovalPending, message)
        }
        State::Approved
            if old == ApprovalPhase::Approved || now <= deadline.saturating_add(SEEN_WITHIN).unwrap_or(deadline) =>
        {
            let until = approve(&mut status, request, now);
            look_again = Some(until);
            if now >= until {
                (ApprovalPhase::Expired, Reason::ApprovalExpired, format!("it could be used until {until}"))
            } else {
                (ApprovalPhase::Approved, Reason::Ready, format!("it may open {} sessions until {until}", request.uses))
            }
        }
        late => (ApprovalPhase::Expired, Reason::ApprovalExpired, too_late(&late, deadline)),
    };
    status.phase = Some(phase);
    let settled = phase != ApprovalPhase::Pending;
    condition::set(
        &mut status.conditions,
        "Decided",
        settled,
        reason.as_str(),
        &message,
        approval.metadata.generation,
        now,
    );
    (status, look_again.filter(|_| !phase.is_final()))
}

/// Nobody is asked again before its cool-down is over, and nothing may be opened by it any more.
fn deny(status: &mut ApprovalStatus, request: &ApprovalRequest, now: Timestamp) -> (ApprovalPhase, Reason) {
    let until = duration::parse(&request.cool_down).ok().and_then(|d| now.checked_add(d).ok()).unwrap_or(now);
    status.decided_at = Some(condition::whole_seconds(now).to_string());
    status.cool_down_until = Some(condition::whole_seconds(until).to_string());
    status.valid_until = None;
    match status.used > 0 {
        true => (ApprovalPhase::Withdrawn, Reason::ApprovalWithdrawn),
        false => (ApprovalPhase::Denied, Reason::ApprovalDenied),
    }
}

/// Until when it may be used: from the moment on in which it was seen first that nobody is missing.
fn approve(status: &mut ApprovalStatus, request: &ApprovalRequest, now: Timestamp) -> Timestamp {
    if status.decided_at.is_none() {
        let until = duration::parse(&request.valid_for).ok().and_then(|d| now.checked_add(d).ok()).unwrap_or(now);
        status.decided_at = Some(condition::whole_seconds(now).to_string());
        status.valid_until = Some(condition::whole_seconds(until).to_string());
    }
    status.missing = Vec::new();
    status.valid_until.as_ref().and_then(|t| t.parse().ok()).unwrap_or(Timestamp::MIN)
}

/// In the stamps' own words enough may have been said in time, but a time that was written back would look the same.
fn too_late(state: &State, deadline: Timestamp) -> String {
    match state {
        State::Open(missing) => format!("by {deadline} there was missing: {}", missing.join(", ")),
        _ => format!(
            "what people said by {deadline} was seen more than {} min later: whoever waits asks anew",
            SEEN_WITHIN.as_mins()
        ),
    }
}

fn denial(by: &str, comment: &str) -> String {
    if comment.is_empty() { format!("{by} said no") } else { format!("{by} said no: {comment}") }
}

/// Since when nobody needs the answer any more, of a question that ended so and not by a word or its deadline.
pub fn moot_at(approval: &Approval) -> Option<Timestamp> {
    let status = approval.status.as_ref()?;
    let decided = condition::get(&status.conditions, "Decided")?;
    let moot = status.phase == Some(ApprovalPhase::Expired)
        && status.decided_at.is_none()
        && decided.reason != Reason::ApprovalExpired.as_str();
    moot.then_some(decided.last_transition_time.0)
}

/// Whether an approval may open this session now: one more, or the same again where its opening was cut short. Read afresh from spec and
/// status; the phase alone opens nothing.
pub fn usable(approval: &Approval, session_uid: &str, now: Timestamp) -> bool {
    let request = &approval.spec.request;
    let Some(status) = &approval.status else { return false };
    let until: Option<Timestamp> = status.valid_until.as_ref().and_then(|t| t.parse().ok());
    let more =
        status.phase == Some(ApprovalPhase::Approved) && until.is_some_and(|t| now < t) && status.used < request.uses;
    (more || opened(approval, session_uid)) && state(request, &approval.spec.decisions, now) == State::Approved
}

/// Whether a session was opened by this approval.
pub fn opened(approval: &Approval, session_uid: &str) -> bool {
    approval.status.as_ref().is_some_and(|s| s.consumers.iter().any(|c| c == session_uid))
}

/// The status after this session was opened by it. The same session is counted once.
pub fn consume(status: &ApprovalStatus, session_uid: &str) -> ApprovalStatus {
    let mut status = status.clone();
    if !status.consumers.iter().any(|c| c == session_uid) {
        status.consumers.push(session_uid.to_owned());
        status.used = i32::try_from(status.consumers.len()).unwrap_or(i32::MAX);
    }
    status
}
