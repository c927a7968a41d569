//! What sidecar and issuer say to each other. Plain JSON over TLS; the sidecar proves itself by its projected
//! service account token in `Authorization: Bearer`, and tells its start from another one by [`HOLDER_HEADER`].
//!
//! | call | answer |
//! |---|---|
//! | `POST /v1/credential` with [`CredentialRequest`] | 200 [`CredentialResponse`], else a status of 4xx or 5xx and [`Refusal`] |
//! | `POST /v1/observed` with [`ObservedReport`] | 204, else [`Refusal`] |
//! | `GET /v1/stream` | 200, one [`StreamLine`] a line (`application/x-ndjson`), open until either side leaves |
//!
//! A sidecar that serves several policies names them: the one in each request for a credential, all of them for its stream
//! ([`POLICIES_HEADER`]), whose lines then say which they are about. One that serves one policy names none.
//!
//! Unknown fields are ignored and unknown message types are skipped, so that an issuer may be two minor versions
//! newer or older than a sidecar.

mod credential;
mod observed;
mod secret;

pub use credential::{
    AwsCredential, AzureCredential, AzureToken, Credential, GcpCredential, GcpIdentityToken, KubernetesCredential,
    VaultCredential, VaultRule,
};
pub use observed::{MAX_OBSERVED, ObservedCall, ObservedReport, Operation};
pub use secret::Secret;
use serde::{Deserialize, Serialize};

/// Path of the call that returns a credential.
pub const CREDENTIAL_PATH: &str = "/v1/credential";
/// Path of the stream that carries session state.
pub const STREAM_PATH: &str = "/v1/stream";
/// Path of the call that tells what an agent used.
pub const OBSERVED_PATH: &str = "/v1/observed";
/// Header with the holder key: a random value made at each sidecar start, hex, 32 bytes. Two live keys for one pod are refused.
pub const HOLDER_HEADER: &str = "x-exeat-holder";
/// Header of the stream's opening: the policies that the sidecar serves, separated by commas. Absent where it is one.
pub const POLICIES_HEADER: &str = "x-exeat-policies";

/// Asks for the credential of the calling pod's session.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialRequest {
    /// Version of the calling sidecar, for logs and skew checks.
    #[serde(default)]
    pub sidecar_version: String,
    /// The credential that the sidecar holds, by what names it at its provider ([`VaultCredential::accessor`]): it may be renewed in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// The policy that is meant, of a pod that holds several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// A minted credential and what the sidecar must know to serve and renew it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialResponse {
    /// Name of the session, as `kubectl get credentialsessions` shows it.
    pub session: String,
    /// Name of the policy.
    pub policy: String,
    /// Digest of the grant that the credential was minted under, as in [`StreamMessage::Active`]. Empty: an issuer that
    /// does not tell; the sidecar then takes the digest that the stream names first.
    #[serde(default)]
    pub digest: String,
    /// When the credential itself ends, RFC 3339 UTC.
    pub expires_at: String,
    /// When the session ends: no credential outlives it. RFC 3339 UTC.
    pub session_expires_at: String,
    /// Seconds without contact to any issuer after which the sidecar stops serving, at most the credential's expiry.
    pub offline_grace_seconds: u64,
    /// Whether the policy is in mode Observe: the sidecar tells what is used ([`ObservedReport`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observe: bool,
    /// The credential.
    pub credential: Credential,
}

/// Why there is no credential. `code` is stable and in CamelCase, `message` is for people and names the fix.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Stable reason code, the same as in the session's condition.
    pub code: String,
    /// One sentence for people.
    pub message: String,
    /// Whether waiting may help. `false`: the sidecar answers its SDKs with 4xx at once.
    #[serde(default)]
    pub retryable: bool,
    /// Seconds to wait before the next try, where waiting may help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
    /// Name of the session, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// [`Refusal::code`] while people are asked: it may be hours until they decide, and agents that can say so should start.
pub const APPROVAL_PENDING: &str = "ApprovalPending";

/// One line of the stream: a message, and of which policy it speaks where the sidecar has named several. Heartbeats speak of none.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct StreamLine {
    /// Name of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// What is said.
    #[serde(flatten)]
    pub message: StreamMessage,
}

