//! How Azure is reached.

use super::NameRef;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Azure settings.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.source == 'ClientSecret') == has(self.secretRef)").message("azure.secretRef goes with source: ClientSecret"),
    validation = Rule::new("!has(self.caCert) || has(self.authority)").message("azure.caCert goes with azure.authority: the PEM roots of that host's certificate")
)]
pub struct AzureProvider {
    /// Tenant: its id, or one of its verified domains.
    #[serde(rename = "tenantID")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+)$")
    )]
    pub tenant_id: String,
    /// `https://host[:port]` that tokens come from. Default `https://login.microsoftonline.com`; a sovereign cloud has its own, for instance
    /// `https://login.microsoftonline.us`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = "^https://[^ /?#@]+$"))]
    pub authority: Option<String>,
    /// PEM roots that the authority's certificate is checked against, and no others. Default: the roots of the issuer's system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub ca_cert: Option<String>,
    /// How the issuer proves itself.
    #[serde(default)]
    pub source: AzureSource,
    /// Secret in Exeat's own namespace with `clientID` and `clientSecret` of one app registration, the only principal then; only with
    /// `source: ClientSecret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<NameRef>,
    /// Longest life of a token that is handed out, `10m` to `28h`. Default 90m, which is the most that Entra gives by default. Entra alone decides how
    /// long a token lives and can't take it back: one that lives longer is refused, and access after a session may last so much longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,9}(h|m|s))+$"))]
    pub max_token_lifetime: Option<String>,
}

/// How the issuer proves itself at Entra.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum AzureSource {
    /// By its own projected token, which the principal's federated credential trusts. No secret is kept anywhere.
    #[default]
    Federated,
    /// By a client secret from a Secret in Exeat's own namespace.
    ClientSecret,
}
