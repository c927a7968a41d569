//! What would let a container of the pod out of its confinement, or into the sidecar's.

use exeat_crds::reason::{Reason, Refused};
use k8s_openapi::api::core::v1::PodSpec;

use crate::inject::normal_capability;
use crate::message::refused;
use crate::pod::{Placed, others};

/// With these a container reads other processes' memory or the traffic on loopback.
const CAPABILITIES: [&str; 5] = ["ALL", "SYS_PTRACE", "SYS_ADMIN", "NET_ADMIN", "NET_RAW"];

pub(super) fn check(spec: &PodSpec, sidecar_uid: i64) -> Vec<Refused> {
    let containers = others(spec).flat_map(|placed| container(placed, sidecar_uid));
    containers.chain(pod_user(spec, sidecar_uid)).collect()
}

fn container(placed: Placed<'_>, sidecar_uid: i64) -> Vec<Refused> {
    let Some(context) = &placed.container.security_context else { return Vec::new() };
    let path = format!("{}.securityContext", placed.path());
    let mut problems = Vec::new();
    if context.privileged == Some(true) {
        let problem = "a privileged container can read the sidecar's memory";
        problems.push(refused(Reason::PodUnsuitable, format_args!("{path}.privileged"), problem, "remove it"));
    }
    let added = context.capabilities.iter().flat_map(|capabilities| capabilities.add.iter().flatten());
    for capability in added.filter(|added| CAPABILITIES.contains(&normal_capability(added).as_str())) {
        problems.push(refused(
            Reason::PodUnsuitable,
            format_args!("{path}.capabilities.add"),
            format_args!("with {capability} the container could read the sidecar's memory or its traffic"),
            "remove it",
        ));
    }
    if context.run_as_user == Some(sidecar_uid) {
        problems.push(same_user(&format!("{path}.runAsUser"), sidecar_uid));
    }
    problems
}

/// The pod's user concerns those containers that name none of their own.
fn pod_user(spec: &PodSpec, sidecar_uid: i64) -> Option<Refused> {
    let user = spec.security_context.as_ref()?.run_as_user?;
    let inherited = others(spec)
        .any(|placed| placed.container.security_context.as_ref().and_then(|context| context.run_as_user).is_none());
    (user == sidecar_uid && inherited).then(|| same_user("spec.securityContext.runAsUser", sidecar_uid))
}

fn same_user(field: &str, uid: i64) -> Refused {
    refused(
        Reason::PodUnsuitable,
        field,
        format_args!("{uid} is the user of the sidecar, whose files would be open to this container"),
        "choose another user, or ask a platform admin to give the sidecar another one (sidecar.uid or sidecar.namespaces of the chart)",
    )
}
