//! What happened, as one type: an audit record and an Event say the same in the same words. Text that agents or people wrote is sanitised
//! and named `claimed…`; nothing here ever holds a secret.
//!
//! [`chain`] signs, [`spool`] holds what has not reached its [`sink`], [`heads`] anchors each chain's end apart from the log, [`verify`]
//! finds what was done to it. [`Audit`] puts them together.

pub mod anchor;
pub mod args;
mod log;
pub mod metrics;
pub mod secret;
pub mod sink;
pub mod spool;

pub use exeat_audit::{chain, command, heads, key, record, verify};
pub use log::{Audit, AuditError};

use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{CredentialSessionStatus, Phase};
use exeat_crds::{Approval, CredentialSession};
use exeat_crds::{text, v1alpha1};
use kube::ResourceExt;
use serde::Serialize;

/// What happened.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
pub enum EventName {
    /// A session was opened.
    SessionCreated,
    /// A session may be used.
    SessionActivated,
    /// A session waits.
    SessionPending,
    /// A session was refused for good.
    SessionDenied,
    /// A session was ended by a person or a change of authority.
    SessionRevoked,
    /// A session ended by itself.
    SessionEnded,
    /// A credential is about to be minted.
    CredentialsIntended,
    /// The first credential of a session was handed out.
    CredentialsIssued,
    /// A later one was.
    CredentialsRenewed,
    /// A mint failed or was refused.
    CredentialsRefused,
    /// A session's access was ended at its provider.
    AccessRevoked,
    /// A second sidecar, or somebody else with its token, asked for a pod's credentials.
    HolderConflict,
    /// The sidecar of an active session has no stream to any issuer.
    SidecarSilent,
    /// People are asked.
    ApprovalRequested,
    /// A person said yes or no.
    ApprovalDecided,
    /// An approval was given, refused or taken back as a whole, or its time is over.
    ApprovalSettled,
}

impl EventName {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SessionCreated => "SessionCreated",
            Self::SessionActivated => "SessionActivated",
            Self::SessionPending => "SessionPending",
            Self::SessionDenied => "SessionDenied",
            Self::SessionRevoked => "SessionRevoked",
            Self::SessionEnded => "SessionEnded",
            Self::CredentialsIntended => "CredentialsIntended",
            Self::CredentialsIssued => "CredentialsIssued",
            Self::CredentialsRenewed => "CredentialsRenewed",
            Self::CredentialsRefused => "CredentialsRefused",
            Self::AccessRevoked => "AccessRevoked",
            Self::HolderConflict => "HolderConflict",
            Self::SidecarSilent => "SidecarSilent",
            Self::ApprovalRequested => "ApprovalRequested",
            Self::ApprovalDecided => "ApprovalDecided",
            Self::ApprovalSettled => "ApprovalSettled",
        }
    }

    /// Whether an Event is a warning.
    pub fn is_warning(self) -> bool {
        matches!(
            self,
            Self::SessionDenied
                | Self::SessionRevoked
                | Self::SessionPending
                | Self::CredentialsRefused
                | Self::HolderConflict
                | Self::SidecarSilent
        )
    }
}

/// One thing that happened to one session. Its fields are texts alone: [`record`] writes nothing else.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// What.
    pub event: EventName,
    /// Stable reason code.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Namespace of session, pod and policy.
    pub namespace: String,
    /// Name of the session.
    pub session: String,
    /// UID of the session.
    pub session_uid: String,
    /// Policy.
    pub policy: String,
    /// Provider.
    pub provider: String,
    /// Service account of the agent.
    pub service_account: String,
    /// Pod.
    pub pod: String,
    /// UID of the pod.
    pub pod_uid: String,
    /// The approval that it waits for or rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// Digest of what people were asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_digest: Option<String>,
    /// The person who decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// Digest of the grant, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_digest: Option<String>,
    /// The identity that is assumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// When the session ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_expires_at: Option<String>,
    /// Identifies the credential at its provider; no secret.
    #[serde(skip_serializing_if = "Option::is_none", rename = "credentialID")]
    pub credential_id: Option<String>,
    /// When the credential ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_expires_at: Option<String>,
    /// Why, as the pod's author claims.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_justification: Option<String>,
}

