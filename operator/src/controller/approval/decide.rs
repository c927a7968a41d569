//! Where an approval stands. Pure: facts and `now` in, the status out.

use exeat_crds::Approval;
use exeat_crds::approval;
use exeat_crds::condition;
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{ApprovalPhase, ApprovalStatus, Verdict};
use exeat_crds::{CredentialSession, text};
use jiff::Timestamp;

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
    if status.phase == Some(ApprovalPhase::Pending)
        && let Some((reason, message)) = moot(facts)
    {
        status.phase = Some(ApprovalPhase::Expired);
        status.missing = Vec::new();
        let generation = facts.approval.metadata.generation;
        condition::set(&mut status.conditions, "Decided", true, reason.as_str(), message, generation, now);
        look_again = None;
    }
    Decision { status, news, look_again }
}

fn moot(facts: &Facts<'_>) -> Option<(Reason, &'static str)> {
    let request = &facts.approval.spec.request;
    if facts.policy_gone {
        return Some((Reason::PolicyDeleted, "the policy was deleted: nobody needs this any more"));
    }
    if facts.authority.is_some_and(|hash| hash != request.authority_hash) {
        return Some((Reason::AuthorityChanged, "the policy or its provider changed: people are asked anew"));
    }
    let ended = facts.session.and_then(|s| s.status.as_ref()?.phase).is_some_and(|p| p.is_terminal());
    ended.then_some((Reason::SessionNotActive, "the session that asked has ended: nobody needs this any more"))
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