/// What a line of the stream says.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum StreamMessage {
    /// Sent at least every 10 s: the issuer is there and its view of sessions is fresh.
    Heartbeat,
    /// The session may be served: fetch now if nothing is held, or if `session` differs from what is held.
    Active {
        /// Name of the session.
        session: String,
        /// Digest of the grant. A credential that was minted under another digest must be fetched again.
        digest: String,
    },
    /// No session yet, or one that waits. What is held of an earlier session must no longer be served.
    Waiting(Refusal),
    /// The session has ended or may not be served: drop what is held, answer with this refusal.
    Stopped(Refusal),
    /// A type this version does not know.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_credential_hides_its_secrets() {
        let credential = Credential::Aws(AwsCredential {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Secret::new("very-secret"),
            session_token: Secret::new("very-token"),
            account_id: None,
        });
        let shown = format!("{credential:?}");
        assert!(!shown.contains("very-secret") && !shown.contains("very-token"), "{shown}");
    }

    #[test]
    fn messages_of_a_newer_issuer_are_skipped() {
        let message: StreamMessage = serde_json::from_str(r#"{"type":"somethingNew"}"#).unwrap();
        assert_eq!(message, StreamMessage::Unknown);
    }

    #[test]
    fn other_releases_are_understood_both_ways() {
        let bare: CredentialRequest = serde_json::from_str("{}").unwrap();
        assert_eq!(bare, CredentialRequest::default());
        let newer = r#"{"sidecarVersion":"0.9.0","somethingNew":{"a":[1]}}"#;
        assert_eq!(serde_json::from_str::<CredentialRequest>(newer).unwrap().sidecar_version, "0.9.0");
        // As the first release's issuer writes it, with a field that is none of ours.
        let older = r#"{"session":"s","policy":"p","expiresAt":"2026-01-01T00:00:00Z","sessionExpiresAt":"2026-01-01T00:00:00Z",
            "offlineGraceSeconds":60,"credential":{"kind":"kubernetes","server":"https://x","certificateAuthority":"pem",
            "namespace":"n","token":"t","later":true}}"#;
        let response: CredentialResponse = serde_json::from_str(older).unwrap();
        assert_eq!((response.digest.as_str(), response.offline_grace_seconds), ("", 60));
        let refusal: Refusal = serde_json::from_str(r#"{"code":"SessionRevoked","message":"m"}"#).unwrap();
        assert!(!refusal.retryable && refusal.retry_after_seconds.is_none() && refusal.session.is_none());
    }

    #[test]
    fn a_line_of_one_policy_is_the_message_alone_and_of_several_names_its_own() {
        let message = StreamMessage::Active { session: "s".into(), digest: "d".into() };
        let alone = serde_json::to_string(&StreamLine { policy: None, message: message.clone() }).unwrap();
        assert_eq!(alone, serde_json::to_string(&message).unwrap(), "as every release before has read it");
        let named = StreamLine { policy: Some("p".into()), message: message.clone() };
        let line = serde_json::to_string(&named).unwrap();
        assert_eq!(serde_json::from_str::<StreamLine>(&line).unwrap(), named);
        assert_eq!(serde_json::from_str::<StreamMessage>(&line).unwrap(), message, "an older sidecar skips the name");
        for line in [r#"{"type":"heartbeat"}"#, r#"{"type":"later","policy":"p","a":[1]}"#] {
            let read: StreamLine = serde_json::from_str(line).unwrap();
            assert!(matches!(read.message, StreamMessage::Heartbeat | StreamMessage::Unknown), "{line}");
        }
    }

    #[test]
    fn stopped_is_one_flat_object() {
        let refusal = Refusal {
            code: "SessionRevoked".into(),
            message: "revoked".into(),
            retryable: false,
            retry_after_seconds: None,
            session: Some("s-1".into()),
        };
        let line = serde_json::to_string(&StreamMessage::Stopped(refusal.clone())).unwrap();
        assert_eq!(
            line,
            r#"{"type":"stopped","code":"SessionRevoked","message":"revoked","retryable":false,"session":"s-1"}"#
        );
        assert_eq!(serde_json::from_str::<StreamMessage>(&line).unwrap(), StreamMessage::Stopped(refusal));
    }

    #[test]
    fn a_report_is_read_as_it_is_written_and_what_is_new_is_skipped() {
        let text = r#"{"session":"s","calls":[{"what":{"kind":"aws","service":"S3","operation":"GetObject"},"calls":2},
            {"what":{"kind":"gcp","method":"x"},"calls":1,"later":true}]}"#;
        let report: ObservedReport = serde_json::from_str(text).unwrap();
        assert_eq!(report.calls[1].what, Operation::Unknown);
        assert!(!report.first && report.dropped == 0 && report.calls[0].denied == 0);
        let again: ObservedReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(again, report);
    }
}
