//! What a pod's sidecar is told about its sessions. Pure.

use exeat_crds::CredentialSession;
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::v1alpha1::Phase;
use exeat_wire::{Refusal, StreamMessage};
use jiff::Timestamp;
use kube::ResourceExt;
use std::sync::Arc;

/// Seconds after which a sidecar that has to wait, and has no stream, asks again.
const RETRY_AFTER: u64 = 2;
/// The same while people are asked.
const RETRY_AFTER_PEOPLE: u64 = 15;

/// The session that counts: the newest one that may be used, else the newest.
pub fn current(sessions: &[Arc<CredentialSession>], now: Timestamp) -> Option<&Arc<CredentialSession>> {
    let newest = |only: fn(&CredentialSession, Timestamp) -> bool| {
        sessions.iter().filter(|s| only(s, now)).max_by_key(|s| s.spec.request.number)
    };
    newest(usable).or_else(|| newest(|_, _| true))
}

/// The sessions of one policy of a pod. A sidecar that names none means the pod's only one: where the pod has several it may be of a release that
/// knows but the first, and must not be given what another container's are for.
pub fn of_policy(mut sessions: Vec<Arc<CredentialSession>>, policy: Option<&str>) -> Vec<Arc<CredentialSession>> {
    let first = || sessions.iter().find_map(|s| s.spec.request.primary.clone());
    let meant = policy.map(str::to_owned).or_else(first);
    sessions.retain(|s| meant.as_ref().is_none_or(|policy| s.spec.request.policy_ref.name == *policy));
    sessions
}

/// The sessions that a pod uses, at most one of each policy.
pub fn in_use(sessions: &[Arc<CredentialSession>], now: Timestamp) -> Vec<&Arc<CredentialSession>> {
    let mut newest: Vec<&Arc<CredentialSession>> = Vec::new();
    for session in sessions.iter().filter(|s| usable(s, now)) {
        let request = &session.spec.request;
        match newest.iter_mut().find(|s| s.spec.request.policy_ref.name == request.policy_ref.name) {
            Some(known) if known.spec.request.number < request.number => *known = session,
            Some(_) => {}
            None => newest.push(session),
        }
    }
    newest
}

/// Whether a session may be used as far as its own status says: revoked, ended and expired ones may not.
pub fn usable(session: &CredentialSession, now: Timestamp) -> bool {
    let Some(status) = &session.status else { return false };
    let expires: Option<Timestamp> = status.expires_at.as_ref().and_then(|t| t.parse().ok());
    session.spec.revoke.is_none() && status.phase == Some(Phase::Active) && expires.is_some_and(|t| t > now)
}

/// The message for the stream. `stands` tells whether a session still has the authority that it was decided under, and the yes of people:
/// what is served without is withheld at once, until the controller has ended it or decided afresh.
pub fn message(
    sessions: &[Arc<CredentialSession>],
    stands: impl FnOnce(&CredentialSession) -> Result<(), Refused>,
    now: Timestamp,
) -> StreamMessage {
    let Some(session) = current(sessions, now) else {
        return StreamMessage::Waiting(untimed(waiting(
            Reason::SessionNotFound.as_str(),
            "the controller has not opened a session for this pod yet",
            None,
        )));
    };
    if usable(session, now) {
        if let Err(refused) = stands(session) {
            return StreamMessage::Waiting(untimed(withheld(session, &refused)));
        }
        let digest =
            session.status.as_ref().and_then(|s| s.grant.as_ref()).map(|g| g.digest.clone()).unwrap_or_default();
        return StreamMessage::Active { session: session.name_any(), digest };
    }
    match refusal(session) {
        refusal if refusal.retryable => StreamMessage::Waiting(untimed(refusal)),
        refusal => StreamMessage::Stopped(refusal),
    }
}

/// Why a session may not be used.
pub fn refusal(session: &CredentialSession) -> Refusal {
    let status = session.status.clone().unwrap_or_default();
    let name = session.name_any();
    if let Some(revoke) = &session.spec.revoke {
        let why = exeat_crds::text::sanitize(&revoke.reason);
        return stopped(Reason::SessionRevoked.as_str(), &format!("session {name} was revoked: {why}"), name);
    }
    let reason = status.reason.clone().unwrap_or_else(|| Reason::Deciding.as_str().to_owned());
    let message = format!("session {name}: {}", status.message.as_deref().unwrap_or("not decided yet"));
    match status.phase {
        None | Some(Phase::Pending) => waiting(&reason, &message, Some(name)),
        Some(Phase::AwaitingApproval) => {
            Refusal { retry_after_seconds: Some(RETRY_AFTER_PEOPLE), ..waiting(&reason, &message, Some(name)) }
        }
        Some(Phase::Active) => {
            let until = status.expires_at.unwrap_or_default();
            waiting(Reason::SessionExpired.as_str(), &format!("session {name} ended at {until}"), Some(name))
        }
        Some(Phase::Revoked | Phase::Denied) if renewable(&reason) => waiting(&reason, &message, Some(name)),
        Some(_) => stopped(&reason, &message, name),
    }
}

/// After a change of authority the next session is decided afresh, so the sidecar waits for it.
fn renewable(reason: &str) -> bool {
    reason == Reason::AuthorityChanged.as_str()
}

/// A session that nobody has ended yet, and that nothing is served from any more. Whatever the reason, it is the controller that ends it.
fn withheld(session: &CredentialSession, refused: &Refused) -> Refusal {
    let name = session.name_any();
    let message = format!("session {name} is not served any more: {}", refused.message);
    waiting(refused.reason.as_str(), &message, Some(name))
}

/// Who has a stream is told when there is something to ask for: a thousand that ask every other second meanwhile would only hold it up.
fn untimed(refusal: Refusal) -> Refusal {
    let retry_after_seconds = refusal.retry_after_seconds.filter(|seconds| *seconds > RETRY_AFTER);
    Refusal { retry_after_seconds, ..refusal }
}

fn waiting(code: &str, message: &str, session: Option<String>) -> Refusal {
    Refusal {
        code: code.to_owned(),
        message: message.to_owned(),
        retryable: true,
        retry_after_seconds: Some(RETRY_AFTER),
        session,
    }
}

fn stopped(code: &str, message: &str, session: String) -> Refusal {
    Refusal {
        code: code.to_owned(),
        message: message.to_owned(),
        retryable: false,
        retry_after_seconds: None,
        session: Some(session),
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
