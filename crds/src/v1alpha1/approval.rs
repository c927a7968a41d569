use super::{Enforcement, NameRef, ObjectRef, Requester, RequiredApprovals, Workload};
use crate::rules::Statement;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One gate that people decide. The controller creates it; people add to `spec.decisions`.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, KubeSchema, PartialEq)]
#[kube(
    group = "exeat.dev",
    version = "v1alpha1",
    kind = "Approval",
    plural = "approvals",
    namespaced,
    shortname = "appr",
    category = "exeat",
    status = "ApprovalStatus",
    derive = "PartialEq",
    doc = "One gate that people decide: `kubectl get approvals` is the queue.",
    selectable = ".spec.request.policyRef.name",
    selectable = ".status.phase",
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || (has(self.status) && has(self.status.phase))").message("status.phase can't be taken back"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.request.policyRef.name"),
    printcolumn(name = "For", type_ = "string", json_path = ".spec.request.workload.name"),
    printcolumn(name = "Missing", type_ = "string", json_path = ".status.missing"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Used", type_ = "integer", json_path = ".status.used"),
    printcolumn(name = "Deadline", type_ = "string", json_path = ".spec.request.deadline"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Rules", type_ = "string", json_path = ".spec.request.rules", priority = 1),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.request.principal", priority = 1),
    printcolumn(name = "Valid Until", type_ = "string", json_path = ".status.validUntil", priority = 1),
    printcolumn(name = "Digest", type_ = "string", json_path = ".spec.request.digest", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("oldSelf.decisions.all(o, self.decisions.exists(n, n.approver == o.approver))").message("decisions can't be taken back"))]
pub struct ApprovalSpec {
    /// What is asked, frozen at creation.
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.request is immutable"))]
    pub request: ApprovalRequest,
    /// What people said; one entry a person, and the only change allowed to one is from Approve to Deny. The last place is kept for a no.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["approver".into()]))]
    #[schemars(length(max = 16), extend("default" = []))]
    pub decisions: Vec<ApprovalDecision>,
}

/// What is asked of approvers.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequest {
    /// The policy.
    pub policy_ref: ObjectRef,
    /// The provider.
    pub provider_ref: NameRef,
    /// Hash of the authority asked under.
    #[schemars(length(min = 1, max = 128))]
    pub authority_hash: String,
    /// The agent's service account.
    #[schemars(length(min = 1, max = 253))]
    pub service_account: String,
    /// The workload that it is asked for: what stands above its ReplicaSets or Jobs, or the pod where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// The session that it serves, where it serves one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_ref: Option<NameRef>,
    /// The person who asked, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<Requester>,
    /// Why, as claimed by the pod's author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub justification: Option<String>,
    /// Names of the rules that ask for approval: `provider/NAME` or `policy/NAME`.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 80)))]
    pub rules: Vec<String>,
    /// The identity that would be assumed.
    #[schemars(length(min = 1, max = 2048))]
    pub principal: String,
    /// What would be allowed.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub allow: Vec<Statement>,
    /// What stays denied whatever `allow` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 256), inner(length(max = 256)))]
    pub deny: Vec<String>,
    /// `PrincipalOnly` where nothing narrower than the principal would be enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,
    /// How long each session would last.
    #[schemars(length(max = 32))]
    pub duration: String,
    /// What differs from the request of the same workload and policy that was approved last. Empty: nothing; absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16), inner(length(max = 512)))]
    pub changes: Option<Vec<String>>,
    /// Until when people may decide, RFC 3339 UTC.
    #[schemars(length(max = 64))]
    pub deadline: String,
    /// How long an approval may be used once given.
    #[schemars(length(max = 32))]
    pub valid_for: String,
    /// How many sessions an approval may open.
    #[schemars(range(min = 1, max = 1000))]
    pub uses: i32,
    /// How long a denial stands.
    #[schemars(length(max = 32))]
    pub cool_down: String,
    /// Who must approve: every entry, by distinct people.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["group".into()]))]
    #[schemars(length(min = 1, max = 16))]
    pub required: Vec<RequiredApprovals>,
    /// Least number of distinct people: two where nobody is known to answer for the workload.
    #[schemars(range(min = 1, max = 16))]
    pub minimum: i32,
    /// People who may not approve: who asked, the policy's owners, and who changed it last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub excluded: Vec<String>,
    /// SHA-256 over this request in canonical form without this field, hex; every decision repeats it.
    #[schemars(length(min = 1, max = 128))]
    pub digest: String,
}

/// One person's word.
#[derive(Clone, Debug, Deserialize, Serialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf || (oldSelf.decision == 'Approve' && self.decision == 'Deny')").message("a decision can only change from Approve to Deny"))]
pub struct ApprovalDecision {
    /// User name of the approver.
    #[schemars(length(min = 1, max = 253))]
    pub approver: String,
    /// UID of the approver, where the cluster's authentication gives one. Stamped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub uid: Option<String>,
    /// Those of the groups in `spec.request.required` that the approver is in. Stamped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    pub groups: Vec<String>,
    /// Approve or Deny.
    pub decision: Verdict,
    /// The request's digest: what exactly was decided.
    #[schemars(length(min = 1, max = 128))]
    pub digest: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub comment: Option<String>,
    /// When, RFC 3339 UTC. Stamped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub time: Option<String>,
}

/// A person's word.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No; it wins, and after the approval was used it ends what rests on it.
    Deny,
}

/// Where an approval is. All but the first two are final, save that one that expired can still be withdrawn.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash)]
pub enum ApprovalPhase {
    /// People are asked.
    #[default]
    Pending,
    /// It may be used.
    Approved,
    /// Somebody said no before it was used.
    Denied,
    /// Not enough people had decided by the deadline, or its time of use is over.
    Expired,
    /// Somebody said no after it was used.
    Withdrawn,
}

impl ApprovalPhase {
    /// Whether it stays as it is.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Approved)
    }

    /// As it is written in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Approved => "Approved",
            Self::Denied => "Denied",
            Self::Expired => "Expired",
            Self::Withdrawn => "Withdrawn",
        }
    }
}

/// What became of an approval. Written by the controller alone.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.phase) || !(oldSelf.phase in ['Denied', 'Expired', 'Withdrawn']) || self.phase == oldSelf.phase || (oldSelf.phase == 'Expired' && self.phase == 'Withdrawn')").message("a decided approval stays as it was decided"),
    validation = Rule::new("oldSelf.consumers.all(c, c in self.consumers)").message("status.consumers only grows")
)]
pub struct ApprovalStatus {
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ApprovalPhase>,
    /// `Decided`, and `Notified`: what people were told last (Pending, Reminder, or the phase that it came to).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Who is still missing, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 20), inner(length(max = 300)))]
    pub missing: Vec<String>,
    /// When the last approval needed, or after it a denial, was seen, RFC 3339 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub decided_at: Option<String>,
    /// Until when it may be used, RFC 3339 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub valid_until: Option<String>,
    /// Until when a denial stands, RFC 3339 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub cool_down_until: Option<String>,
    /// The words that are on record, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 32), inner(length(max = 300)))]
    pub heard: Vec<String>,
    /// How many sessions it has opened.
    #[serde(default)]
    pub used: i32,
    /// UIDs of the sessions that it has opened.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 1000), inner(length(max = 64)), extend("default" = []))]
    pub consumers: Vec<String>,
}
