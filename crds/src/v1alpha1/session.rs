use super::{Enforcement, NameRef, ObjectRef};
use crate::rules::{Grant, Statement};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One pod's use of one policy: asked, granted, until when. Written by the controller; people may only set `spec.revoke`.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, KubeSchema, PartialEq)]
#[kube(
    group = "exeat.dev",
    version = "v1alpha1",
    kind = "CredentialSession",
    plural = "credentialsessions",
    namespaced,
    shortname = "cses",
    category = "exeat",
    status = "CredentialSessionStatus",
    derive = "PartialEq",
    doc = "One pod's use of one policy: what was asked and granted, until when, and how it ended. Never holds a secret.",
    selectable = ".spec.request.policyRef.name",
    selectable = ".spec.request.providerRef.name",
    selectable = ".spec.request.agent.pod.uid",
    selectable = ".status.phase",
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name: at most 63 characters"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.expiresAt) || (has(self.status) && has(self.status.expiresAt))").message("status.expiresAt can't be taken back"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || (has(self.status) && has(self.status.phase))").message("status.phase can't be taken back"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.request.policyRef.name"),
    printcolumn(name = "Agent", type_ = "string", json_path = ".spec.request.agent.pod.name"),
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.request.providerRef.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt"),
    printcolumn(name = "Spent", type_ = "string", json_path = ".status.spent"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Role", type_ = "string", json_path = ".status.grant.principal", priority = 1),
    printcolumn(name = "Approval", type_ = "string", json_path = ".status.approvalRef.name", priority = 1),
    printcolumn(name = "Enforcement", type_ = "string", json_path = ".status.enforcement", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(oldSelf.revoke) || has(self.revoke)").message("spec.revoke can't be taken back"))]
pub struct CredentialSessionSpec {
    /// What was asked for, frozen at creation.
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.request is immutable"))]
    pub request: SessionRequest,
    /// Set it to end the session for good. Needs the verb `revoke` on the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.revoke is write-once"))]
    pub revoke: Option<Revoke>,
}

/// What was asked for.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SessionRequest {
    /// The policy.
    pub policy_ref: ObjectRef,
    /// The provider that the policy named.
    pub provider_ref: NameRef,
    /// Hash of the authority that was asked under: the policy's spec, the provider and its binding. Another hash is another session.
    #[schemars(length(min = 1, max = 128))]
    pub authority_hash: String,
    /// Who holds it.
    pub agent: Agent,
    /// Number of this session for its pod and policy, from 1.
    #[schemars(range(min = 1))]
    pub number: i32,
    /// Of a pod that names several policies the first of them: on its first session stands which sidecar may fetch for the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub primary: Option<String>,
    /// The person who created the pod, where one did and no controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<Requester>,
    /// Public key of the holder, for sessions that no pod holds. Not built yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub holder_key: Option<String>,
    /// Less than the policy allows, where the pod asked for less (`exeat.dev/allow`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub allow: Option<Vec<Statement>>,
    /// Shorter than the policy's duration, where the pod asked for it (`exeat.dev/duration`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub duration: Option<String>,
    /// Why, as claimed by the pod's author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub justification: Option<String>,
}

/// The pod that holds a session.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Its service account.
    #[schemars(length(min = 1, max = 253))]
    pub service_account: String,
    /// The pod.
    pub pod: ObjectRef,
    /// What made the pod, where something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
}

/// What made a pod.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Kind, for example ReplicaSet or Job.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// UID.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

/// A person.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Requester {
    /// User name.
    #[schemars(length(min = 1, max = 253))]
    pub username: String,
}

/// Ends a session.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Revoke {
    /// Why, for the record.
    #[schemars(length(min = 1, max = 512))]
    pub reason: String,
}

