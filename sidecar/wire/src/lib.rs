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

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Path of the call that returns a credential.
pub const CREDENTIAL_PATH: &str = "/v1/credential";
/// Path of the stream that carries session state.
pub const STREAM_PATH: &str = "/v1/stream";
/// Path of the call that tells what an agent used.
pub const OBSERVED_PATH: &str = "/v1/observed";
/// Most calls in one [`ObservedReport`].
pub const MAX_OBSERVED: usize = 32;
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

/// What the agent used since the last report that the issuer took.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ObservedReport {
    /// Name of the session.
    pub session: String,
    /// Whether this is the sidecar's first report of the session.
    #[serde(default)]
    pub first: bool,
    /// The calls, at most [`MAX_OBSERVED`].
    pub calls: Vec<ObservedCall>,
    /// Calls of which the sidecar had no room to keep what they were.
    #[serde(default)]
    pub dropped: u64,
}

/// Calls of one operation.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ObservedCall {
    /// Which.
    pub what: Operation,
    /// How many.
    pub calls: u32,
    /// How many of them were refused for want of rights.
    #[serde(default)]
    pub denied: u32,
    /// Whether the sidecar tells of it for the first time since its start.
    #[serde(default)]
    pub first: bool,
}

/// An operation as its provider's clients name it. Words of processes in the agent's pod: whoever reads them checks them.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(tag = "kind", rename_all = "camelCase")]
#[non_exhaustive]
pub enum Operation {
    /// An operation of an AWS service's API.
    Aws {
        /// Id of the service: `S3`, `CloudWatch Logs`.
        service: String,
        /// `GetObject`.
        operation: String,
    },
    /// A call of Vault, as it was judged.
    Vault {
        /// `read`, `list`, `write`, `patch` or `delete`.
        verb: String,
        /// The path.
        path: String,
    },
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

/// A credential in its provider's own shape.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
#[non_exhaustive]
pub enum Credential {
    /// Temporary AWS keys.
    Aws(AwsCredential),
    /// Access tokens of Entra ID.
    Azure(AzureCredential),
    /// A Kubernetes service account token.
    Kubernetes(KubernetesCredential),
    /// A token of Vault, which stays in the sidecar, and what it may be used for.
    Vault(VaultCredential),
    /// Tokens of a Google service account.
    Gcp(GcpCredential),
}

/// Temporary keys of AWS STS.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsCredential {
    /// `AccessKeyId`.
    pub access_key_id: String,
    /// `SecretAccessKey`.
    pub secret_access_key: Secret,
    /// `SessionToken`.
    pub session_token: Secret,
    /// Account number, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
}

/// Access tokens of one identity in Entra ID: one for each resource that the grant names.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AzureCredential {
    /// The tenant.
    #[serde(rename = "tenantID")]
    pub tenant_id: String,
    /// Client id of the identity.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// The tokens.
    pub tokens: Vec<AzureToken>,
}

/// An access token for one resource.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AzureToken {
    /// What it is for, for instance `https://storage.azure.com`.
    pub resource: String,
    /// The token.
    pub token: Secret,
}

/// A bound service account token and the API server it is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesCredential {
    /// `https://host[:port]` of the API server.
    pub server: String,
    /// PEM bundle that the API server's certificate is checked against.
    pub certificate_authority: String,
    /// Namespace that a client uses when none is named.
    pub namespace: String,
    /// The token.
    pub token: Secret,
}

/// A token of Vault or OpenBao. The sidecar makes the agent's calls with it and hands it to nobody.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VaultCredential {
    /// `https://host[:port]` of the server.
    pub address: String,
    /// PEM bundle that the server's certificate is checked against; none for `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<String>,
    /// Namespace of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Names the token; no secret.
    pub accessor: String,
    /// The token. None: the one that the sidecar said it holds lives on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// What the agent may do.
    pub allow: Vec<VaultRule>,
    /// What it may not, whatever `allow` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<VaultRule>,
    /// Whether calls must carry `X-Vault-Request: true`.
    pub require_request_header: bool,
}

/// Verbs on paths of Vault. A path ends in `*` or not; `+` is one whole segment.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VaultRule {
    /// `read`, `list`, `write`, `patch`, `delete`; `*` for all of them.
    pub verbs: Vec<String>,
    /// Paths.
    pub paths: Vec<String>,
}

/// Tokens of a Google service account, and what a metadata server says beside them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GcpCredential {
    /// The service account's address.
    pub email: String,
    /// Id of the project that agents are given as their own.
    pub project: String,
    /// The project's number, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_number: Option<String>,
    /// Universe domain, `googleapis.com` for Google's own cloud.
    pub universe_domain: String,
    /// Scopes of the access token.
    pub scopes: Vec<String>,
    /// The access token; none where identity tokens are all that is granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<Secret>,
    /// Identity tokens, one for each audience.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identity_tokens: Vec<GcpIdentityToken>,
}

/// An identity token for one audience.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GcpIdentityToken {
    /// Whom it is for.
    pub audience: String,
    /// The token.
    pub token: Secret,
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

/// A secret string that serializes (to the wire) and never shows in `Debug`.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes the value; it is zeroized on drop.
    pub fn new(value: impl Into<String>) -> Self {
        Self(SecretString::from(value.into()))
    }

    /// The value itself, for the one place that hands it on.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
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
