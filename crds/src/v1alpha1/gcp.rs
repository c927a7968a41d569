//! How Google Cloud is reached.

use super::NameRef;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Google Cloud settings.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.source == 'Secret') == has(self.secretRef)").message("gcp.secretRef goes with source: Secret"),
    validation = Rule::new("(self.source == 'WorkloadIdentity') == has(self.workloadIdentityProvider)").message("gcp.workloadIdentityProvider goes with source: WorkloadIdentity")
)]
pub struct GcpProvider {
    /// Project id that agents are given as their own.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z][a-z0-9.:-]*[a-z0-9]$"))]
    pub project: String,
    /// The project's number; gcloud asks the metadata server for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), regex(pattern = "^[0-9]+$"))]
    pub project_number: Option<String>,
    /// Where the issuer takes its own identity from.
    #[serde(default)]
    pub source: GcpSource,
    /// Secret in Exeat's own namespace with `key.json`, the key file of a service account; only with `source: Secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<NameRef>,
    /// `projects/<number>/locations/global/workloadIdentityPools/<pool>/providers/<provider>`, which trusts the issuer's own token; only with
    /// `source: WorkloadIdentity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 512),
        regex(pattern = "^projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+/providers/[a-z0-9-]+$")
    )]
    pub workload_identity_provider: Option<String>,
    /// Service accounts that stand between the issuer's identity and the principal, first to last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(
        length(max = 4),
        inner(length(min = 1, max = 256), regex(pattern = "^[a-z0-9][a-z0-9.-]*@[a-z0-9][a-z0-9.-]*[.][a-z]+$"))
    )]
    pub delegates: Vec<String>,
    /// OAuth scopes of the tokens that are handed out, whatever a client asks for. Default: `https://www.googleapis.com/auth/cloud-platform`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256), regex(pattern = "^[!-~]+$")))]
    pub scopes: Vec<String>,
    /// Universe domain of another cloud than Google's own. Default `googleapis.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = "^[a-z0-9-]+([.][a-z0-9-]+)+$"))]
    pub universe_domain: Option<String>,
    /// Other addresses than those of the universe domain: private endpoints, tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<GcpEndpoints>,
}

/// Where the issuer's own Google identity comes from.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum GcpSource {
    /// The metadata server where the issuer runs: GKE with Workload Identity, Compute Engine.
    #[default]
    Ambient,
    /// A key file in a Secret of Exeat's own namespace.
    Secret,
    /// Workload identity federation by the issuer's own projected token.
    WorkloadIdentity,
}

/// Addresses of Google's services, `https://host[:port]` (`http://…` for tests).
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GcpEndpoints {
    /// IAM Service Account Credentials API. Default `https://iamcredentials.<universe domain>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = "^https?://[^ /?#@]+$"))]
    pub iam_credentials: Option<String>,
    /// Security Token Service. Default `https://sts.<universe domain>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = "^https?://[^ /?#@]+$"))]
    pub sts: Option<String>,
    /// Where a key file's signature becomes a token; its path is `/token`. Default `https://oauth2.<universe domain>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = "^https?://[^ /?#@]+$"))]
    pub oauth2: Option<String>,
    /// The metadata server of `source: Ambient`. Default `http://metadata.google.internal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = "^https?://[^ /?#@]+$"))]
    pub metadata: Option<String>,
}
