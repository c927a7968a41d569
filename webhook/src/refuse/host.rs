//! What would let another process of the node, or another container, at the sidecar.

use exeat_crds::reason::{Reason, Refused};
use k8s_openapi::api::core::v1::PodSpec;

use crate::message::refused;

pub(super) fn check(spec: &PodSpec) -> Vec<Refused> {
    let flags = [
        ("spec.hostNetwork", spec.host_network, "loopback would be the node's, open to every process on it"),
        ("spec.hostPID", spec.host_pid, "processes of the node could read the sidecar's memory"),
        ("spec.hostIPC", spec.host_ipc, "memory would be shared with the node"),
        (
            "spec.shareProcessNamespace",
            spec.share_process_namespace,
            "other containers could read the sidecar's memory and files under /proc",
        ),
    ];
    let flags = flags.into_iter().filter(|(_, set, _)| *set == Some(true));
    let flags = flags.map(|(field, _, problem)| refused(Reason::PodUnsuitable, field, problem, "remove it"));
    let volumes = spec.volumes.iter().flatten().filter(|volume| volume.host_path.is_some()).map(|volume| {
        refused(
            Reason::PodUnsuitable,
            format_args!("spec.volumes[name={}].hostPath", volume.name),
            "the node's files hold the tokens of all its pods",
            "use another kind of volume",
        )
    });
    flags.chain(volumes).chain(windows(spec)).collect()
}

fn windows(spec: &PodSpec) -> Option<Refused> {
    const OS_LABELS: [&str; 2] = ["kubernetes.io/os", "beta.kubernetes.io/os"];
    let selector = spec
        .node_selector
        .iter()
        .flatten()
        .find(|(key, value)| OS_LABELS.contains(&key.as_str()) && *value == "windows");
    let field = match (&spec.os, selector) {
        (Some(os), _) if os.name == "windows" => "spec.os.name".to_owned(),
        (_, Some((key, _))) => format!("spec.nodeSelector[{key}]"),
        _ => return None,
    };
    Some(refused(Reason::PodUnsuitable, field, "the sidecar runs on Linux only", "run the agent on Linux nodes"))
}
