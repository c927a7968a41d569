//! Google's metadata server by its own name, for clients that can't be told another: the name leads to loopback, and the sidecar may listen on port 80.

use k8s_openapi::api::core::v1::{HostAlias, PodSpec, Sysctl};

/// The names, as clients write them.
pub(crate) const METADATA_HOSTS: [&str; 2] = ["metadata.google.internal", "metadata"];
/// Where they lead.
pub(crate) const LOOPBACK: &str = "127.0.0.1";
/// A safe sysctl, of the pod's own network: from which port on no capability is needed to listen.
pub(crate) const UNPRIVILEGED_PORTS: &str = "net.ipv4.ip_unprivileged_port_start";
const FIRST: &str = "80";

/// Puts name and sysctl into a pod that has them not yet.
pub(super) fn place(spec: &mut PodSpec) {
    let aliases = spec.host_aliases.get_or_insert_default();
    let hosts = METADATA_HOSTS.map(str::to_owned).to_vec();
    let ours = HostAlias { ip: LOOPBACK.to_owned(), hostnames: Some(hosts) };
    if !aliases.contains(&ours) {
        aliases.push(ours);
    }
    let sysctls = spec.security_context.get_or_insert_default().sysctls.get_or_insert_default();
    if !sysctls.iter().any(|sysctl| sysctl.name == UNPRIVILEGED_PORTS) {
        sysctls.push(Sysctl { name: UNPRIVILEGED_PORTS.to_owned(), value: FIRST.to_owned() });
    }
}
