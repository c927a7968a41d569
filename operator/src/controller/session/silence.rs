//! The condition `SidecarSilent` of an active session, from what the issuer recorded of its stream. Pure.

use exeat_crds::authority::Authority;
use exeat_crds::condition;
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::CredentialSessionStatus;
use jiff::{SignedDuration, Timestamp};

/// Type of the condition.
pub(super) const SILENT: &str = "SidecarSilent";
/// Reason of the condition once a stream is back.
const CONNECTED: &str = "Connected";
/// A sidecar whose stream was lost for less than this may be restarting.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// Sets the condition. Returns when to look again, where time alone will change it.
///
/// Its message holds points in time and no lengths: it stays as it is while nothing happens.
pub(super) fn note(
    status: &mut CredentialSessionStatus,
    authority: Option<&Authority>,
    generation: Option<i64>,
    now: Timestamp,
) -> Option<Timestamp> {
    let stream = status.issuance.as_ref().and_then(|i| i.stream.as_ref());
    let lost: Option<Timestamp> = stream.and_then(|s| s.lost_at.as_ref()).and_then(|t| t.parse().ok());
    let Some(lost) = lost else {
        if stream.is_some() && condition::is_true(&status.conditions, SILENT) {
            let message = "the sidecar has a stream again";
            condition::set(&mut status.conditions, SILENT, false, CONNECTED, message, generation, now);
        }
        return None;
    };
    let due = lost.saturating_add(PATIENCE).unwrap_or(Timestamp::MAX);
    if now < due {
        return Some(due);
    }
    let message = format!(
        "the sidecar has had no stream to any issuer since {lost}; unless it gets through again, it serves what it holds until {} at the latest",
        serves_until(status, authority, lost)
    );
    condition::set(&mut status.conditions, SILENT, true, Reason::SidecarSilent.as_str(), &message, generation, now);
    None
}

/// When the sidecar stops by itself: its grace without contact, at most the session's end. Without a setting of its own it serves a
/// credential for the credential's whole life.
fn serves_until(status: &CredentialSessionStatus, authority: Option<&Authority>, lost: Timestamp) -> Timestamp {
    let grace = authority.map(|a| a.offline_grace.unwrap_or(a.credential_ttl));
    let alone = grace.and_then(|g| lost.saturating_add(g).ok()).unwrap_or(Timestamp::MAX);
    super::decide::expiry(status).map_or(alone, |end| end.min(alone))
}

/// Whether a session turned silent between two statuses.
pub(super) fn turned_silent(old: &CredentialSessionStatus, new: &CredentialSessionStatus) -> Option<String> {
    let silent = |s: &CredentialSessionStatus| condition::is_true(&s.conditions, SILENT);
    (silent(new) && !silent(old))
        .then(|| condition::get(&new.conditions, SILENT).map(|c| c.message.clone()).unwrap_or_default())
}
