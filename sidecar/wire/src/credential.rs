//! Credentials, each as its provider gives it.

use crate::Secret;
use serde::{Deserialize, Serialize};

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
