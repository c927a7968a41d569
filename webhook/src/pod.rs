//! Looking at a pod: which containers are agents, and how a place in it is named in messages.

use std::collections::BTreeMap;

use exeat_crds::names;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

/// A container with the place where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'a> {
    pub(crate) list: &'static str,
    pub(crate) container: &'a Container,
}

impl Placed<'_> {
    /// For instance `spec.containers[name=app]`.
    pub(crate) fn path(&self) -> String {
        format!("spec.{}[name={}]", self.list, self.container.name)
    }
}

/// All containers but the sidecar at its place among the init containers.
pub(crate) fn others(spec: &PodSpec) -> impl Iterator<Item = Placed<'_>> {
    let init = spec.init_containers.iter().flatten().filter(|c| c.name != names::SIDECAR);
    let init = init.map(|container| Placed { list: "initContainers", container });
    init.chain(spec.containers.iter().map(|container| Placed { list: "containers", container }))
}

/// The sidecar, or what stands at its place.
pub(crate) fn sidecar(spec: &PodSpec) -> Option<&Container> {
    spec.init_containers.iter().flatten().find(|c| c.name == names::SIDECAR)
}

/// The pod's annotations; none is the same as an empty set.
pub(crate) fn annotations(pod: &Pod) -> BTreeMap<String, String> {
    pod.metadata.annotations.clone().unwrap_or_default()
}

/// The account that the pod runs as.
pub(crate) fn service_account(spec: &PodSpec) -> &str {
    let named = spec.service_account_name.as_deref().or(spec.service_account.as_deref());
    named.filter(|name| !name.is_empty()).unwrap_or("default")
}

/// A mount path without what does not tell two of them apart.
pub(crate) fn mount_path(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}
