//! Why a pod is not there, or does not start: what Kubernetes told of it. Pure.

use super::facts::{Facts, Look, Told};
use super::gate::Gate;
use exeat_crds::names;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, PodStatus};
use kube::ResourceExt;

const GATE: &str = "start-up";

/// The gate of creation, and that of start-up.
pub(super) fn gates(facts: &Facts) -> Vec<Gate> {
    if facts.live { vec![started(facts)] } else { vec![created(facts)] }
}

fn created(facts: &Facts) -> Gate {
    const GATE: &str = "creation";
    let events = match &facts.events {
        Look::Found(events) => events,
        Look::Unreadable(why) => return Gate::unknown(GATE, why),
        _ => return Gate::unknown(GATE, "Events were not read"),
    };
    match events.iter().rev().find(|event| event.reason == "FailedCreate") {
        Some(event) => refused(event),
        None => Gate::unknown(
            GATE,
            "there is no pod, and Kubernetes tells no reason: is it scaled to zero, suspended, or not due yet?",
        ),
    }
}

/// What kept a workload's pod from being created.
fn refused(event: &Told) -> Gate {
    const GATE: &str = "creation";
    let note = &event.note;
    let said = note.as_str();
    let fail = |reason: &str, fix: &str| Gate::fail(GATE, reason, said, fix);
    if said.contains("exceeded quota") {
        let fix = "raise the ResourceQuota that the message names, or ask for less; the sidecar asks for the chart's sidecar.resources on top of the agent";
        return fail("Quota", fix);
    }
    if said.contains("must specify limits") || said.contains("must specify requests") || said.contains("failed quota") {
        return fail(
            "Quota",
            "a quota demands requests and limits of every container: set the agent's, and the chart's sidecar.resources",
        );
    }
    if said.contains("violates PodSecurity") {
        return fail(
            "PodSecurity",
            "set what the message names in the agent's securityContext (the sidecar keeps to `restricted` by itself), or let the namespace enforce less",
        );
    }
    if said.contains("failed calling webhook") && said.contains("exeat.dev") {
        return fail(
            "WebhookUnavailable",
            "annotated pods are refused while our webhook is away: `kubectl exeat doctor` tells why it is",
        );
    }
    if said.contains("denied the request") && said.contains("exeat.dev") {
        return fail("", "the message is the webhook's: mend what it names in the workload's template");
    }
    if said.contains("serviceaccount") && said.contains("not found") {
        return fail("", "create the service account that the message names");
    }
    fail(&event.reason, "mend what the message names; Kubernetes tries again by itself")
}

fn started(facts: &Facts) -> Gate {
    let Some(status) = &facts.pod.status else { return Gate::unknown(GATE, "the pod has no status yet") };
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        let phase = status.phase.as_deref().unwrap_or_default();
        return Gate::ok(GATE, format!("the pod has ended ({phase})"));
    }
    if let Some(gate) = unscheduled(status) {
        return gate;
    }
    let of_pod = |list: &Option<Vec<ContainerStatus>>| list.clone().unwrap_or_default();
    let statuses: Vec<ContainerStatus> =
        of_pod(&status.init_container_statuses).into_iter().chain(of_pod(&status.container_statuses)).collect();
    if let Some(gate) = statuses.iter().find_map(|container| broken(container, facts)) {
        return gate;
    }
    if let Some(gate) = volumes(facts) {
        return gate;
    }
    let sidecar = statuses.iter().find(|container| container.name == names::SIDECAR);
    match sidecar {
        Some(container) if container.started == Some(true) => {
            Gate::ok(GATE, "the sidecar runs and has told the agent to begin")
        }
        Some(container) if container.state.as_ref().is_some_and(|state| state.running.is_some()) => Gate::warn(
            GATE,
            "",
            "the sidecar runs and waits for its first credential, or for word that there is none",
            "the session's gate below tells what it waits for; if that is open, look at `kubectl logs POD -c exeat-sidecar`",
        ),
        _ => Gate::unknown(GATE, "the sidecar has not begun yet"),
    }
}

fn unscheduled(status: &PodStatus) -> Option<Gate> {
    let scheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    let message = scheduled.message.clone().unwrap_or_default();
    let fix = if message.contains("Insufficient") {
        "no node has room: ask for less, or add nodes"
    } else {
        "let a node match what the pod asks for: nodeSelector, affinity, tolerations (the sidecar runs on linux/amd64 and linux/arm64)"
    };
    Some(Gate::fail(GATE, scheduled.reason.as_deref().unwrap_or("Unschedulable"), message, fix))
}

