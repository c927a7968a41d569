//! `kubectl exeat explain` on a cluster: of pods and of all that makes them, what works passes, and what does not is named. The mistakes of the first hour are
//! in `first_hour.rs`.

use crate::cli::{DENIED, ends, fleet, within};
use exeat_crds::v1alpha1::Phase;
use exeat_e2e::{
    AgentPod, MINISTACK, Result, Scope, agent, aws_policy, ensure, in_namespace, kubernetes_policy, script, statement,
    wait_for,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

#[tokio::test]
async fn explain_passes_what_works_and_names_what_does_not() -> Result {
    in_namespace("cli-explain", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        ns.create(&job("task", &agent("x", "pods"))?).await?;
        ns.bind("vera", "ClusterRole", "view").await?;
        ns.start(agent("agent", "pods")).await?;
        ns.session("agent", 1, Phase::Active, 20).await?;
        let call = |action: &'static str| [&["explain", "pod/agent", "--action", action, "--resource"][..]].concat();
        let resource = format!("{}/", ns.name);
        ends(
            &within(&ns, &["explain", "pod", "agent"]).await?,
            0,
            &["ok    policy Ready", "ok    pod", "ok    session", "ok    admission policies"],
        )?;
        ends(&within(&ns, &[&call("list pods")[..], &[&resource]].concat()).await?, 0, &["ok    call"])?;
        ends(
            &within(&ns, &[&call("delete pods")[..], &[&resource]].concat()).await?,
            DENIED,
            &["FAIL  call", "maxActions"],
        )?;
        ends(&within(&ns, &["explain", "pod", "nobody"]).await?, 1, &["there is no pod \"nobody\""])?;
        let seen = [
            "ok    policy",
            "?     provider",
            "?     guardrails",
            "?     admission policies",
            "?     clock",
            "?     use",
        ];
        let seen = [&seen[..], &["ok    session", "forbidden", "No gate is closed, as far as can be seen."]].concat();
        ends(&within(&ns, &["--as", "vera", "explain", "pod", "agent"]).await?, 0, &seen)?;
        wait_for("the Job's pod works", 60, async || {
            let words = ["job task in namespace", ", by its newest pod task-", "ok    session", "ok    start-up"];
            ends(&within(&ns, &["explain", "job/task"]).await?, 0, &words)
        })
        .await?;

        let mut plain = script("plain", "pods", "sleep 86400");
        plain.metadata.annotations = None;
        ns.create(&plain).await?;
        ends(&within(&ns, &["explain", "pod", "plain"]).await?, DENIED, &["FAIL  annotation", "exeat.dev/policy"])
    })
    .await
}

#[tokio::test]
async fn explain_sees_whether_an_sdk_takes_what_is_served() -> Result {
    const ASK: &str =
        "python3 -c 'import boto3; boto3.Session().get_credentials().get_frozen_credentials()'; sleep 86400";
    in_namespace("cli-sdk", async |ns| {
        let allow = vec![statement(&["s3:GetObject"], &["arn:aws:s3:::reports/*"])];
        ns.ready(aws_policy("reports", MINISTACK, allow)).await?;
        ns.create(&script("new", "reports", ASK)).await?;
        let old = script("old", "reports", ASK).with_agent(|c| c.image = Some("exeat.test/agent-old:1".to_owned()));
        ns.create(&old).await?;
        for (pod, code, words) in [
            ("new", 0, &["ok    use", "the agent has taken a credential"][..]),
            ("old", DENIED, &["FAIL  use", "LoopbackSecretMissing", "exeat.dev/aws-token: Env"]),
        ] {
            ns.started(pod).await?;
            wait_for(&format!("explain sees what pod {pod} asks for"), 60, async || {
                ends(&within(&ns, &["explain", "pod", pod]).await?, code, words)
            })
            .await?;
        }
        Ok(())
    })
    .await
}

/// The template of a pod like this one, for what makes pods.
fn template(pod: &Pod, restart: &str) -> Result<Value> {
    let mut pod = serde_json::to_value(pod)?;
    pod["spec"]["restartPolicy"] = restart.into();
    let annotations = &pod["metadata"]["annotations"];
    Ok(json!({"metadata": {"labels": {"app": "made"}, "annotations": annotations}, "spec": pod["spec"]}))
}

fn job(name: &str, pod: &Pod) -> Result<Job> {
    let spec = json!({"backoffLimit": 0, "template": template(pod, "Never")?});
    Ok(serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?)
}

