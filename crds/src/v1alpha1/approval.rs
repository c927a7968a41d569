use super::{NameRef, ObjectRef, Requester, RequiredApprovals, Workload};
use crate::rules::Statement;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One gate that people decide. The controller creates it; people add to `spec.decisions`. Not built yet: none is created.
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
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.request.policyRef.name"),
    printcolumn(name = "Rule", type_ = "string", json_path = ".spec.request.rule"),
    printcolumn(name = "Requester", type_ = "string", json_path = ".spec.request.requester.username"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Deadline", type_ = "string", json_path = ".spec.request.deadline"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("oldSelf.decisions.all(o, self.decisions.exists(n, n.approver == o.approver))").message("decisions can't be taken back"))]
pub struct ApprovalSpec {
    /// What is asked, frozen at creation.
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.request is immutable"))]
    pub request: ApprovalRequest,
    /// What people said; one entry a person, and the only change allowed to one is from Approve to Deny.
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
    /// Hash of the authority asked under.
    #[schemars(length(min = 1, max = 128))]
    pub authority_hash: String,
    /// The workload that it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// The session that it serves, where it serves one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_ref: Option<NameRef>,
    /// The person who asked, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<Requester>,
    /// Name of the rule that asks for approval.
    #[schemars(length(min = 1, max = 63))]
    pub rule: String,
    /// The identity that would be assumed.
    #[schemars(length(min = 1, max = 2048))]
    pub principal: String,
    /// What would be allowed.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub allow: Vec<Statement>,
    /// How long each session would last.
    #[schemars(length(max = 32))]
    pub duration: String,
    /// SHA-256 over this request in canonical form, hex; every decision repeats it.
    #[schemars(length(min = 1, max = 128))]
    pub digest: String,
    /// Until when people may decide, RFC 3339 UTC.
    #[schemars(length(max = 64))]
    pub deadline: String,
    /// Until when an approval may be used, RFC 3339 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub valid_until: Option<String>,
    /// How often an approval may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub uses: Option<i32>,
    /// Who must approve: every entry, by distinct people.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["group".into()]))]
    #[schemars(length(min = 1, max = 16))]
    pub required: Vec<RequiredApprovals>,
}

/// One person's word.
#[derive(Clone, Debug, Deserialize, Serialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf || (oldSelf.decision == 'Approve' && self.decision == 'Deny')").message("a decision can only change from Approve to Deny"))]
pub struct ApprovalDecision {
    /// User name of the approver.
    #[schemars(length(min = 1, max = 253))]
    pub approver: String,
    /// UID of the approver, where the cluster's authentication gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub uid: Option<String>,
    /// Groups of the approver that count for this request.
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
    /// When, RFC 3339 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub time: Option<String>,
}

/// A person's word.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No; it wins until the approval is used.
    Deny,
}

/// What became of an approval.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalStatus {
    /// Pending, Approved, Denied or Expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub phase: Option<String>,
    /// `Decided`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// How often it has been used.
    #[serde(default)]
    pub used: i32,
}