fn broken(container: &ContainerStatus, facts: &Facts) -> Option<Gate> {
    let state = container.state.clone().unwrap_or_default();
    let (reason, message) = words(&state)?;
    let last = container
        .last_state
        .as_ref()
        .and_then(words)
        .map(|(reason, message)| format!("{reason} {message}"))
        .unwrap_or_default();
    let told: Vec<&str> = facts.events.found().into_iter().flatten().map(|event| event.note.as_str()).collect();
    let all = format!("{reason} {message} {last} {}", told.join(" "));
    let (name, ours) = (&container.name, container.name == names::SIDECAR);
    let what = format!(
        "container {name}: {reason}{}",
        if message.is_empty() { String::new() } else { format!(": {message}") }
    );
    if all.contains("exec format error")
        || all.contains("no match for platform")
        || all.contains("no matching manifest")
    {
        let node = facts.node.found();
        let node = node.map(|node| format!(" (node {}: {})", node.name, node.architecture)).unwrap_or_default();
        let fix = if ours {
            "build or mirror the sidecar's image for this architecture (make images-multi), or keep the pod to nodes of another: nodeSelector kubernetes.io/arch"
        } else {
            "use an image for this architecture, or keep the pod to nodes of another: nodeSelector kubernetes.io/arch"
        };
        return Some(Gate::fail(
            GATE,
            "Architecture",
            format!("{what}: the image is for another architecture than the node's{node}"),
            fix,
        ));
    }
    match reason.as_str() {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "RegistryUnavailable" => {
            Some(pull(&what, &all, &reason, ours, facts))
        }
        "CrashLoopBackOff"
        | "CreateContainerError"
        | "CreateContainerConfigError"
        | "RunContainerError"
        | "StartError" => {
            let fix =
                format!("read `kubectl -n {} logs {} -c {name} --previous`", facts.namespace, facts.pod.name_any());
            Some(Gate::fail(
                GATE,
                &reason,
                if last.is_empty() { what } else { format!("{what} (before: {last})") },
                fix,
            ))
        }
        _ => None,
    }
}

/// What a container waits for, or how it ended badly.
fn words(state: &ContainerState) -> Option<(String, String)> {
    if let Some(waiting) = &state.waiting {
        return Some((waiting.reason.clone().unwrap_or_default(), waiting.message.clone().unwrap_or_default()));
    }
    let ended = state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    Some((ended.reason.clone().unwrap_or_default(), ended.message.clone().unwrap_or_default()))
}

fn pull(what: &str, all: &str, reason: &str, ours: bool, facts: &Facts) -> Gate {
    const PRIVATE: [&str; 7] = [
        "unauthorized",
        "authentication required",
        "authorization failed",
        "pull access denied",
        "401",
        "403 Forbidden",
        "no basic auth credentials",
    ];
    let lower = all.to_lowercase();
    if PRIVATE.iter().any(|sign| lower.contains(&sign.to_lowercase())) {
        return Gate::fail(GATE, "PrivateRegistry", what, pull_secrets(ours, facts));
    }
    let fix = if ours {
        "let the nodes reach the sidecar's image: mirror it and set the chart's image.registry (and webhook.sidecar.acceptedImages where a mirror rewrites names)"
    } else {
        "name an image that the node can pull"
    };
    Gate::fail(GATE, reason, what, fix)
}

/// What to do where a registry wants credentials. Admission has copied the account's pull secrets into the pod.
fn pull_secrets(ours: bool, facts: &Facts) -> String {
    let whose = if ours { "the sidecar's registry" } else { "the image's registry" };
    let namespace = &facts.namespace;
    let spec = facts.pod.spec.as_ref();
    let named: Vec<&str> =
        spec.into_iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten()).map(|s| s.name.as_str()).collect();
    if named.is_empty() {
        return format!(
            "{whose} wants credentials: put an image pull secret into namespace {namespace} and name it in the service account's imagePullSecrets"
        );
    }
    let secrets = named.join(", ");
    let missing =
        facts.events.found().is_some_and(|all| all.iter().any(|e| e.reason == "FailedToRetrieveImagePullSecret"));
    if missing {
        return format!(
            "imagePullSecrets name {secrets}, and not all are there: kubectl -n {namespace} create secret docker-registry NAME --docker-server=… --docker-username=… --docker-password=…"
        );
    }
    format!("{whose} refuses the credentials in {secrets}: put some into it that may pull this image")
}

fn volumes(facts: &Facts) -> Option<Gate> {
    let pod = facts.pod.name_any();
    let waiting = facts
        .pod
        .status
        .as_ref()?
        .init_container_statuses
        .iter()
        .flatten()
        .any(|c| c.state.as_ref().is_some_and(|s| s.waiting.is_some()));
    let event = facts.events.found()?.iter().rev().find(|e| e.name == pod && e.reason == "FailedMount")?;
    waiting.then(|| Gate::fail(GATE, &event.reason, &event.note, "mend the volume that the message names"))
}
