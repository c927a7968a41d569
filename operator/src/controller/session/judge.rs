//! Whether a pod may hold a session, judged by the controller itself: admission is not taken on trust. Pure.

use exeat_crds::authority::{self, Authority};
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::v1alpha1::{AgentCredentialPolicy, SessionRequest};
use exeat_crds::{duration, names, pod_policies};
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec, VolumeMount};
use kube::ResourceExt;

use crate::controller::pod::plan::{requester, service_account};

/// Judges a pod before its session is opened.
///
/// # Errors
/// The first thing that does not fit.
pub(super) fn judge(
    pod: &Pod,
    request: &SessionRequest,
    policy: &AgentCredentialPolicy,
    authority: &Authority,
) -> Result<(), Refused> {
    judge_again(pod, request, policy, authority)?;
    authority::covers_pod(policy, service_account(pod), pod.labels())
}

/// Judges the pod of an active session, whole or as it is cached. Its labels count once, when the session is opened: people may change
/// them.
///
/// # Errors
/// The first thing that does not fit.
pub(super) fn judge_again(
    pod: &Pod,
    request: &SessionRequest,
    policy: &AgentCredentialPolicy,
    authority: &Authority,
) -> Result<(), Refused> {
    if pod.uid().as_deref() != Some(request.agent.pod.uid.as_str()) {
        return Err(Refused::new(Reason::PodGone, format!("pod {:?} is another one now", request.agent.pod.name)));
    }
    if service_account(pod) != request.agent.service_account {
        return Err(Refused::new(Reason::PodNotCovered, "the pod runs as another service account than the session's"));
    }
    if !pod_policies::names(pod.annotations(), &request.policy_ref.name) {
        return Err(Refused::new(Reason::PodNotCovered, "the pod names another policy than the session's"));
    }
    if pod_policies::primary(pod.annotations()) != request.primary {
        return Err(Refused::new(
            Reason::NotInjected,
            "the session names another policy as the pod's first than the pod does",
        ));
    }
    if requester(pod) != request.requester {
        return Err(Refused::new(Reason::NotInjected, "the session names another person than the pod as who asks"));
    }
    injected(pod)?;
    authority::covers_account(policy, service_account(pod))?;
    let ask = authority::ask_of_pod(authority, pod.annotations())?;
    if ask.allow != request.allow || ask.duration.map(duration::format) != request.duration {
        return Err(Refused::new(
            Reason::NotInjected,
            "the session asks for something else than the pod's annotations",
        ));
    }
    Ok(())
}

/// The marks of a genuine injection that matter for identity: one native sidecar of ours, the identity volume in no other container,
/// no shared host or process namespace, and no debug container at the sidecar.
fn injected(pod: &Pod) -> Result<(), Refused> {
    let refuse = |what: &str| {
        Err(Refused::new(Reason::NotInjected, format!("{what}; the pod was not injected by Exeat's webhook as it is")))
    };
    let Some(spec) = &pod.spec else { return refuse("the pod has no spec") };
    if [spec.host_network, spec.host_pid, spec.host_ipc, spec.share_process_namespace].contains(&Some(true)) {
        return refuse("the pod shares a host or process namespace");
    }
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let sidecars: Vec<&Container> = init.iter().filter(|c| c.name == names::SIDECAR).collect();
    match sidecars[..] {
        [sidecar] if sidecar.restart_policy.as_deref() == Some("Always") && mounts_identity(sidecar) => {}
        _ => return refuse("the pod has no genuine exeat-sidecar"),
    }
    let others = init.iter().chain(&spec.containers).filter(|c| c.name != names::SIDECAR);
    if others.into_iter().any(mounts_identity) {
        return refuse("another container mounts the sidecar's identity");
    }
    let looks_in = |c: &EphemeralContainer| {
        c.target_container_name.as_deref() == Some(names::SIDECAR) || is_identity(c.volume_mounts.as_deref())
    };
    if spec.ephemeral_containers.iter().flatten().any(looks_in) {
        return refuse("a debug container looks into the sidecar");
    }
    Ok(())
}

fn mounts_identity(container: &Container) -> bool {
    is_identity(container.volume_mounts.as_deref())
}

fn is_identity(mounts: Option<&[VolumeMount]>) -> bool {
    mounts.into_iter().flatten().any(|m| m.name == names::IDENTITY_VOLUME)
}

/// What of a pod's spec is judged: the rest need not be kept.
pub fn judged_part(spec: PodSpec) -> PodSpec {
    let mounts = |mounts: Option<Vec<VolumeMount>>| {
        let kept: Vec<_> = mounts.into_iter().flatten().filter(|m| m.name == names::IDENTITY_VOLUME).collect();
        (!kept.is_empty()).then_some(kept)
    };
    let container = |c: Container| Container {
        name: c.name,
        restart_policy: c.restart_policy,
        volume_mounts: mounts(c.volume_mounts),
        ..Container::default()
    };
    let debug = |c: EphemeralContainer| EphemeralContainer {
        name: c.name,
        target_container_name: c.target_container_name,
        volume_mounts: mounts(c.volume_mounts),
        ..EphemeralContainer::default()
    };
    PodSpec {
        service_account_name: spec.service_account_name,
        host_network: spec.host_network,
        host_pid: spec.host_pid,
        host_ipc: spec.host_ipc,
        share_process_namespace: spec.share_process_namespace,
        containers: spec.containers.into_iter().map(container).collect(),
        init_containers: spec.init_containers.map(|all| all.into_iter().map(container).collect()),
        ephemeral_containers: spec.ephemeral_containers.map(|all| all.into_iter().map(debug).collect()),
        ..PodSpec::default()
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