/// What was decided and what became of it. `phase` is derived from the conditions for people and never mints anything by itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.expiresAt) || (has(self.expiresAt) && self.expiresAt <= oldSelf.expiresAt)").message("expiresAt never moves later"),
    validation = Rule::new("!has(oldSelf.phase) || !(oldSelf.phase in ['Completed', 'Failed', 'Expired', 'Revoked', 'BudgetExceeded', 'Denied']) || self.phase == oldSelf.phase").message("a session that has ended stays as it ended")
)]
pub struct CredentialSessionStatus {
    /// Where the session is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Stable code of the latest reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// `Decided`, `Approved`, `Issued`, `Ready`, `WithinBudget`, `Revoked`, `SidecarSilent`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// When it became active, RFC 3339 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub started_at: Option<String>,
    /// When it ends, RFC 3339 UTC. Set before the first credential is minted, never moved later; no credential outlives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub expires_at: Option<String>,
    /// When it ended, RFC 3339 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub ended_at: Option<String>,
    /// What was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantStatus>,
    /// What really enforces the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,
    /// What an agent can still do although the grant does not say so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16), inner(length(max = 512)))]
    pub exceptions: Vec<String>,
    /// How access ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Revocation>,
    /// Money spent, US dollars as a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub spent: Option<String>,
    /// The approval that this session waits for or rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_ref: Option<NameRef>,
    /// Share of the provider's packed policy size in use, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed_policy_percent: Option<i32>,
    /// What the issuer did. Written by the issuer alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuance: Option<Issuance>,
}

/// Where a session is. The last six are final.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Being decided, or waiting for what may come right.
    Pending,
    /// Waiting for people.
    AwaitingApproval,
    /// Credentials may be minted.
    Active,
    /// The agent finished, or its pod was deleted.
    Completed,
    /// The agent failed.
    Failed,
    /// Its time was up.
    Expired,
    /// Somebody, or a change of policy, ended it.
    Revoked,
    /// Its budget was used up.
    BudgetExceeded,
    /// Refused, and waiting can't help.
    Denied,
}

impl Phase {
    /// Whether the session has ended for good.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::AwaitingApproval | Self::Active)
    }

    /// As it is written in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::AwaitingApproval => "AwaitingApproval",
            Self::Active => "Active",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Expired => "Expired",
            Self::Revoked => "Revoked",
            Self::BudgetExceeded => "BudgetExceeded",
            Self::Denied => "Denied",
        }
    }
}

/// What was granted. The issuer computes it again at every mint and compares the digest.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GrantStatus {
    /// SHA-256 over the grant in canonical form, hex.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// The identity that is assumed.
    #[schemars(length(max = 2048))]
    pub principal: String,
    /// What may be done.
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub allow: Vec<Statement>,
    /// What is denied whatever `allow` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub deny: Vec<String>,
}

impl From<&Grant> for GrantStatus {
    fn from(grant: &Grant) -> Self {
        Self {
            digest: grant.digest(),
            principal: grant.principal.clone(),
            allow: grant.allow.clone(),
            deny: grant.deny.clone(),
        }
    }
}

/// How access ends after a revocation.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// How the provider ends it.
    pub mode: RevocationMode,
    /// Access has ended by then at the latest, RFC 3339 UTC.
    #[schemars(length(max = 64))]
    pub effective_by: String,
}

/// How a provider ends access.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum RevocationMode {
    /// The provider refuses the credential soon after we tell it.
    Immediate,
    /// A minted credential works until it expires; no new one is minted.
    ExpiryOnly,
}

/// What the issuer did.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Issuance {
    /// Identifies the latest recorded credential at its provider (an access key id, a token id); no secret.
    #[serde(default, rename = "credentialID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub credential_id: Option<String>,
    /// When the latest recorded credential expires, RFC 3339 UTC. Renewals are in audit and metrics only, so a later one may exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub expires_at: Option<String>,
    /// What is needed to revoke it, where the provider can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub handle: Option<String>,
    /// When the handle was revoked at the provider, RFC 3339 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub revoked_at: Option<String>,
    /// Who holds the pod's credentials. The record on the pod's first session counts; later sessions repeat it as it stood at their first
    /// credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// The sidecar's stream, while the session is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamRecord>,
}

/// The one start of a sidecar that may fetch credentials for its pod.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// SHA-256 of the random key that the sidecar made at its start, hex.
    #[schemars(length(min = 64, max = 64))]
    pub key: String,
    /// How often the sidecar's container had restarted when the key was bound.
    #[schemars(range(min = 0))]
    pub restarts: i32,
    /// ID of the container as kubelet had reported it by then; empty where it had not yet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub container: String,
}

/// Where a sidecar's stream is, or was last.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct StreamRecord {
    /// The issuer's pod that serves it.
    #[schemars(length(min = 1, max = 253))]
    pub replica: String,
    /// Since when it does, RFC 3339 UTC.
    #[schemars(length(max = 64))]
    pub since: String,
    /// When the stream was lost, RFC 3339 UTC. Written once the sidecar has stayed away for 20 s; gone when it is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub lost_at: Option<String>,
}
