//! What sidecars tell of the calls that their agents make.

use serde::{Deserialize, Serialize};

/// Most calls in one [`ObservedReport`].
pub const MAX_OBSERVED: usize = 32;

/// What the agent used since the last report that the issuer took.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ObservedReport {
    /// Name of the session.
    pub session: String,
    /// Whether this is the sidecar's first report of the session.
    #[serde(default)]
    pub first: bool,
    /// The calls, at most [`MAX_OBSERVED`].
    pub calls: Vec<ObservedCall>,
    /// Calls of which the sidecar had no room to keep what they were.
    #[serde(default)]
    pub dropped: u64,
}

/// Calls of one operation.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ObservedCall {
    /// Which.
    pub what: Operation,
    /// How many.
    pub calls: u32,
    /// How many of them were refused for want of rights.
    #[serde(default)]
    pub denied: u32,
    /// Whether the sidecar tells of it for the first time since its start.
    #[serde(default)]
    pub first: bool,
}

/// An operation as its provider's clients name it. Words of processes in the agent's pod: whoever reads them checks them.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(tag = "kind", rename_all = "camelCase")]
#[non_exhaustive]
pub enum Operation {
    /// An operation of an AWS service's API.
    Aws {
        /// Id of the service: `S3`, `CloudWatch Logs`.
        service: String,
        /// `GetObject`.
        operation: String,
    },
    /// A call of Vault, as it was judged.
    Vault {
        /// `read`, `list`, `write`, `patch` or `delete`.
        verb: String,
        /// The path.
        path: String,
    },
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}
