//! What happened, as one type: an audit line (JSON, standard output) and an Event say the same in the same words.
//! Text that agents or people wrote is sanitised and named `claimed…`; nothing here ever holds a secret.

use exeat_crds::CredentialSession;
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{CredentialSessionStatus, Phase};
use exeat_crds::{text, v1alpha1};
use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

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
        }
    }

    /// Whether an Event is a warning.
    pub fn is_warning(self) -> bool {
        matches!(self, Self::SessionDenied | Self::SessionRevoked | Self::SessionPending | Self::CredentialsRefused)
    }
}

/// One thing that happened to one session.
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
            grant_digest: grant.map(|g| g.digest.clone()),
            principal: grant.map(|g| g.principal.clone()),
            session_expires_at: status.and_then(|s| s.expires_at.clone()),
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    audit: &'static str,
    time: String,
    writer: &'a str,
    boot: &'a str,
    sequence: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    cluster: &'a str,
    #[serde(flatten)]
    event: &'a AuditEvent,
}

/// Writes audit lines. Each carries its writer, a number for its process and its place in that process's sequence: a gap shows.
pub struct Audit {
    writer: String,
    boot: String,
    cluster: String,
    sequence: AtomicU64,
    out: Mutex<Box<dyn Write + Send>>,
}

impl Audit {
    /// Writes to `out`. `writer` is the pod's name, `boot` differs at each start.
    pub fn new(writer: &str, boot: &str, cluster: &str, out: Box<dyn Write + Send>) -> Self {
        Self {
            writer: writer.to_owned(),
            boot: boot.to_owned(),
            cluster: cluster.to_owned(),
            sequence: AtomicU64::new(0),
            out: Mutex::new(out),
        }
    }

    /// Writes one line. Returns whether it was written: a mint whose intent can't be recorded must not happen.
    pub fn record(&self, event: &AuditEvent, now: Timestamp) -> bool {
        let mut out = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let line = Line {
            audit: "exeat.dev/v1",
            time: now.to_string(),
            writer: &self.writer,
            boot: &self.boot,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed),
            cluster: &self.cluster,
            event,
        };
        let Ok(mut text) = serde_json::to_vec(&line) else { return false };
        text.push(b'\n');
        let written = out.write_all(&text).and_then(|()| out.flush());
        if let Err(error) = &written {
            tracing::error!(%error, "an audit line could not be written");
        }
        written.is_ok()
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
