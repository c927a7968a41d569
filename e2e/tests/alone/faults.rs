//! Our own programs go away and come back.

use exeat_crds::v1alpha1::Phase;
use exeat_crds::{AgentCredentialPolicy, names};
use exeat_e2e::{
    Failure, Result, Scope, agent, connect, ensure, in_namespace, kubernetes_policy, script, system, wait_for,
};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use std::collections::BTreeSet;

const EACH_SECOND: &str = "while kubectl get pods -o name >/dev/null; do sleep 1; done; echo broken; sleep 86400";
const TOKEN: &str = "cat /var/run/exeat/kubernetes/token";

fn lists_pods(ns: &Scope, ttl: &str) -> AgentCredentialPolicy {
    let mut policy = kubernetes_policy("pods", &ns.name, &["list pods"]);
    policy.spec.session.credential_ttl = Some(ttl.to_owned());
    policy
}

async fn new_token(ns: &Scope, seconds: u64) -> Result {
    let mut seen = BTreeSet::new();
    wait_for("a renewal", seconds, async || {
        seen.insert(ns.sh("agent", TOKEN).await?.ok()?);
        ensure!(seen.len() > 1, "none yet");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn agents_do_not_notice_a_restart_of_any_program() -> Result {
    let _alone = crate::ALONE.lock().await;
    in_namespace("restart", async |ns| {
        ns.ready(lists_pods(&ns, "1m")).await?;
        ns.start(script("agent", "pods", EACH_SECOND)).await?;
        for program in ["controller", "issuer", "webhook"] {
            system::restart(&ns.client, program).await?;
            let name = format!("after-{program}");
            wait_for("a new pod is admitted", 30, async || ns.create(&agent(&name, "pods")).await).await?;
            ns.started(&name).await?;
            ns.session(&name, 1, Phase::Active, 30).await?;
            ns.sh(&name, "kubectl get pods -o name").await?.ok()?;
        }
        new_token(&ns, 60).await?;
        let log = ns.log("agent", "agent").await?;
        assert!(!log.contains("broken"), "a call failed: {log}");
        // What was opened before is still followed, and revoked, after.
        let session = ns.session("agent", 1, Phase::Active, 5).await?;
        ns.revoke(&session, "after the restarts").await?;
        wait_for("kubectl tells why", 20, async || ns.sh("agent", "kubectl get pods").await?.failed()).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn without_any_issuer_agents_go_on_until_expiry_and_recover() -> Result {
    let _alone = crate::ALONE.lock().await;
    let client = connect().await?;
    let mut replicas = 2;
    let outcome = in_namespace("offline", async |ns| {
        ns.ready(lists_pods(&ns, "2m")).await?;
        ns.start(agent("agent", "pods")).await?;
        ns.sh("agent", "kubectl get pods").await?.ok()?;
        let session = ns.session("agent", 1, Phase::Active, 5).await?;
        replicas = system::scale(&ns.client, "issuer", 0).await?;
        let gone = tokio::time::Instant::now();
        let mut worked = 0;
        let refusal = wait_for("the credential expires", 180, async || {
            let output = ns.sh("agent", "kubectl get pods").await?;
            if output.code == 0 {
                worked += 1;
                return Err(Failure::new("it still works"));
            }
            output.failed()
        })
        .await?;
        let lasted = gone.elapsed().as_secs();
        assert!(worked > 5 && lasted > 20, "the agent went on without an issuer: {worked} calls in {lasted} s");
        assert!(refusal.contains("IssuerUnreachable") || refusal.contains("Unauthorized"), "{refusal}");
        println!("without an issuer the agent went on for {lasted} s");
        system::scale(&ns.client, "issuer", replicas).await?;
        wait_for("the agent recovers", 60, async || ns.sh("agent", "kubectl get pods").await?.ok()).await?;
        let same = ns.session("agent", 1, Phase::Active, 5).await?;
        assert_eq!(same.uid(), session.uid(), "the session has never ended");
        Ok(())
    })
    .await;
    system::scale(&client, "issuer", replicas.max(2)).await?;
    outcome
}

#[tokio::test]
async fn a_namespace_goes_while_we_are_down_and_access_ends_when_we_are_back() -> Result {
    let _alone = crate::ALONE.lock().await;
    let client = connect().await?;
    let outcome = in_namespace("leaves", async |ns| {
        ns.ready(lists_pods(&ns, "10m")).await?;
        ns.start(agent("agent", "pods")).await?;
        let thief = ns.steal_token("agent").await?;
        let session = ns.session("agent", 1, Phase::Active, 5).await?;
        system::scale(&ns.client, "controller", 0).await?;
        system::scale(&ns.client, "issuer", 0).await?;

        let namespaces: Api<Namespace> = Api::all(ns.client.clone());
        let started = tokio::time::Instant::now();
        namespaces.delete(&ns.name, &DeleteParams::default()).await?;
        wait_for("the namespace goes without us", 60, async || {
            let left = namespaces.get_opt(&ns.name).await?;
            ensure!(left.is_none(), "{:?}", left.and_then(|n| n.status));
            Ok(())
        })
        .await?;
        println!("the namespace was gone after {:.1} s", started.elapsed().as_secs_f64());
        thief.works().await?; // honest: nobody was there to end it

        system::scale(&ns.client, "issuer", 2).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(ns.client.clone(), names::GRANTS_NAMESPACE);
        // A sweep comes each minute, and leaves alone what is younger than one.
        wait_for("the session's account is gone", 150, async || {
            let left = accounts.get_opt(&session.name_any()).await?;
            ensure!(left.is_none(), "{left:?}");
            Ok(())
        })
        .await?;
        thief.refused().await?;
        let lines = system::audit(&ns.client, "issuer", &session.name_any()).await?;
        let uid = session.uid().unwrap_or_default();
        let told = lines.iter().any(|line| line["event"] == "AccessRevoked" && line["sessionUid"] == uid.as_str());
        assert!(told, "{lines:?}");
        Ok(())
    })
    .await;
    system::scale(&client, "issuer", 2).await?;
    system::scale(&client, "controller", 2).await?;
    outcome
}

#[tokio::test]
async fn without_the_webhook_annotated_pods_are_refused_and_others_pass() -> Result {
    let _alone = crate::ALONE.lock().await;
    let client = connect().await?;
    let outcome = in_namespace("nohook", async |ns| {
        ns.ready(lists_pods(&ns, "10m")).await?;
        system::scale(&ns.client, "webhook", 0).await?;
        wait_for("the API server sees that nobody answers", 20, async || {
            let refusal = ns.expect_refused(&agent("agent", "pods")).await?;
            ensure!(refusal.contains("pods.exeat.dev"), "{refusal}");
            Ok(())
        })
        .await?;
        let mut plain = agent("plain", "x");
        plain.metadata.annotations = None;
        ns.start(plain).await?;
        system::scale(&ns.client, "webhook", 2).await?;
        wait_for("annotated pods are admitted again", 30, async || ns.create(&agent("agent", "pods")).await).await?;
        let pod = ns.started("agent").await?;
        assert_eq!(pod.labels().get(names::INJECTED_LABEL).map(String::as_str), Some("true"));
        Ok(())
    })
    .await;
    system::scale(&client, "webhook", 2).await?;
    outcome
}
