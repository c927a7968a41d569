//! Whether a pod may hold a session, judged by the controller itself: admission is not taken on trust. Pure.

use exeat_crds::authority::{self, Authority};
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::v1alpha1::{AgentCredentialPolicy, SessionRequest};
use exeat_crds::{duration, names};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;

use crate::controller::pod::plan::{requester, service_account};

/// Judges the whole pod against the session's request.
///
/// # Errors
/// The first thing that does not fit.
pub(super) fn judge(
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
    if pod.annotations().get(names::POLICY) != Some(&request.policy_ref.name) {
        return Err(Refused::new(Reason::PodNotCovered, "the pod names another policy than the session's"));
    }
    if requester(pod) != request.requester {
        return Err(Refused::new(Reason::NotInjected, "the session names another person than the pod as who asks"));
    }
    injected(pod)?;
    authority::covers_pod(policy, service_account(pod), pod.labels())?;
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
/// no shared host or process namespace.
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
    Ok(())
}

fn mounts_identity(container: &Container) -> bool {
    container.volume_mounts.iter().flatten().any(|m| m.name == names::IDENTITY_VOLUME)
}
