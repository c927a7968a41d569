//! Sessions follow what becomes of their pods and policies.

use exeat_crds::v1alpha1::Phase;
use exeat_crds::{AgentCredentialPolicy, CredentialSession, names};
use exeat_e2e::{Result, agent, ensure, in_namespace, kubernetes_policy, phase, script, statement, system, wait_for};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

fn template(policy: &str, command: &str) -> Value {
    let pod = script("x", policy, command);
    json!({"metadata": {"labels": {"app": "fleet"}, "annotations": pod.metadata.annotations}, "spec": pod.spec})
}

fn reason(session: &CredentialSession) -> &str {
    session.status.as_ref().and_then(|s| s.reason.as_deref()).unwrap_or_default()
}

#[tokio::test]
async fn a_job_ends_its_session_the_way_it_ends() -> Result {
    in_namespace("job", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        for (name, command) in [("good", "kubectl get pods"), ("bad", "kubectl get pods && exit 3")] {
            let spec = json!({"backoffLimit": 0, "template": template("pods", command)});
            ns.create(&serde_json::from_value::<Job>(json!({"metadata": {"name": name}, "spec": spec}))?).await?;
        }
        for (name, wanted, why) in [("good", Phase::Completed, "AgentCompleted"), ("bad", Phase::Failed, "AgentFailed")]
        {
            let session = wait_for(&format!("the session of job {name} ends"), 90, async || {
                let sessions = ns.api::<CredentialSession>().list(&ListParams::default()).await?.items;
                let of_job = |s: &CredentialSession| {
                    s.spec.request.agent.workload.as_ref().is_some_and(|w| w.kind == "Job" && w.name == name)
                };
                let found = sessions.into_iter().find(of_job);
                ensure!(found.as_ref().is_some_and(|s| phase(s) == Some(wanted)), "{:?}", found.and_then(|s| s.status));
                found.ok_or_else(|| exeat_e2e::Failure::new("none"))
            })
            .await?;
            assert_eq!(reason(&session), why);
            let message = session.status.and_then(|s| s.message).unwrap_or_default();
            assert!(name == "good" || message.contains("\"agent\" exited with 3"), "{message}");
        }
        wait_for("the finished job is done: no sidecar holds it", 30, async || {
            let job = ns.api::<Job>().get("good").await?;
            ensure!(job.status.as_ref().and_then(|s| s.succeeded) == Some(1), "{:?}", job.status);
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_deleted_pod_completes_its_session_and_leaves_it_as_history() -> Result {
    in_namespace("deleted", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        ns.start(agent("agent", "pods")).await?;
        ns.session("agent", 1, Phase::Active, 10).await?;
        ns.api::<Pod>().delete("agent", &DeleteParams::default()).await?;
        let session = ns.session("agent", 1, Phase::Completed, 40).await?;
        assert_eq!(reason(&session), "PodDeleted");
        wait_for("the pod is gone", 40, async || {
            ensure!(ns.api::<Pod>().get_opt("agent").await?.is_none(), "it is there");
            Ok(())
        })
        .await?;
        assert_eq!(ns.sessions("agent").await?.len(), 1, "the session outlives its pod");
        // A pod of the same name is another one.
        let pod = ns.start(agent("agent", "pods")).await?;
        wait_for("a session of the new pod", 10, async || {
            let sessions = ns.sessions("agent").await?;
            let of_new = sessions
                .iter()
                .any(|s| Some(&s.spec.request.agent.pod.uid) == pod.uid().as_ref() && phase(s) == Some(Phase::Active));
            ensure!(of_new, "{sessions:?}");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_rolling_update_hands_over_from_old_sessions_to_new_ones() -> Result {
    in_namespace("rolling", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let mut pods = template("pods", "trap 'exit 143' TERM; sleep 86400 & wait");
        pods["spec"]["restartPolicy"] = "Always".into();
        let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "fleet"}}, "template": pods});
        let deployment = json!({"metadata": {"name": "fleet"}, "spec": spec});
        ns.create(&serde_json::from_value::<Deployment>(deployment)?).await?;
        rolled_out(&ns, 1, 2).await?;
        let change =
            json!({"spec": {"template": {"metadata": {"annotations": {names::JUSTIFICATION: "second release"}}}}});
        ns.api::<Deployment>().patch("fleet", &PatchParams::default(), &Patch::Merge(&change)).await?;
        rolled_out(&ns, 2, 2).await?;
        wait_for("the old sessions end", 60, async || {
            let sessions = ns.api::<CredentialSession>().list(&ListParams::default()).await?.items;
            let (new, old): (Vec<_>, Vec<_>) = sessions.iter().partition(|s| s.spec.request.justification.is_some());
            let ends: Vec<_> = old.iter().map(|s| (phase(s), reason(s))).collect();
            ensure!(ends == [(Some(Phase::Completed), "PodDeleted"); 2], "{ends:?}");
            ensure!(new.len() == 2 && new.iter().all(|s| phase(s) == Some(Phase::Active)), "{new:?}");
            Ok(())
        })
        .await
    })
    .await
}

async fn rolled_out(ns: &exeat_e2e::Scope, generation: i64, replicas: i32) -> Result {
    wait_for("the Deployment is rolled out", 120, async || {
        let status = ns.api::<Deployment>().get("fleet").await?.status.unwrap_or_default();
        let counts = [status.replicas, status.updated_replicas, status.available_replicas];
        ensure!(status.observed_generation >= Some(generation) && counts == [Some(replicas); 3], "{status:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_tightened_policy_opens_a_session_that_is_decided_afresh() -> Result {
    in_namespace("tighten", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["get pods", "list pods"])).await?;
        ns.start(agent("agent", "pods")).await?;
        let first = ns.session("agent", 1, Phase::Active, 10).await?;
        ns.sh("agent", "kubectl get pods").await?.ok()?;

        let tightened = json!({"spec": {"allow": [statement(&["get pods"], &[&format!("{}/*", ns.name)])]}});
        ns.api::<AgentCredentialPolicy>().patch("pods", &PatchParams::default(), &Patch::Merge(&tightened)).await?;
        let revoked = ns.session("agent", 1, Phase::Revoked, 20).await?;
        assert_eq!(reason(&revoked), "AuthorityChanged");
        let second = ns.session("agent", 2, Phase::Active, 40).await?;
        let digest = |s: &CredentialSession| s.status.clone().and_then(|s| s.grant).map(|g| g.digest);
        assert!(digest(&second).is_some() && digest(&second) != digest(&first));
        wait_for("the agent works under the new session", 30, async || {
            ns.sh("agent", "kubectl get pod agent").await?.ok()?;
            let refusal = ns.sh("agent", "kubectl get pods").await?.failed()?;
            ensure!(refusal.contains("Forbidden"), "{refusal}");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_deleted_policy_takes_its_sessions_along() -> Result {
    in_namespace("untied", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        ns.start(agent("agent", "pods")).await?;
        ns.session("agent", 1, Phase::Active, 10).await?;
        ns.api::<AgentCredentialPolicy>().delete("pods", &DeleteParams::default()).await?;
        let session = ns.session("agent", 1, Phase::Revoked, 20).await?;
        assert_eq!(reason(&session), "PolicyDeleted");
        wait_for("kubectl tells why", 15, async || {
            let said = ns.sh("agent", "kubectl get pods").await?.failed()?;
            ensure!(said.contains("PolicyDeleted"), "{said}");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_namespace_with_live_sessions_goes_away() -> Result {
    in_namespace("goes", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        ns.start(agent("agent", "pods")).await?;
        let session = ns.session("agent", 1, Phase::Active, 10).await?;
        assert!(session.finalizers().is_empty(), "nothing of ours keeps it: {:?}", session.finalizers());
        let thief = ns.steal_token("agent").await?;
        let namespaces: Api<Namespace> = Api::all(ns.client.clone());
        namespaces.delete(&ns.name, &DeleteParams::default()).await?;
        wait_for("the session is gone", 60, async || {
            let left = ns.api::<CredentialSession>().get_opt(&session.name_any()).await?;
            ensure!(left.is_none(), "{left:?}");
            Ok(())
        })
        .await?;
        thief.refused().await?;
        let session = session.name_any();
        let told = wait_for("the end of access is on record", 15, async || {
            let lines = system::audit(&ns.client, "issuer", &session).await?;
            ensure!(lines.iter().any(|line| line["event"] == "AccessRevoked"), "{lines:?}");
            Ok(lines)
        })
        .await?;
        assert!(told.iter().all(|line| line["namespace"] == ns.name.as_str()), "{told:?}");
        wait_for("the namespace is gone", 90, async || {
            let left = namespaces.get_opt(&ns.name).await?;
            ensure!(left.is_none(), "{:?}", left.and_then(|n| n.status));
            Ok(())
        })
        .await
    })
    .await
}
