//! A pod's sidecar, disturbed from the node.

use exeat_crds::v1alpha1::StreamRecord;
use exeat_crds::{condition, names};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::Api;

use crate::{Failure, Result, Scope, ensure, shell, system_namespace, wait_for};

/// The runtime's own command.
const CTR: &str = r#"ctr -a "$EXEAT_RUN_DIR/containerd.sock" -n k8s.io"#;
const RUNTIME: &str = "containerd://";

impl Scope {
    /// What kubelet says of a pod's sidecar.
    ///
    /// # Errors
    /// When it has none.
    pub async fn sidecar(&self, pod: &str) -> Result<ContainerStatus> {
        let statuses = self.api::<Pod>().get(pod).await?.status.and_then(|s| s.init_container_statuses);
        let found = statuses.into_iter().flatten().find(|status| status.name == names::SIDECAR);
        found.ok_or_else(|| Failure::new("the pod has no sidecar"))
    }

    /// Ends the sidecar's process, as a crash does, and waits until its successor holds a credential.
    ///
    /// # Errors
    /// When it does not within 90 seconds.
    pub async fn crash_sidecar(&self, pod: &str) -> Result {
        let before = self.sidecar(pod).await?;
        let id = runtime_id(&before)?;
        shell(&format!("{CTR} tasks kill -s SIGKILL {id}")).await?.ok()?;
        wait_for("the sidecar has started anew", 90, async || {
            let now = self.sidecar(pod).await?;
            ensure!(now.restart_count > before.restart_count && now.started == Some(true), "{:?}", now.state);
            Ok(())
        })
        .await
    }

    /// Lets nothing through between a pod and the issuers' Service. The rest of its network goes on.
    ///
    /// # Errors
    /// When the pod's network can't be changed.
    pub async fn cut_off(&self, pod: &str) -> Result {
        let services: Api<Service> = Api::namespaced(self.client.clone(), system_namespace());
        let address = services.get("exeat-issuer").await?.spec.and_then(|s| s.cluster_ip);
        let address = address.ok_or_else(|| Failure::new("the Service exeat-issuer has no address"))?;
        let rules = format!(
            "add table ip cut; \
             add chain ip cut in {{ type filter hook input priority 0; }}; add rule ip cut in ip saddr {address} drop; \
             add chain ip cut out {{ type filter hook output priority 0; }}; add rule ip cut out ip daddr {address} drop"
        );
        self.in_network(pod, &format!("nft '{rules}'")).await.map(drop)
    }

    /// Undoes [`Scope::cut_off`].
    ///
    /// # Errors
    /// When the pod's network can't be changed.
    pub async fn reconnect(&self, pod: &str) -> Result {
        self.in_network(pod, "nft delete table ip cut").await.map(drop)
    }

    /// Runs a command of the node in a pod's network; its output.
    ///
    /// # Errors
    /// When it fails.
    pub async fn in_network(&self, pod: &str, command: &str) -> Result<String> {
        let sidecar = self.sidecar(pod).await?;
        let id = runtime_id(&sidecar)?;
        let process = format!("{CTR} tasks ls | awk -v id={id} '$1 == id {{ print $2 }}'");
        shell(&format!("set -eo pipefail; pid=$({process}); nsenter -t \"${{pid:?}}\" -n {command}")).await?.ok()
    }

    /// Where the stream of the sidecar is, by the `number`-th session of its pod.
    ///
    /// # Errors
    /// When it is not on record within 30 seconds.
    pub async fn stream(&self, pod: &str, number: i32) -> Result<StreamRecord> {
        wait_for("the sidecar's stream is on record", 30, async || {
            let sessions = self.sessions(pod).await?;
            let session = sessions.into_iter().find(|s| s.spec.request.number == number);
            let issuance = session.and_then(|s| s.status).and_then(|s| s.issuance);
            issuance.and_then(|i| i.stream).ok_or_else(|| Failure::new("it is not"))
        })
        .await
    }

    /// Waits until the condition `SidecarSilent` of a pod's first session has a status.
    ///
    /// # Errors
    /// What it says instead, after that many seconds.
    pub async fn silent(&self, pod: &str, status: &str, seconds: u64) -> Result<Condition> {
        wait_for(&format!("SidecarSilent of {pod} is {status}"), seconds, async || {
            let session = self.sessions(pod).await?.into_iter().next();
            let known = session.and_then(|s| s.status).unwrap_or_default();
            let found = condition::get(&known.conditions, "SidecarSilent").filter(|c| c.status == status);
            found.cloned().ok_or_else(|| Failure::new(format!("{:?}", known.conditions)))
        })
        .await
    }
}

fn runtime_id(status: &ContainerStatus) -> Result<&str> {
    let id = status.container_id.as_deref().unwrap_or_default();
    id.strip_prefix(RUNTIME).ok_or_else(|| Failure::new(format!("no container of ours: {id:?}")))
}
