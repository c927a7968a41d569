//! Of which approvals people should be told now. Pure: approvals, what was told and `now` in, notices out.

use super::args::EventKind;
use exeat_crds::v1alpha1::{ApprovalPhase, ApprovalStatus};
use exeat_crds::{Approval, condition};
use jiff::{SignedDuration, Timestamp};

/// The condition that says what people were told last.
pub const NOTIFIED: &str = "Notified";

/// Decisions older than this are no news: who switches them on is not told of last week's.
const DECIDED_WITHIN: SignedDuration = SignedDuration::from_hours(1);

/// What people are told of one approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It waits for them.
    Pending,
    /// It still does, and little time is left.
    Reminder,
    /// It came to this.
    Decided(ApprovalPhase),
}

impl Notice {
    /// The reason of the condition [`NOTIFIED`].
    pub fn reason(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Reminder => "Reminder",
            Self::Decided(phase) => phase.as_str(),
        }
    }

    /// What it is.
    pub fn kind(self) -> EventKind {
        match self {
            Self::Pending => EventKind::Pending,
            Self::Reminder => EventKind::Reminder,
            Self::Decided(_) => EventKind::Decided,
        }
    }
}

/// What the approval's status says that people were told last.
pub fn on_record(approval: &Approval) -> Option<&str> {
    condition::get(&approval.status.as_ref()?.conditions, NOTIFIED).map(|c| c.reason.as_str())
}

/// What to tell of an approval, of which `told` was told last.
pub fn due(approval: &Approval, told: Option<&str>, events: &[EventKind], now: Timestamp) -> Option<Notice> {
    if approval.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = approval.status.as_ref()?;
    let notice = match status.phase? {
        ApprovalPhase::Pending => waiting(approval, told, events, now),
        phase => settled(status, phase, told, now),
    };
    notice.filter(|n| events.contains(&n.kind()))
}

/// Whoever hears of it for the first time when little time is left hears that, and no second time.
fn waiting(approval: &Approval, told: Option<&str>, events: &[EventKind], now: Timestamp) -> Option<Notice> {
    let deadline: Timestamp = approval.spec.request.deadline.parse().ok()?;
    if now >= deadline {
        return None;
    }
    let asked = approval.metadata.creation_timestamp.as_ref().map_or(now, |t| t.0);
    let late = deadline.duration_since(now) < deadline.duration_since(asked) / 4;
    let remind = late && events.contains(&EventKind::Reminder);
    match told {
        None | Some("Pending") if remind => Some(Notice::Reminder),
        None => Some(Notice::Pending),
        Some(_) => None,
    }
}

fn settled(status: &ApprovalStatus, phase: ApprovalPhase, told: Option<&str>, now: Timestamp) -> Option<Notice> {
    // That the time of use is over is nobody's decision.
    let used_up = phase == ApprovalPhase::Expired && status.decided_at.is_some();
    if used_up || told == Some(phase.as_str()) {
        return None;
    }
    let since = condition::get(&status.conditions, "Decided").filter(|c| c.status == "True");
    let recent = since.is_some_and(|c| now.duration_since(c.last_transition_time.0) < DECIDED_WITHIN);
    // Who was told yes is told when it is taken back, however late.
    (recent || told == Some(ApprovalPhase::Approved.as_str())).then_some(Notice::Decided(phase))
}

#[cfg(test)]
#[path = "due_tests.rs"]
mod tests;