/// Waits until `explain` ends with this code and says all of these.
async fn explained(ns: &Scope, what: &str, code: i32, words: &[&str]) -> Result {
    let told = || async { ends(&within(ns, &["explain", what]).await?, code, words) };
    wait_for(&format!("explain {what} ends with {code}"), 60, told).await
}

#[tokio::test]
async fn explain_finds_why_a_workload_has_no_pods() -> Result {
    in_namespace("cli-creation", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        ns.create(&fleet(1, "sleep 86400")?).await?;
        // A pod that is not ready yet is taken away by a rollout.
        wait_for("the deployment has its pod", 120, async || {
            let available = ns.api::<Deployment>().get("fleet").await?.status.and_then(|s| s.available_replicas);
            ensure!(available == Some(1), "{available:?}");
            Ok(())
        })
        .await?;
        let call = async |action: &str, code: i32, words: &[&str]| {
            let resource = format!("{}/", ns.name);
            ends(
                &within(&ns, &["explain", "deploy", "fleet", "--action", action, "--resource", &resource]).await?,
                code,
                words,
            )
        };
        call("list pods", 0, &["by its newest pod fleet-", "ok    call"]).await?;
        call("delete pods", DENIED, &["FAIL  call", "maxActions"]).await?;

        // Each change makes a new ReplicaSet whose pods are refused, while the old pod lives on.
        let change = async |spec: Value| -> Result {
            let patch = json!({"spec": {"template": {"spec": spec}}});
            ns.api::<Deployment>().patch("fleet", &PatchParams::default(), &Patch::Merge(&patch)).await?;
            Ok(())
        };
        let refused = async |words: &[&str]| {
            let all = [&["by its template: its next pod is refused. Pod fleet-", "FAIL  creation"], words].concat();
            explained(&ns, "deployment/fleet", DENIED, &all).await
        };
        change(json!({"serviceAccountName": "default"})).await?;
        refused(&["FAIL  subjects", "PodNotCovered", "spec.serviceAccountName"]).await?;
        change(json!({"serviceAccountName": "agent", "hostNetwork": true})).await?;
        refused(&["FAIL  pod", "spec.hostNetwork", "remove it"]).await?;
        change(json!({"hostNetwork": null, "securityContext": {"runAsNonRoot": null, "runAsUser": 0}})).await?;
        refused(&["PodSecurity", "securityContext"]).await?;
        change(json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 1001}})).await?;
        explained(&ns, "deployment/fleet", 0, &["by its newest pod fleet-", "ok    session"]).await?;

        let small = json!({"metadata": {"name": "small"}, "spec": {"hard": {"pods": "0"}}});
        ns.create(&serde_json::from_value::<ResourceQuota>(small)?).await?;
        wait_for("the quota counts", 30, async || {
            let counted = ns.api::<ResourceQuota>().get("small").await?.status.and_then(|status| status.hard);
            ensure!(counted.is_some(), "not yet");
            Ok(())
        })
        .await?;
        change(json!({"securityContext": {"runAsUser": 1002}})).await?;
        refused(&["Quota", "exceeded quota: small"]).await?;
        sets_and_jobs(&ns).await
    })
    .await
}

/// Of what makes pods otherwise than a Deployment, under a quota of none.
async fn sets_and_jobs(ns: &Scope) -> Result {
    let pod = agent("x", "pods");
    ns.create(&job("task", &pod)?).await?;
    let set = json!({"serviceName": "set", "selector": {"matchLabels": {"app": "made"}}, "template": template(&pod, "Always")?});
    let object = json!({"metadata": {"name": "set"}, "spec": set});
    ns.create(&serde_json::from_value::<StatefulSet>(object.clone())?).await?;
    ns.create(&serde_json::from_value::<DaemonSet>(object)?).await?;
    for what in ["job/task", "statefulset/set", "daemonset/set"] {
        explained(
            ns,
            what,
            DENIED,
            &["by its template: it has no pod", "FAIL  creation", "Quota", "exceeded quota: small"],
        )
        .await?;
    }
    let nightly = pod.with(|spec| spec.host_network = Some(true));
    let spec = json!({"schedule": "0 3 1 1 *", "jobTemplate": {"spec": {"template": template(&nightly, "Never")?}}});
    ns.create(&serde_json::from_value::<CronJob>(json!({"metadata": {"name": "nightly"}, "spec": spec}))?).await?;
    explained(ns, "cronjob/nightly", DENIED, &["?     creation", "it is not due yet", "FAIL  pod", "spec.hostNetwork"])
        .await
}
