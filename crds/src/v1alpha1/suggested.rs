use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What agents were seen to use under a policy in mode Observe.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Suggested {
    /// The provider that it was used at. Another one, or another principal, begins anew.
    #[schemars(length(max = 253))]
    pub provider: String,
    /// The identity that was used.
    #[schemars(length(max = 2048))]
    pub principal: String,
    /// When the first of it was told, RFC 3339 UTC.
    #[schemars(length(max = 64))]
    pub since: String,
    /// When the last of it was told, RFC 3339 UTC.
    #[schemars(length(max = 64))]
    pub last_seen: String,
    /// How many sessions told of something. A sidecar that was restarted counts once more.
    pub sessions: i64,
    /// What made their pods, `Kind/name`; the first sixteen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16), inner(length(max = 320)))]
    pub workloads: Vec<String>,
    /// What was used, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 128))]
    pub actions: Vec<SuggestedAction>,
    /// Calls that had no place in the list, or that a sidecar could not keep.
    #[serde(default)]
    pub omitted: i64,
}

/// One action that was used.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SuggestedAction {
    /// As a policy writes it.
    #[schemars(length(max = 256))]
    pub action: String,
    /// On what, where that is seen (Vault's paths).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub resource: Option<String>,
    /// How many calls.
    pub calls: i64,
    /// How many of them were refused for want of rights.
    #[serde(default)]
    pub denied: i64,
    /// How many pods made such calls. A sidecar that was restarted counts once more.
    pub pods: i32,
    /// When it was told of last, RFC 3339 UTC.
    #[schemars(length(max = 64))]
    pub last_seen: String,
    /// Whether it is only assumed that the call needs this action: check it.
    #[serde(default)]
    pub unsure: bool,
}
