//! Why a pod is not there, or does not start: what Kubernetes told of it. Pure.

use super::facts::{Facts, Look, Told};
use super::gate::Gate;
use crate::output::time;
use exeat_crds::names;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};
use kube::ResourceExt;

const GATE: &str = "start-up";
/// A refusal that is older than this is told with its age.
const RECENT: SignedDuration = SignedDuration::from_mins(2);

/// The gate of creation, or that of start-up.
pub(super) fn gate(facts: &Facts, now: Timestamp) -> Gate {
    if facts.live { started(facts) } else { created(facts, now) }
}

fn created(facts: &Facts, now: Timestamp) -> Gate {
    const GATE: &str = "creation";
    let making = match &facts.making {
        Look::Found(making) => making,
        Look::Unreadable(why) => return Gate::unknown(GATE, format!("there is no pod, and why can't be read: {why}")),
        _ => return Gate::unknown(GATE, "there is no pod"),
    };
    if let Some(told) = &making.refused {
        return refused(told, now);
    }
    let why = making.idle.unwrap_or("Kubernetes has told no reason yet; ask again in some seconds");
    Gate::unknown(GATE, format!("there is no pod: {why}"))
}

/// What kept a workload's pod from being created.
fn refused(told: &Told, now: Timestamp) -> Gate {
    const GATE: &str = "creation";
    let said = told.note.as_str();
    // It is tried again ever more seldom: what was mended since is not seen until then.
    let at = told.at.filter(|at| now.duration_since(*at) > RECENT);
    let ago = at.map(|at| format!(" (last tried {} ago)", time::age(at, now))).unwrap_or_default();
    let fail = |reason: &str, fix: &str| Gate::fail(GATE, reason, format!("{said}{ago}"), fix);
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
    fail(&told.reason, "mend what the message names; Kubernetes tries again by itself")
}

fn started(facts: &Facts) -> Gate {
    let Some(status) = &facts.pod.status else { return Gate::unknown(GATE, "the pod has no status yet") };
    let statuses = statuses(status);
    // A program for another architecture ends a pod that is not started again.
    if let Some(gate) = statuses.iter().find_map(|container| foreign(container, facts)) {
        return gate;
    }
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        let phase = status.phase.as_deref().unwrap_or_default();
        return Gate::ok(GATE, format!("the pod has ended ({phase})"));
    }
    if let Some(gate) = unscheduled(status) {
        return gate;
    }
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

fn statuses(status: &PodStatus) -> Vec<ContainerStatus> {
    let of_pod = |list: &Option<Vec<ContainerStatus>>| list.clone().unwrap_or_default();
    of_pod(&status.init_container_statuses).into_iter().chain(of_pod(&status.container_statuses)).collect()
}

/// The first container of the pod that has ended badly, or waits after it has: its log tells why.
pub(super) fn first_broken(pod: &Pod) -> Option<String> {
    let statuses = statuses(pod.status.as_ref()?);
    let ended = |state: &Option<ContainerState>| {
        state.as_ref().and_then(|state| state.terminated.as_ref()).is_some_and(|ended| ended.exit_code != 0)
    };
    let is_up = |container: &ContainerStatus| container.state.as_ref().is_some_and(|state| state.running.is_some());
    let broken =
        |container: &&ContainerStatus| !is_up(container) && (ended(&container.state) || ended(&container.last_state));
    statuses.iter().find(broken).map(|container| container.name.clone())
}

/// A container's state in words, how it ended before, and all that was told of it.
struct Words {
    reason: String,
    what: String,
    last: String,
    all: String,
}

fn words_of(container: &ContainerStatus, facts: &Facts) -> Option<Words> {
    let state = container.state.clone().unwrap_or_default();
    let (reason, message) = words(&state)?;
    let last = container.last_state.as_ref().and_then(words);
    let last = last.map(|(reason, message)| format!("{reason} {message}")).unwrap_or_default();
    let told: Vec<&str> = facts.events.found().into_iter().flatten().map(|event| event.note.as_str()).collect();
    let all = format!("{reason} {message} {last} {}", told.join(" "));
    let said = if message.is_empty() { String::new() } else { format!(": {message}") };
    Some(Words { what: format!("container {}: {reason}{said}", container.name), reason, last, all })
}

