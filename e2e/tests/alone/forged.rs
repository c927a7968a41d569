//! Somebody writes sessions while no admission policy stands in the way.

use exeat_crds::v1alpha1::Phase;
use exeat_crds::{CredentialSession, names};
use exeat_e2e::{Failure, Result, Scope, agent, connect, in_namespace, kubernetes_policy, system, wait_for};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::deadline;

const MORE: &str = "list secrets";

/// A pod that asked for nothing and has no sidecar.
async fn plain(ns: &Scope) -> Result<Pod> {
    let mut pod = agent("plain", "x");
    pod.metadata.annotations = None;
    ns.start(pod).await
}

/// A session for a pod that may have none, with all that the controller writes into one that may.
async fn forge(ns: &Scope, pod: &Pod, genuine: &CredentialSession) -> Result {
    let uid = pod.uid().unwrap_or_default();
    let mut forged = CredentialSession::new(&names::session_name("plain", &uid, "pods", 1), genuine.spec.clone());
    forged.spec.request.agent.pod.name = "plain".to_owned();
    forged.spec.request.agent.pod.uid = uid;
    ns.create(&forged).await?;
    let mut status = genuine.status.clone().unwrap_or_default();
    status.issuance = None;
    write_status(ns, &forged.name_any(), &json!({"status": status})).await
}

async fn write_status(ns: &Scope, name: &str, body: &serde_json::Value) -> Result {
    ns.api::<CredentialSession>().patch_status(name, &PatchParams::default(), &Patch::Merge(body)).await?;
    Ok(())
}

/// Writes while nobody looks: the controller is away, and the admission policy over sessions with it.
async fn write(ns: &Scope, genuine: &CredentialSession) -> Result {
    system::scale(&ns.client, "controller", 0).await?;
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(ns.client.clone());
    bindings.delete("exeat-sessions", &DeleteParams::default()).await?;
    let widened = json!({"status": {"grant": {"allow": [{"actions": ["list pods", MORE], "resources": ["*/*"]}]}}});
    wait_for("a forged status is accepted", 30, async || write_status(ns, &genuine.name_any(), &widened).await).await?;
    forge(ns, &plain(ns).await?, genuine).await
}

#[tokio::test]
async fn an_active_session_that_somebody_wrote_ends_when_the_controller_sees_it() -> Result {
    let _alone = crate::ALONE.lock().await;
    let client = connect().await?;
    let outcome = in_namespace("forged", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        ns.start(agent("agent", "pods")).await?;
        let genuine = ns.session("agent", 1, Phase::Active, 10).await?;
        let written = async {
            write(&ns, &genuine).await?;
            deadline::the_deadline_is_compared_when_a_word_is_written(&ns).await
        }
        .await;
        system::scale(&ns.client, "controller", 2).await?;
        written?;

        let widened = ns.session("agent", 1, Phase::Revoked, 60).await?.status.unwrap_or_default();
        assert_eq!(widened.reason.as_deref(), Some("GrantChanged"), "{widened:?}");
        let next = ns.session("agent", 2, Phase::Active, 30).await?.status.unwrap_or_default();
        let granted = next.grant.ok_or_else(|| Failure::new("session 2 has no grant"))?;
        assert!(granted.allow.iter().all(|s| !s.actions.iter().any(|a| a == MORE)), "{granted:?}");
        wait_for("the agent goes on under it", 30, async || ns.sh("agent", "kubectl get pods").await?.ok()).await?;

        let forged = ns.session("plain", 1, Phase::Revoked, 60).await?.status.unwrap_or_default();
        assert_eq!(forged.reason.as_deref(), Some("PodNotCovered"), "{forged:?}");
        Ok(())
    })
    .await;
    system::scale(&client, "controller", 2).await?;
    outcome
}
