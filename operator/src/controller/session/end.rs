//! What became of an agent, read off its pod. Pure.

use exeat_crds::names;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// Whether the agent is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEnd {
    /// Its pod lives, or may.
    Alive,
    /// It is over.
    Ended(End),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every container of the agent exited with 0.
    Completed,
    /// A container of the agent did not.
    Failed {
        /// Which one.
        container: String,
        /// Its exit code.
        code: i32,
    },
    /// The pod was deleted while it ran (exit code 143 is the answer to that, not a failure).
    Deleted,
    /// Nobody saw how.
    Unknown,
}

impl End {
    /// For people.
    pub fn message(&self) -> String {
        match self {
            Self::Completed => "the agent's containers exited with 0".to_owned(),
            Self::Failed { container, code } => format!("container {container:?} exited with {code}"),
            Self::Deleted => "the pod was deleted while it ran".to_owned(),
            Self::Unknown => "the pod is gone and nobody saw how it ended".to_owned(),
        }
    }
}

/// Reads a pod. `deleted`: this is the last that was seen of it. A session ends with its pod, never with one container.
pub fn of_pod(pod: &Pod, deleted: bool) -> AgentEnd {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
    let asked_to_go = pod.metadata.deletion_timestamp.is_some();
    match phase {
        "Succeeded" => AgentEnd::Ended(End::Completed),
        "Failed" if asked_to_go && only_terminated(pod) => AgentEnd::Ended(End::Deleted),
        "Failed" => AgentEnd::Ended(failure(pod).unwrap_or(End::Unknown)),
        _ if deleted => AgentEnd::Ended(End::Deleted),
        _ => AgentEnd::Alive,
    }
}

fn agent_statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|s| s.init_container_statuses.as_ref()).into_iter().flatten();
    let main = status.and_then(|s| s.container_statuses.as_ref()).into_iter().flatten();
    init.chain(main).filter(|s| s.name != names::SIDECAR)
}

fn exit(status: &ContainerStatus) -> Option<i32> {
    status.state.as_ref()?.terminated.as_ref().map(|t| t.exit_code)
}

/// All that did not exit with 0 were told to stop: 143 is SIGTERM, 137 the SIGKILL after its grace.
fn only_terminated(pod: &Pod) -> bool {
    agent_statuses(pod).filter_map(exit).all(|code| matches!(code, 0 | 143 | 137))
}

fn failure(pod: &Pod) -> Option<End> {
    agent_statuses(pod)
        .find_map(|s| exit(s).filter(|code| *code != 0).map(|code| End::Failed { container: s.name.clone(), code }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(phase: &str, deleting: bool, codes: &[(&str, i32)]) -> Pod {
        let statuses: Vec<_> = codes
            .iter()
            .map(|(name, code)| json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": code}}}))
            .collect();
        let mut pod = json!({"metadata": {"name": "p"}, "status": {"phase": phase, "containerStatuses": statuses}});
        if deleting {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn ends_are_read_off_the_pod() {
        let failed = |c: &str, code| AgentEnd::Ended(End::Failed { container: c.into(), code });
        for (pod, deleted, expected) in [
            (pod("Running", false, &[]), false, AgentEnd::Alive),
            (pod("Running", true, &[]), false, AgentEnd::Alive),
            (pod("Succeeded", false, &[("a", 0)]), false, AgentEnd::Ended(End::Completed)),
            (pod("Failed", false, &[("a", 0), ("b", 3)]), false, failed("b", 3)),
            (pod("Failed", true, &[("a", 143)]), false, AgentEnd::Ended(End::Deleted)),
            (pod("Failed", true, &[("a", 1)]), false, failed("a", 1)),
            (pod("Failed", false, &[("a", 143)]), false, failed("a", 143)),
            (pod("Failed", false, &[]), false, AgentEnd::Ended(End::Unknown)),
            (pod("Failed", false, &[(names::SIDECAR, 2), ("a", 4)]), false, failed("a", 4)),
            (pod("Running", true, &[]), true, AgentEnd::Ended(End::Deleted)),
        ] {
            assert_eq!(of_pod(&pod, deleted), expected, "{pod:?}");
        }
    }
}