fn foreign(container: &ContainerStatus, facts: &Facts) -> Option<Gate> {
    const SIGNS: [&str; 3] = ["exec format error", "no match for platform", "no matching manifest"];
    let Words { what, all, .. } = words_of(container, facts)?;
    // What cannot be executed is told in its own log alone, and that is the first broken one's.
    let own = first_broken(&facts.pod).is_some_and(|name| name == container.name);
    let last = facts.last_words.found().filter(|_| own).map(String::as_str).unwrap_or_default();
    // The line is the container runtime's, and nothing else was said; an agent's own log may speak of such things.
    let alone = last.trim().lines().count() == 1 && last.starts_with("exec ") && last.contains(SIGNS[0]);
    if !alone && !SIGNS.iter().any(|sign| all.contains(sign)) {
        return None;
    }
    let node = facts.node.found();
    let node = node.map(|node| format!(" (node {}: {})", node.name, node.architecture)).unwrap_or_default();
    let fix = if container.name == names::SIDECAR {
        "build or mirror the sidecar's image for this architecture (make images-multi), or keep the pod to nodes of another: nodeSelector kubernetes.io/arch"
    } else {
        "use an image for this architecture, or keep the pod to nodes of another: nodeSelector kubernetes.io/arch"
    };
    Some(Gate::fail(
        GATE,
        "Architecture",
        format!("{what}: the image is for another architecture than the node's{node}"),
        fix,
    ))
}

fn broken(container: &ContainerStatus, facts: &Facts) -> Option<Gate> {
    let Words { reason, what, last, all } = words_of(container, facts)?;
    let (name, ours) = (&container.name, container.name == names::SIDECAR);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::fixtures::{now, of, well};
    use crate::explain::gate::Verdict;
    use crate::explain::judge::judge;
    use crate::explain::judge::tests::no_pod;
    use crate::explain::maker::Making;
    use serde_json::json;

    #[test]
    fn a_workload_without_pods_is_told_why() {
        let creation = |making: Making| {
            let mut facts = well();
            no_pod(&mut facts, "");
            facts.making = Look::Found(making);
            judge(&facts, now()).unwrap().into_iter().find(|gate| gate.gate == "creation").unwrap()
        };
        let idle = creation(Making { idle: Some("it is scaled to zero"), refused: None });
        assert!(idle.verdict == Verdict::Unknown && idle.message.ends_with("it is scaled to zero"), "{idle:?}");
        let silent = creation(Making::default());
        assert!(silent.verdict == Verdict::Unknown && silent.message.contains("no reason yet"), "{silent:?}");
        let at = now().checked_sub(SignedDuration::from_mins(12)).ok();
        let refused = Told { note: "exceeded quota: small".into(), at, ..Told::default() };
        let old = creation(Making { idle: None, refused: Some(refused) });
        assert_eq!(old.message, "exceeded quota: small (last tried 12m ago)", "what was mended since is not tried yet");
    }

    #[test]
    fn a_program_that_cannot_be_executed_is_told_by_its_log_alone() {
        let ended = |phase: &str, last_words: &str| {
            let mut facts = well();
            let state = json!({"terminated": {"exitCode": 255, "reason": "Error"}});
            let agent = json!({"name": "agent", "image": "agent:1", "imageID": "i", "ready": false, "restartCount": 0, "state": state});
            facts.pod.status = Some(of(json!({"phase": phase, "containerStatuses": [agent]})));
            facts.last_words = Look::Found(last_words.into());
            judge(&facts, now()).unwrap().into_iter().find(|gate| gate.gate == "start-up").unwrap()
        };
        for phase in ["Running", "Failed"] {
            let told = ended(phase, "exec /agent: exec format error\n");
            assert_eq!((told.verdict, told.reason.as_deref()), (Verdict::Fail, Some("Architecture")), "{told:?}");
            assert!(told.message.contains("(node n1: amd64)") && told.fix.unwrap().contains("kubernetes.io/arch"));
        }
        let own = ended("Failed", "start\nsh: tool: exec format error\n");
        assert_eq!(own.verdict, Verdict::Ok, "what an agent says of its tools is its own: {own:?}");
    }
}
