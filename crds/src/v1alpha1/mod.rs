//! Version `v1alpha1` of the five kinds. Field descriptions are the manual: `kubectl explain` prints them.

mod approval;
mod azure;
mod gcp;
mod hold;
mod policy;
mod provider;
mod session;
mod suggested;
mod vault;

pub use approval::*;
pub use azure::*;
pub use gcp::*;
pub use hold::*;
pub use policy::*;
pub use provider::*;
pub use session::*;
pub use suggested::*;
pub use vault::*;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names an object of a known kind in the same scope.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NameRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Names one object for good: a later object of the same name is another one.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// UID of the object.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

/// Ceilings on how many sessions may be opened.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.sessions) == has(self.window)").message("sessions and window go together"))]
pub struct Limits {
    /// Most sessions opened within `window`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub sessions: Option<i32>,
    /// Sliding window of `sessions`, for example `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,9}(h|m|s))+$"))]
    pub window: Option<String>,
    /// Most sessions that are active at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub concurrent: Option<i32>,
}

/// How much money may be spent, in US dollars.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// Most that may be spent, a decimal string with at most six places: "5.00".
    #[schemars(length(max = 32), regex(pattern = r"^[0-9]{1,12}(\.[0-9]{1,6})?$"))]
    pub limit: String,
    /// What the limit counts for.
    #[serde(default)]
    pub per: BudgetPer,
    /// Share of the limit in percent at which a warning is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub warn_at_percent: Option<i32>,
    /// What happens when the limit is reached.
    #[serde(default)]
    pub on_exceeded: BudgetAction,
}

/// What a budget counts for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum BudgetPer {
    /// Each session has the whole budget.
    #[default]
    Session,
    /// All sessions of a calendar day (UTC) share it.
    Day,
    /// All sessions of a calendar month (UTC) share it.
    Month,
}

/// What happens when a budget is used up.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum BudgetAction {
    /// The session ends.
    #[default]
    Revoke,
    /// A warning is given, nothing is stopped.
    Warn,
}

/// How many people of which group must approve.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RequiredApprovals {
    /// Group of the cluster's authentication.
    #[schemars(length(min = 1, max = 253))]
    pub group: String,
    /// How many distinct people of it.
    #[schemars(range(min = 1, max = 16))]
    pub count: i32,
}

/// Actions that need people's approval.
#[derive(Clone, Debug, Deserialize, Serialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.coolDown) || duration(self.coolDown) <= duration('720h')").message("coolDown: at most 720h"))]
pub struct ApprovalRule {
    /// Name of the rule, shown to approvers.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Action patterns; a grant that overlaps one of them needs the approvals.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256)))]
    pub actions: Vec<String>,
    /// Every entry must be met, by distinct people.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["group".into()]))]
    #[schemars(length(min = 1, max = 16))]
    pub required: Vec<RequiredApprovals>,
    /// Whether one approval serves a workload or each session needs its own.
    #[serde(default)]
    pub scope: ApprovalScope,
    /// How long a request may wait for people, for example `4h`. Default 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,9}(h|m|s))+$"))]
    pub deadline: Option<String>,
    /// How long an approval may be used once given, for example `24h`. Default 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,9}(h|m|s))+$"))]
    pub valid_for: Option<String>,
    /// How many sessions an approval may open. Default 100; with `scope: Session` always 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub uses: Option<i32>,
    /// How long a denial stands: nobody is asked for any of the same again before. Default 1h, at most 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,9}(h|m|s))+$"))]
    pub cool_down: Option<String>,
}

/// The most that one approval may be good for.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalCeiling {
    /// Most sessions that one approval may open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub uses: Option<i32>,
    /// Longest time that an approval may be used, for example `24h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,9}(h|m|s))+$"))]
    pub valid_for: Option<String>,
}

/// What one approval counts for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum ApprovalScope {
    /// All pods of one workload under one authority.
    #[default]
    Workload,
    /// One session.
    Session,
}

/// What really enforces a grant.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum Enforcement {
    /// The provider narrows the credential itself.
    Provider,
    /// The gateway holds the key and judges every call.
    Broker,
    /// The sidecar alone holds the credential and judges every call; the provider holds it to its principal.
    Sidecar,
    /// The principal is the scope: nothing narrower is enforced.
    PrincipalOnly,
}
