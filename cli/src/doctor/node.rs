//! Whether the node's metadata service answers an agent: it hands out the node's own identity. Tried from inside the agent's container.

use super::Check;
use crate::client::Cluster;
use crate::error::api_message;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// Longest try.
const LIMIT: Duration = Duration::from_secs(20);
/// Says one word. An answer of any kind counts: the service is there.
const SCRIPT: &str = "a=169.254.169.254; \
    if command -v curl >/dev/null 2>&1; then if curl -s -o /dev/null -m 3 http://$a/; then echo reached; else echo closed; fi; \
    elif command -v wget >/dev/null 2>&1; then case \"$(wget -T 3 -t 1 -O /dev/null http://$a/ 2>&1; echo rc=$?)\" in *rc=0*|*' 401'*|*' 403'*|*' 404'*|*'server returned error'*) echo reached;; *) echo closed;; esac; \
    elif command -v python3 >/dev/null 2>&1; then python3 -c \"import socket; s=socket.create_connection(('$a',80),3)\" 2>/dev/null && echo reached || echo closed; \
    else echo untried; fi";

pub(super) async fn check(cluster: &Cluster, pod: &str) -> Check {
    match timeout(LIMIT, ask(cluster, pod)).await {
        Ok(Ok(word)) => judge(&word),
        Ok(Err(why)) => untold(&why),
        Err(_) => untold("no answer within 20 s"),
    }
}

async fn ask(cluster: &Cluster, pod: &str) -> Result<String, String> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let found = api.get(pod).await.map_err(|error| api_message(&error))?;
    let container = found
        .spec
        .and_then(|spec| spec.containers.into_iter().next())
        .map(|container| container.name)
        .ok_or("the pod has no container")?;
    let params = AttachParams::default().container(container).stderr(false);
    let mut process = api.exec(pod, ["sh", "-c", SCRIPT], &params).await.map_err(|error| api_message(&error))?;
    let mut said = String::new();
    let mut stdout = process.stdout().ok_or("no output")?;
    stdout.read_to_string(&mut said).await.map_err(|error| error.to_string())?;
    Ok(said.trim().to_owned())
}

const CHECK: &str = "node metadata";

fn judge(word: &str) -> Check {
    match word {
        "reached" => Check::fail(
            CHECK,
            "169.254.169.254 answers from inside the pod: an agent can take the node's own identity",
            "close it to pods: a NetworkPolicy without 169.254.169.254/32, a hop limit of 1 (EC2), or the cloud's metadata concealment",
        ),
        "closed" => Check::ok(CHECK, "169.254.169.254 does not answer from inside the pod"),
        "untried" => untold("the container has neither curl, wget nor python3"),
        _ => untold("the container has no shell"),
    }
}

fn untold(why: &str) -> Check {
    Check::warn(
        CHECK,
        format!("it was not tried: {why}"),
        "name a pod of the namespace (-n) whose container has a shell and curl, or look at your network policies by hand",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn what_was_not_tried_is_not_called_closed() {
        assert_eq!(judge("reached").level, Level::Fail);
        assert_eq!(judge("closed").level, Level::Ok);
        for word in ["untried", "", "sh: not found"] {
            assert_eq!(judge(word).level, Level::Warn, "{word}");
        }
    }
}
