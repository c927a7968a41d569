use super::{ApprovalRule, Budget, Enforcement, Limits, NameRef, Probe, Suggested};
use crate::rules::Statement;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which pods hold which actions on which resources of one provider, and how long. Written by teams; a provider's guardrails are
/// never exceeded.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, KubeSchema, PartialEq)]
#[kube(
    group = "exeat.dev",
    version = "v1alpha1",
    kind = "AgentCredentialPolicy",
    plural = "agentcredentialpolicies",
    namespaced,
    shortname = "acp",
    category = "exeat",
    status = "AgentCredentialPolicyStatus",
    derive = "PartialEq",
    doc = "Which pods hold which actions on which resources of one provider and principal, how long, on what approval, and delivered how.",
    selectable = ".spec.providerRef.name",
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name: at most 63 characters"),
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.providerRef.name"),
    printcolumn(name = "Principal", type_ = "string", json_path = ".spec.principal", priority = 1),
    printcolumn(name = "Duration", type_ = "string", json_path = ".spec.session.duration"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.session) || !has(self.session.duration) || duration(self.session.duration) >= duration('5m')").message("spec.session.duration: at least 5m"),
    validation = Rule::new("!has(self.session) || !has(self.session.duration) || duration(self.session.duration) <= duration('168h')").message("spec.session.duration: at most 168h"),
    validation = Rule::new("!has(self.principalMappings) || self.principalMappings.all(m, m.serviceAccount in self.subjects.serviceAccounts)").message("spec.principalMappings: each serviceAccount must be one of spec.subjects.serviceAccounts"),
    validation = Rule::new("(has(self.mode) && self.mode == 'Observe') || (has(self.allow) && size(self.allow) > 0)").message("spec.allow: at least one statement, but in mode Observe")
)]
pub struct AgentCredentialPolicySpec {
    /// The CredentialProvider (cluster-scoped). The author needs the verb `use` on it.
    pub provider_ref: NameRef,
    /// The identity that is assumed: for AWS the ARN of a role, for Google Cloud a service account's address, for Azure a client id, for
    /// Kubernetes `system:serviceaccounts:<namespace of grants>`. `${namespace}` and `${serviceAccount}` stand for the agent's own.
    #[schemars(length(min = 1, max = 2048))]
    pub principal: String,
    /// Service accounts that act as another principal than `principal`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["serviceAccount".into()]))]
    #[schemars(length(max = 64))]
    pub principal_mappings: Vec<PrincipalMapping>,
    /// The pods that may hold it.
    pub subjects: Subjects,
    /// People who answer for this policy; they may not approve under it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub owners: Vec<Owner>,
    /// What may be done. Each statement stands alone: its actions on its resources. May be empty in mode Observe, where it narrows nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub allow: Vec<Statement>,
    /// How long.
    #[serde(default)]
    pub session: SessionSettings,
    /// Actions that need people's approval, beside those that the provider's binding names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 32))]
    pub approval_rules: Vec<ApprovalRule>,
    /// Ceilings on sessions. Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Ceiling on money. Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// How the agent gets at it. `Broker` is not built yet.
    #[serde(default)]
    pub delivery: Delivery,
    /// `Enforce` grants what `allow` says. `Observe` grants all that the principal may within the binding's ceiling, and gathers in
    /// `status.suggested` what is used of it; the binding must allow that (`allowObserve`), and `acceptEnforcement` must be PrincipalOnly.
    #[serde(default)]
    pub mode: Mode,
    /// Say `PrincipalOnly` to accept that nothing narrower than the principal is enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_enforcement: Option<Enforcement>,
}

/// The principal of one service account.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PrincipalMapping {
    /// One of `subjects.serviceAccounts`.
    #[schemars(length(min = 1, max = 253))]
    pub service_account: String,
    /// The identity that is assumed for its pods, written as `principal` is.
    #[schemars(length(min = 1, max = 2048))]
    pub principal: String,
}

/// Which pods are covered. Judged once, when the pod is created.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Subjects {
    /// Service accounts of the policy's namespace. Whoever may create pods there can run as them: the namespace is the boundary.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253)))]
    pub service_accounts: Vec<String>,
    /// Narrows further by the pod's labels: a convenience, not a boundary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
}

/// A person who answers for a policy.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// User name as the cluster's authentication gives it.
    #[schemars(length(min = 1, max = 253))]
    pub user: String,
}

/// How long sessions and credentials last.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SessionSettings {
    /// How long a session lasts, `5m` to `168h`. Default 8h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,9}(h|m|s))+$"))]
    pub duration: Option<String>,
    /// How long each credential lasts; it is renewed at half of that. Default 30m. AWS: 15m at least. Azure: how long each is served, since Entra
    /// alone decides how long it lives.
    #[serde(default, rename = "credentialTTL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,9}(h|m|s))+$"))]
    pub credential_ttl: Option<String>,
    /// What happens to a pod that outlives its session: `Renew` decides afresh and opens the next session, `Stop` ends it for good.
    #[serde(default)]
    pub on_expiry: OnExpiry,
    /// How long a sidecar goes on serving without contact to any issuer. Default: until the credential expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,9}(h|m|s))+$"))]
    pub offline_grace: Option<String>,
}

/// What happens when a session expires and its pod lives on.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum OnExpiry {
    /// The next session is opened by a fresh decision.
    #[default]
    Renew,
    /// No further session for this pod.
    Stop,
}

/// How an agent gets at what it is granted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum Delivery {
    /// Short-lived credentials on the pod's loopback, in the SDK's own protocol.
    #[default]
    Metadata,
    /// Calls go through the gateway; no credential is in the pod. Not built yet.
    Broker,
}

/// Whether a policy enforces or learns.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum Mode {
    /// Grants what it says.
    #[default]
    Enforce,
    /// Grants what the binding lets, and gathers what is used.
    Observe,
}

/// What is known of a policy.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AgentCredentialPolicyStatus {
    /// `Ready`: the principal was assumed once with this very policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Generation that the conditions speak of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Hash of all that gives this policy its authority: its own spec, the provider and the binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub authority_hash: Option<String>,
    /// What really enforces the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,
    /// What an agent can still do although the grant does not say so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16), inner(length(max = 512)))]
    pub exceptions: Vec<String>,
    /// What the issuer saw when it last assumed the principal. Written by the issuer alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// What agents were seen to use, in mode Observe. Told by their pods, so take it for a suggestion; nothing applies it. Written by the
    /// issuer alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggested: Option<Suggested>,
}
