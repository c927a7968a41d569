//! How Vault is reached.

use super::NameRef;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Vault settings.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.address.startsWith('https://') == has(self.caCert)").message("vault.caCert goes with an https address: the PEM roots of the server's certificate")
)]
pub struct VaultProvider {
    /// `https://host[:port]` of the server, for the issuer and for the pods' sidecars (`http://…` for tests).
    #[schemars(length(min = 1, max = 512), regex(pattern = "^https?://[^ /?#@]+$"))]
    pub address: String,
    /// PEM roots that the server's certificate is checked against, and no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub ca_cert: Option<String>,
    /// Namespace of the server in which the issuer logs in and makes tokens; agents can't name another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$"))]
    pub namespace: Option<String>,
    /// How the issuer logs in.
    pub auth: VaultAuth,
    /// How many calls each token is good for. Default: as many as its time allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub token_uses: Option<i32>,
    /// Whether the sidecar demands `X-Vault-Request: true`, which Vault's clients send and other programs, when tricked into a call, do not.
    #[serde(default = "demanded")]
    pub require_request_header: bool,
}

fn demanded() -> bool {
    true
}

/// How the issuer logs in at Vault.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.kubernetes), has(self.appRole), has(self.token)].filter(x, x).size() == 1").message("exactly one of kubernetes, appRole, token must be set")
)]
pub struct VaultAuth {
    /// By the issuer's own projected token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<VaultKubernetesAuth>,
    /// By an AppRole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_role: Option<VaultAppRoleAuth>,
    /// By a token that somebody else keeps alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<VaultTokenAuth>,
}

/// Login by auth method `kubernetes`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VaultKubernetesAuth {
    /// The auth method's role for the issuer.
    #[schemars(length(min = 1, max = 128))]
    pub role: String,
    /// Where the auth method is mounted. Default `kubernetes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$"))]
    pub mount: Option<String>,
}

/// Login by auth method `approle`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VaultAppRoleAuth {
    /// Secret in Exeat's own namespace with `roleID` and `secretID`.
    pub secret_ref: NameRef,
    /// Where the auth method is mounted. Default `approle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$"))]
    pub mount: Option<String>,
}

/// A token as it is.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VaultTokenAuth {
    /// Secret in Exeat's own namespace with `token`.
    pub secret_ref: NameRef,
}
