//! The grant, computed again at every mint from a fresh read of session, policy, provider and approval. A status that somebody forged, a policy that
//! was tightened since, a digest that differs: nothing is minted. Pure.

use super::view;
use exeat_crds::Approval;
use exeat_crds::approval::{self, Asked};
use exeat_crds::authority;
use exeat_crds::condition;
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::rules::Grant;
use exeat_crds::v1alpha1::{AgentCredentialPolicy, CredentialProvider, CredentialSession, RevocationMode};
use exeat_wire::Refusal;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

/// What to mint.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// What the credential may do.
    pub grant: Grant,
    /// How long it lives at most.
    pub ttl: SignedDuration,
    /// No credential outlives this.
    pub session_expires_at: Timestamp,
    /// How long the sidecar serves without contact.
    pub offline_grace: Option<SignedDuration>,
    /// Whether the provider can end access at once.
    pub revocation: RevocationMode,
}

/// Least life left of a session whose provider ends access at once: enough to fetch and use a credential.
const MIN_LEFT_REVOCABLE: SignedDuration = SignedDuration::from_secs(5);

/// The controller's clock may be ahead of ours by this much.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(1);

/// Computes what may be minted for a session now.
///
/// # Errors
/// Why nothing may be.
pub fn recompute(
    session: &CredentialSession,
    policy: Option<&AgentCredentialPolicy>,
    provider: Option<&CredentialProvider>,
    approval: Option<&Approval>,
    now: Timestamp,
) -> Result<Order, Refusal> {
    if !view::usable(session, now) {
        return Err(view::refusal(session));
    }
    let refuse = |refused: Refused| refused_refusal(&refused, session);
    let request = &session.spec.request;
    let policy = policy.ok_or_else(|| refuse(policy_deleted(session)))?;
    let authority = authority::resolve(policy, provider).map_err(refuse)?;
    if policy.uid().as_deref() != Some(request.policy_ref.uid.as_str()) {
        return Err(refuse(authority_changed()));
    }
    same_authority(session, &authority.hash).map_err(refuse)?;
    authority::covers_account(policy, &request.agent.service_account).map_err(refuse)?;
    let grant = authority.grant(&request.agent.service_account, request.allow.as_deref()).map_err(refuse)?;
    let status = session.status.as_ref();
    if !status.is_some_and(|s| condition::is_true(&s.conditions, "Decided")) {
        return Err(refuse(Refused::new(
            Reason::SessionNotActive,
            "the session's phase is Active, but nothing was decided",
        )));
    }
    if status.and_then(|s| s.grant.as_ref()).map(|g| g.digest.as_str()) != Some(grant.digest().as_str()) {
        return Err(refuse(Refused::new(
            Reason::GrantChanged,
            "the session's recorded grant is not what its policy gives",
        )));
    }
    if let Some(needed) = authority.approval.needed(&grant) {
        let asked = Asked { session, authority: &authority, grant: &grant, needed: &needed };
        approval::rests(approval, &asked, now).map_err(refuse)?;
    }
    let end: Timestamp = status.and_then(|s| s.expires_at.as_ref()).and_then(|t| t.parse().ok()).unwrap_or(now);
    let left = end.duration_since(now);
    if left > authority.duration.saturating_add(MAX_SKEW) {
        return Err(refuse(Refused::new(
            Reason::GrantChanged,
            format!("the session's recorded end, {end}, is later than its policy gives"),
        )));
    }
    let floor = match authority.revocation {
        RevocationMode::Immediate => MIN_LEFT_REVOCABLE,
        RevocationMode::ExpiryOnly => authority::bounds(authority.kind).0,
    };
    if left < floor {
        return Err(refuse(Refused::new(
            Reason::SessionEnding,
            format!("the session ends at {end}; that is less than the shortest credential of its provider"),
        )));
    }
    Ok(Order {
        grant,
        ttl: authority.credential_ttl.min(left),
        session_expires_at: end,
        offline_grace: authority.offline_grace,
        revocation: authority.revocation,
    })
}

/// Why nothing is minted for a session whose policy is gone.
pub(super) fn policy_deleted(session: &CredentialSession) -> Refused {
    let name = &session.spec.request.policy_ref.name;
    Refused::new(Reason::PolicyDeleted, format!("policy {name:?} does not exist any more"))
}

fn authority_changed() -> Refused {
    Refused::new(Reason::AuthorityChanged, "the policy or its provider changed since this session was decided")
}

/// Whether the authority with this hash is the one that a session was asked for under. The hash covers all of policy and provider that
/// a session rests on, their UIDs too.
///
/// # Errors
/// [`Reason::AuthorityChanged`].
pub(super) fn same_authority(session: &CredentialSession, hash: &str) -> Result<(), Refused> {
    if session.spec.request.authority_hash == hash { Ok(()) } else { Err(authority_changed()) }
}

/// Compares what was minted with the last look before it is handed out: each is a session and what [`recompute`] made of it.
///
/// # Errors
/// When anything has changed in between. The next request mints under what holds by then.
pub fn confirm(minted: (&CredentialSession, &Order), now: (&CredentialSession, &Order)) -> Result<(), Refusal> {
    let same = minted.0.uid() == now.0.uid()
        && minted.1.grant == now.1.grant
        && minted.1.session_expires_at == now.1.session_expires_at;
    if same {
        return Ok(());
    }
    let changed = Refused::new(Reason::GrantChanged, "the session changed while the credential was minted");
    Err(refused_refusal(&changed, now.0))
}

/// What may come right by the controller's next decision is worth waiting for.
fn refused_refusal(refused: &Refused, session: &CredentialSession) -> Refusal {
    let retryable = matches!(
        refused.reason,
        Reason::AuthorityChanged | Reason::GrantChanged | Reason::SessionEnding | Reason::ProviderNotFound
    );
    Refusal {
        code: refused.reason.as_str().to_owned(),
        message: refused.message.clone(),
        retryable,
        retry_after_seconds: retryable.then_some(5),
        session: Some(session.name_any()),
    }
}

#[cfg(test)]
#[path = "recompute_tests.rs"]
mod tests;
