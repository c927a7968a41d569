//! What this installation injects: the sidecar's image, identity and size, and whom it talks to.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Settings of the installation: those of most namespaces, and where some differ.
#[derive(Clone, Debug, PartialEq)]
pub struct InstallationSettings {
    /// What holds wherever nothing else is said.
    pub general: Settings,
    /// Sidecars of single namespaces, by the namespace's name.
    pub namespaces: BTreeMap<String, NamespaceSidecar>,
}

/// How the sidecar of one namespace differs. What is not said is as everywhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamespaceSidecar {
    /// User and group that it runs as.
    pub uid: Option<i64>,
    /// What the scheduler reserves.
    pub requests: Option<BTreeMap<String, Quantity>>,
    /// What it may use at most.
    pub limits: Option<BTreeMap<String, Quantity>>,
}

impl InstallationSettings {
    /// The settings of pods in a namespace.
    pub fn of(&self, namespace: &str) -> Settings {
        let mut settings = self.general.clone();
        if let Some(own) = self.namespaces.get(namespace).cloned() {
            let sidecar = &mut settings.sidecar;
            sidecar.uid = own.uid.unwrap_or(sidecar.uid);
            sidecar.requests = own.requests.unwrap_or_else(|| std::mem::take(&mut sidecar.requests));
            sidecar.limits = own.limits.unwrap_or_else(|| std::mem::take(&mut sidecar.limits));
        }
        settings
    }
}

impl From<Settings> for InstallationSettings {
    fn from(general: Settings) -> Self {
        Self { general, namespaces: BTreeMap::new() }
    }
}

/// Settings of the injection, the same for every pod of a namespace.
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
