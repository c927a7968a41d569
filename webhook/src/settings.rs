//! What this installation injects: the sidecar's image, identity and size, and whom it talks to.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Settings of the injection, the same for every pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The injected container.
    pub sidecar: SidecarSettings,
    /// Audience of identity tokens.
    pub audience: String,
    /// Where the sidecar finds the issuer, `https://host[:port]`.
    pub issuer_url: String,
}

/// Settings of the injected container.
#[derive(Clone, Debug, PartialEq)]
pub struct SidecarSettings {
    /// Image reference.
    pub image: String,
    /// Further references that count as genuine: what a mirror or a digest resolver makes of ours.
    pub accepted_images: Vec<String>,
    /// `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: String,
    /// User and group that it runs as. No other container of the pod may run as this user.
    pub uid: i64,
    /// Filter of its log output.
    pub log_level: String,
    /// What the scheduler reserves, by resource name.
    pub requests: BTreeMap<String, Quantity>,
    /// What it may use at most, by resource name.
    pub limits: BTreeMap<String, Quantity>,
}

impl SidecarSettings {
    /// Whether this is the sidecar's image, perhaps as another admission plugin has rewritten it.
    pub(crate) fn is_genuine(&self, image: Option<&str>) -> bool {
        image.is_some_and(|image| image == self.image || self.accepted_images.iter().any(|accepted| accepted == image))
    }
}