impl AuditEvent {
    /// An event about a session.
    pub fn of(session: &CredentialSession, event: EventName, reason: &str, message: &str) -> Self {
        let request = &session.spec.request;
        let status = session.status.as_ref();
        let grant = status.and_then(|s| s.grant.as_ref());
        Self {
            event,
            reason: reason.to_owned(),
            message: text::cut(message, 1024).to_owned(),
            namespace: session.namespace().unwrap_or_default(),
            session: session.name_any(),
            session_uid: session.uid().unwrap_or_default(),
            policy: request.policy_ref.name.clone(),
            provider: request.provider_ref.name.clone(),
            service_account: request.agent.service_account.clone(),
            pod: request.agent.pod.name.clone(),
            pod_uid: request.agent.pod.uid.clone(),
            approval: status.and_then(|s| s.approval_ref.as_ref()).map(|r| r.name.clone()),
            approval_digest: None,
            approver: None,
            grant_digest: grant.map(|g| g.digest.clone()),
            principal: grant.map(|g| g.principal.clone()),
            session_expires_at: status.and_then(|s| s.expires_at.clone()),
            credential_id: None,
            credential_expires_at: None,
            claimed_justification: request.justification.as_deref().map(text::sanitize),
        }
    }

    /// Access was ended of a session that is gone, so that no more is known of it than what its provider had on record.
    pub fn access_revoked(namespace: &str, session: &str, session_uid: &str) -> Self {
        Self {
            event: EventName::AccessRevoked,
            reason: Reason::SessionRevoked.as_str().to_owned(),
            message: "access was ended at the provider; its session was gone".to_owned(),
            namespace: namespace.to_owned(),
            session: session.to_owned(),
            session_uid: session_uid.to_owned(),
            policy: String::new(),
            provider: String::new(),
            service_account: String::new(),
            pod: String::new(),
            pod_uid: String::new(),
            approval: None,
            approval_digest: None,
            approver: None,
            grant_digest: None,
            principal: None,
            session_expires_at: None,
            credential_id: None,
            credential_expires_at: None,
            claimed_justification: None,
        }
    }

    /// An event about an approval. It names a session only where it serves one alone.
    pub fn of_approval(approval: &Approval, event: EventName, reason: &str, message: &str) -> Self {
        let request = &approval.spec.request;
        Self {
            event,
            reason: reason.to_owned(),
            message: text::cut(message, 1024).to_owned(),
            namespace: approval.namespace().unwrap_or_default(),
            session: request.session_ref.as_ref().map(|s| s.name.clone()).unwrap_or_default(),
            session_uid: String::new(),
            policy: request.policy_ref.name.clone(),
            provider: request.provider_ref.name.clone(),
            service_account: request.service_account.clone(),
            pod: String::new(),
            pod_uid: String::new(),
            approval: Some(approval.name_any()),
            approval_digest: Some(request.digest.clone()),
            approver: None,
            grant_digest: None,
            principal: Some(request.principal.clone()),
            session_expires_at: None,
            credential_id: None,
            credential_expires_at: None,
            claimed_justification: request.justification.as_deref().map(text::sanitize),
        }
    }

    /// A session was opened.
    pub fn session_created(session: &CredentialSession) -> Self {
        let request = &session.spec.request;
        let message = format!(
            "session {} of pod {} under policy {}",
            request.number, request.agent.pod.name, request.policy_ref.name
        );
        Self::of(session, EventName::SessionCreated, Reason::Deciding.as_str(), &message)
    }

    /// A session came to a phase.
    pub fn of_phase(session: &CredentialSession, phase: Phase, status: &CredentialSessionStatus) -> Self {
        let event = match phase {
            Phase::Pending | Phase::AwaitingApproval => EventName::SessionPending,
            Phase::Active => EventName::SessionActivated,
            Phase::Denied => EventName::SessionDenied,
            Phase::Revoked => EventName::SessionRevoked,
            Phase::Completed | Phase::Failed | Phase::Expired | Phase::BudgetExceeded => EventName::SessionEnded,
        };
        let mut decided = session.clone();
        decided.status = Some(v1alpha1::CredentialSessionStatus { issuance: None, ..status.clone() });
        let message = match (phase, &status.expires_at) {
            (Phase::Active, Some(until)) => format!("until {until}"),
            _ => status.message.clone().unwrap_or_default(),
        };
        Self::of(&decided, event, status.reason.as_deref().unwrap_or(phase.as_str()), &message)
    }
}

#[cfg(test)]
mod reader_tests;
#[cfg(test)]
mod tests;
