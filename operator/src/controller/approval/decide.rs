//! Where an approval stands. Pure: facts and `now` in, the status out.

use exeat_crds::Approval;
use exeat_crds::approval;
use exeat_crds::condition;
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{ApprovalPhase, ApprovalStatus, Verdict};
use exeat_crds::{CredentialSession, text};
use jiff::{SignedDuration, Timestamp};

/// The condition that says since when nobody waits.
const AWAITED: &str = "Awaited";
/// What nobody needed any more is history for this long at most: there may be much of it.
const MOOT_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// All that is known of an approval when it is looked at.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// As it stands.
    pub approval: &'a Approval,
    /// Hash of the authority that its policy has now; `None` where that can't be told.
    pub authority: Option<&'a str>,
    /// Whether the policy of its UID is gone.
    pub policy_gone: bool,
    /// The session that it serves, where it serves one alone and that one is there.
    pub session: Option<&'a CredentialSession>,
    /// Whether any session waits for it.
    pub awaited: bool,
    /// Whether its CronJob, which needs the same at its next run, is there.
    pub recurs: bool,
    /// How long nobody may wait for it before people are not bothered any longer.
    pub patience: SignedDuration,
}

/// What an approval should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Its status.
    pub status: ApprovalStatus,
    /// Words that were not on record yet: who, what, and why as they wrote it.
    pub news: Vec<News>,
    /// When to look again without being told.
    pub look_again: Option<Timestamp>,
}

/// One person's word that was not on record yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Who.
    pub approver: String,
    /// What.
    pub verdict: Verdict,
    /// Why, sanitised.
    pub comment: String,
}

/// Decides. People are not bothered any longer with what can't be used any more.
pub fn decide(facts: &Facts<'_>, now: Timestamp) -> Decision {
    let (mut status, mut look_again) = approval::status(facts.approval, now);
    let news = hear(facts.approval, &mut status);
    let left = if status.phase == Some(ApprovalPhase::Pending) { deserted(facts, &mut status, now) } else { None };
    if status.phase == Some(ApprovalPhase::Pending)
        && let Some((reason, message)) = moot(facts, left.is_some_and(|at| at <= now))
    {
        status.phase = Some(ApprovalPhase::Expired);
        status.missing = Vec::new();
        let generation = facts.approval.metadata.generation;
        condition::set(&mut status.conditions, "Decided", true, reason.as_str(), message, generation, now);
        look_again = None;
    } else {
        look_again = [look_again, left].into_iter().flatten().min();
    }
    Decision { status, news, look_again }
}

/// When nobody will have waited for too long, where nobody waits now: a pod that takes another's place, or a Job's next try, comes in between.
/// Of a CronJob's runs there may be none for days, and the next one needs the same.
fn deserted(facts: &Facts<'_>, status: &mut ApprovalStatus, now: Timestamp) -> Option<Timestamp> {
    if facts.awaited || facts.recurs {
        status.conditions.retain(|c| c.type_ != AWAITED);
        return None;
    }
    let (reason, generation) = (Reason::ApprovalUnneeded.as_str(), facts.approval.metadata.generation);
    condition::set(&mut status.conditions, AWAITED, false, reason, "no session waits for it", generation, now);
    let since = condition::get(&status.conditions, AWAITED)?.last_transition_time.0;
    since.checked_add(facts.patience).ok()
}

fn moot(facts: &Facts<'_>, deserted: bool) -> Option<(Reason, &'static str)> {
    let request = &facts.approval.spec.request;
    if facts.policy_gone {
        return Some((Reason::PolicyDeleted, "the policy was deleted: nobody needs this any more"));
    }
    if facts.authority.is_some_and(|hash| hash != request.authority_hash) {
        return Some((Reason::AuthorityChanged, "the policy or its provider changed: people are asked anew"));
    }
    let ended = facts.session.and_then(|s| s.status.as_ref()?.phase).is_some_and(|p| p.is_terminal());
    if ended {
        return Some((Reason::SessionNotActive, "the session that asked has ended: nobody needs this any more"));
    }
    deserted.then_some((Reason::ApprovalUnneeded, "nobody waits for this any more; whoever needs it again asks anew"))
}

/// Until when an approval is history that is kept, once it is settled: a no at least as long as it stands.
pub fn kept_until(approval: &Approval, age: SignedDuration) -> Option<Timestamp> {
    let status = approval.status.as_ref().filter(|s| s.phase.is_some_and(ApprovalPhase::is_final))?;
    let since = status.decided_at.as_ref().unwrap_or(&approval.spec.request.deadline).parse::<Timestamp>().ok()?;
    let stands = status.cool_down_until.as_ref().and_then(|t| t.parse().ok());
    match approval::moot_at(approval) {
        Some(at) => at.checked_add(age.min(MOOT_KEPT)).ok(),
        None => since.checked_add(age).ok().max(stands),
    }
}

fn hear(approval: &Approval, status: &mut ApprovalStatus) -> Vec<News> {
    let mut news = Vec::new();
    for decision in &approval.spec.decisions {
        let line =
            text::cut(&format!("{:?} {}", decision.decision, text::sanitize(&decision.approver)), 300).to_owned();
        if !status.heard.contains(&line) {
            status.heard.push(line);
            news.push(News {
                approver: text::sanitize(&decision.approver),
                verdict: decision.decision,
                comment: text::sanitize(decision.comment.as_deref().unwrap_or_default()),
            });
        }
    }
    news
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
