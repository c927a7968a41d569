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

/// A mount path as the runtime takes it: absolute, without empty, `.` and `..` parts.
pub(crate) fn mount_path(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Whether `inner` is `outer` or lies below it; both as [`mount_path`] writes them.
pub(crate) fn is_within(inner: &str, outer: &str) -> bool {
    outer == "/" || inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a text can be the name of an object (a DNS subdomain).
pub(crate) fn is_name(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label =
        |label: &str| label.starts_with(edge) && label.ends_with(edge) && label.chars().all(|c| edge(c) || c == '-');
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_mean_the_same_are_the_same() {
        for path in ["/var/run/exeat", "/var/run/exeat/", "//var/./run/exeat", "/var/run/x/../exeat", "var/run/exeat"] {
            assert_eq!(mount_path(path), "/var/run/exeat", "{path}");
        }
        assert_eq!(mount_path("/../.."), "/");
        assert!(is_within("/a/b", "/a") && is_within("/a", "/a") && is_within("/a", "/") && !is_within("/ab", "/a"));
    }
}
