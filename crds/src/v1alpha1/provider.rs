use super::{ApprovalCeiling, ApprovalRule, Budget, Enforcement, GcpProvider, Limits, NameRef};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How Exeat reaches one account, project, tenant, Vault, cluster or API, and the guardrails of the platform team:
/// which namespaces may use which principals, up to which actions and how long. Written by platform admins.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, KubeSchema, PartialEq)]
#[kube(
    group = "exeat.dev",
    version = "v1alpha1",
    kind = "CredentialProvider",
    plural = "credentialproviders",
    shortname = "cprov",
    category = "exeat",
    status = "CredentialProviderStatus",
    derive = "PartialEq",
    doc = "How Exeat reaches one account, project, tenant, Vault, cluster or API, and the platform team's guardrails over its use.",
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name: at most 63 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Identity", type_ = "string", json_path = ".status.probe.identity"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.aws), has(self.gcp), has(self.azure), has(self.vault), has(self.kubernetes), has(self.http)].filter(x, x).size() == 1").message("exactly one of aws, gcp, azure, vault, kubernetes, http must be set")
)]
pub struct CredentialProviderSpec {
    /// AWS or an S3-compatible service with an STS endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsProvider>,
    /// Google Cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcp: Option<GcpProvider>,
    /// Microsoft Azure. Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureProvider>,
    /// HashiCorp Vault or OpenBao.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultProvider>,
    /// A Kubernetes API server; by default the one Exeat runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesProvider>,
    /// An HTTP API behind the gateway. Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpProvider>,
    /// Who may use which principals, and how far. A namespace and principal that no binding names is refused.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 64))]
    pub bindings: Vec<Binding>,
}

/// AWS settings.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.source == 'Secret') == has(self.secretRef)").message("aws.secretRef goes with source: Secret"),
    validation = Rule::new("(self.source == 'WebIdentity') == has(self.roleARN)").message("aws.roleARN goes with source: WebIdentity")
)]
pub struct AwsProvider {
    /// Region of the STS endpoint, and the one that agents are given.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[a-z0-9-]+$"))]
    pub region: String,
    /// Another STS endpoint than the region's own: `https://…` (or `http://…` for a service inside the cluster).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = "^https?://[^ /?#@]+(/[^ ?#]*)?$"))]
    pub endpoint: Option<String>,
    /// Where the issuer takes its own identity from.
    #[serde(default)]
    pub source: AwsSource,
    /// Secret in Exeat's own namespace with `accessKeyID` and `secretAccessKey`; only with `source: Secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<NameRef>,
    /// The role that the issuer's own token assumes first; only with `source: WebIdentity`. Sessions are then chained: 1 h at most.
    #[serde(default, rename = "roleARN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = "^arn:[^:]+:(iam|minio:iam)::?[^ ]*$"))]
    pub role_arn: Option<String>,
    /// `ExternalId` sent with every AssumeRole.
    #[serde(default, rename = "externalID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224), regex(pattern = r"^[\w+=,.@:/-]*$"))]
    pub external_id: Option<String>,
    /// Send session tags (`exeat:cluster`, `exeat:namespace`, `exeat:service-account`, `exeat:policy`, `exeat:session`). The role's trust policy
    /// must then allow `sts:TagSession`.
    #[serde(default)]
    pub session_tags: bool,
    /// Send `SourceIdentity` (`namespace.serviceaccount`). The role's trust policy must then allow `sts:SetSourceIdentity`.
    #[serde(default)]
    pub source_identity: bool,
    /// What the service understands of session policies.
    #[serde(default)]
    pub dialect: AwsDialect,
}

/// Where the issuer's own AWS identity comes from.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum AwsSource {
    /// The SDK's default chain: environment, IRSA, EKS Pod Identity, instance role.
    #[default]
    Ambient,
    /// A Secret in Exeat's own namespace.
    Secret,
    /// AssumeRoleWithWebIdentity by the issuer's own projected token.
    WebIdentity,
}

/// Dialect of session policies.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum AwsDialect {
    /// AWS itself.
    #[default]
    #[serde(rename = "AWS")]
    Aws,
    /// MinIO, Ceph and the like: S3 actions only, no `NotAction`.
    S3Compatible,
}

/// Azure settings.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AzureProvider {
    /// Tenant id.
    #[serde(rename = "tenantID")]
    #[schemars(length(min = 1, max = 64))]
    pub tenant_id: String,
    /// Authority host of a sovereign cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub authority: Option<String>,
}

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

/// Kubernetes settings.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesProvider {
    /// `https://host[:port]` that agents are pointed at. Default: the cluster's own API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = "^https://[^ /?#@]+$"))]
    pub server: Option<String>,
}

/// HTTP API settings.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HttpProvider {
    /// Secret in Exeat's own namespace with the key and the hosts that it may be sent to.
    pub secret_ref: NameRef,
}

/// One guardrail: these namespaces may use these principals, so far and no further.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// Name of the binding, shown in refusals.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Namespaces served; `*` and `?` are wildcards.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 63), regex(pattern = "^[a-z0-9*?-]+$")))]
    pub namespaces: Vec<String>,
    /// Principals that may be used, as patterns. `${namespace}` and `${serviceAccount}` stand for the agent's own.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 2048)))]
    pub principals: Vec<String>,
    /// Ceiling: every action that a policy allows must be within one of these patterns.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 256)))]
    pub max_actions: Vec<String>,
    /// Action patterns that are denied whatever a policy allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 256), inner(length(min = 1, max = 256)))]
    pub deny: Vec<String>,
    /// Actions that need people's approval, whatever a policy's own rules say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 32))]
    pub approval_rules: Vec<ApprovalRule>,
    /// The most that an approval may be good for: a rule beyond it makes its policy not Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_ceiling: Option<ApprovalCeiling>,
    /// Longest session, for example `24h`. Default 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,9}(h|m|s))+$"))]
    pub max_duration: Option<String>,
    /// Ceilings on sessions. Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Ceiling on money. Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Least enforcement: `Provider` refuses policies that only their principal bounds. Default PrincipalOnly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_enforcement: Option<Enforcement>,
}

/// What is known of a provider.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialProviderStatus {
    /// `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Generation that the conditions speak of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What the issuer saw when it last tried. Written by the issuer alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
}

/// The issuer's last try against a provider.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Hash of what was tried: a probe of an older spec counts for nothing.
    #[schemars(length(max = 128))]
    pub hash: String,
    /// Whether it worked.
    pub ok: bool,
    /// Stable reason code.
    #[schemars(length(max = 128))]
    pub reason: String,
    /// What was seen, for people.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// When, RFC 3339 UTC.
    #[schemars(length(max = 64))]
    pub time: String,
    /// The identity that the provider saw, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub identity: Option<String>,
    /// Whether the issuer's own identity is itself an assumed role: sessions then last 1 h at most (AWS role chaining).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chained: Option<bool>,
    /// Share of the provider's packed policy size in use, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed_policy_percent: Option<i32>,
}
