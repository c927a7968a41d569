//! Policies of single containers: two of one pod, each with an AWS policy of its own that the other can't use.

use std::collections::BTreeSet;

use exeat_crds::v1alpha1::Phase;
use exeat_crds::{CredentialSession, names};
use exeat_e2e::{
    AgentPod, Failure, MINISTACK, Output, Result, S3_MINISTACK, Scope, agent, aws_policy, ensure, exeat, in_namespace,
    kubectl, kubernetes_policy, phase, statement, wait_for,
};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::Value;

/// One line a call: `ok`, or the code that AWS gave.
const CALLS: &str = r#"
import boto3
from botocore.exceptions import ClientError
s3 = boto3.client("s3")
for name, call in {
    "get": lambda: s3.get_object(Bucket="reports", Key="q3.txt")["Body"].read(),
    "list": lambda: s3.list_objects_v2(Bucket="reports")["Contents"][0],
}.items():
    try:
        call()
        print(name, "ok")
    except ClientError as error:
        print(name, error.response["Error"]["Code"])
"#;

/// Asks the other container's listener, by the secret that is here.
const NEIGHBOUR: &str = r#"
import urllib.request, urllib.error
secret = open("/var/run/exeat/token").read()
asked = urllib.request.Request("http://127.0.0.1:9912/aws/credentials", headers={"Authorization": secret})
try:
    print(urllib.request.urlopen(asked).read())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"#;

const KUBECTL: &str = "kubectl get pods -o name";

/// The agent reads a report; its helper lists them, and the namespace's pods.
fn pod() -> Pod {
    let pod = agent("agent", "readers").with_env("AWS_ENDPOINT_URL", S3_MINISTACK);
    let pod = pod.annotated("policy.exeat.dev/helper", "listers,pods");
    pod.with(|spec| {
        let mut helper = spec.containers[0].clone();
        helper.name = "helper".to_owned();
        spec.containers.push(helper);
    })
}

async fn policies(ns: &Scope) -> Result {
    let reports = "arn:aws:s3:::reports";
    ns.ready(aws_policy("readers", MINISTACK, vec![statement(&["s3:GetObject"], &["arn:aws:s3:::reports/*"])])).await?;
    ns.ready(aws_policy("listers", MINISTACK, vec![statement(&["s3:ListBucket"], &[reports])])).await?;
    ns.ready(kubernetes_policy("pods", &ns.name, &["get pods", "list pods"])).await?;
    Ok(())
}

async fn run(ns: &Scope, container: &str, command: &[&str]) -> Result<Output> {
    kubectl(&[&["-n", &ns.name, "exec", "agent", "-c", container, "--"], command].concat()).await
}

async fn said(ns: &Scope, container: &str, command: &[&str]) -> Result<String> {
    run(ns, container, command).await?.ok()
}

async fn calls(ns: &Scope, container: &str) -> Result<Vec<String>> {
    Ok(said(ns, container, &["python3", "-c", CALLS]).await?.lines().map(str::to_owned).collect())
}

async fn session_of(ns: &Scope, policy: &str) -> Result<CredentialSession> {
    let all = ns.sessions("agent").await?;
    let found = all.into_iter().find(|session| session.spec.request.policy_ref.name == policy);
    found.ok_or_else(|| Failure::new(format!("there is no session of {policy}")))
}

/// Each gate, of each policy.
async fn explained(ns: &Scope) -> Result<Vec<Value>> {
    let told = exeat(&["explain", "pod", "agent", "-n", &ns.name, "-o", "json"]).await?;
    serde_json::from_str(&told.stdout).map_err(|error| Failure::new(format!("{error}: {told}")))
}

#[tokio::test]
async fn two_containers_of_a_pod_each_with_an_aws_policy_that_the_other_can_not_use() -> Result {
    in_namespace("containers", async |ns| {
        policies(&ns).await?;
        let pod = ns.start(pod()).await?;
        let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        assert_eq!(inits.filter(|c| c.name == names::SIDECAR).count(), 1, "one sidecar");
        wait_for("the helper runs", 30, async || run(&ns, "helper", &["true"]).await?.ok()).await?;
        assert_eq!(calls(&ns, "agent").await?, ["get ok", "list AccessDenied"]);
        assert_eq!(calls(&ns, "helper").await?, ["get AccessDenied", "list ok"]);
        assert_eq!(said(&ns, "helper", &["sh", "-c", KUBECTL]).await?.trim(), "pod/agent");

        // Nothing of the helper's is in the agent, and what is there opens nothing of the helper's.
        let secret = ["cat", "/var/run/exeat/token"];
        assert_ne!(said(&ns, "agent", &secret).await?, said(&ns, "helper", &secret).await?);
        assert_eq!(said(&ns, "agent", &["ls", "/var/run/exeat"]).await?.trim(), "token", "no kubeconfig");
        let mounted = said(&ns, "agent", &["sh", "-c", "cut -d ' ' -f 2 /proc/mounts | grep -c exeat"]).await?;
        assert_eq!(mounted.trim(), "1", "one volume of ours");
        let refused = said(&ns, "agent", &["python3", "-c", NEIGHBOUR]).await?;
        assert!(refused.starts_with("401 ") && refused.contains("LoopbackSecretWrong"), "{refused}");
        run(&ns, "agent", &["sh", "-c", KUBECTL]).await?.failed()?;

        let listers = session_of(&ns, "listers").await?;
        assert_eq!(listers.spec.request.primary.as_deref(), Some("readers"), "the pod's own policy is its first");
        ns.revoke(&listers, "looks odd").await?;
        wait_for("the helper is told", 30, async || {
            let told = run(&ns, "helper", &["python3", "-c", CALLS]).await?.failed()?;
            ensure!(told.contains("SessionRevoked") || told.contains("CredentialRetrievalError"), "{told}");
            Ok(())
        })
        .await?;
        assert_eq!(calls(&ns, "agent").await?, ["get ok", "list AccessDenied"], "the agent goes on");
        assert_eq!(
            said(&ns, "helper", &["sh", "-c", KUBECTL]).await?.trim(),
            "pod/agent",
            "and so does the helper's other"
        );
        for (policy, wanted) in [("readers", Phase::Active), ("listers", Phase::Revoked), ("pods", Phase::Active)] {
            assert_eq!(phase(&session_of(&ns, policy).await?), Some(wanted), "{policy}");
        }
        let gates = explained(&ns).await?;
        let failing: BTreeSet<&str> = gates
            .iter()
            .filter(|gate| gate["verdict"] == "Fail")
            .map(|gate| gate["policy"].as_str().unwrap_or_default())
            .collect();
        assert_eq!(failing, BTreeSet::from(["listers"]), "{gates:#?}");
        let whole: Vec<&Value> = gates.iter().filter(|gate| gate["gate"] == "pod").collect();
        assert!(whole.len() == 1 && whole[0]["policy"].is_null() && whole[0]["verdict"] == "Ok", "{whole:#?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn policies_of_containers_that_can_not_be_told_apart_are_refused_by_name() -> Result {
    in_namespace("apart", async |ns| {
        policies(&ns).await?;
        let both = pod().annotated("policy.exeat.dev/helper", "readers,listers");
        let without = |mut pod: Pod| {
            pod.annotations_mut().remove(names::POLICY);
            pod
        };
        for (pod, parts) in [
            (both, &["annotation policy.exeat.dev/helper", "\"readers\" and \"listers\"", "kind aws"][..]),
            (agent("agent", "readers,listers"), &["annotation exeat.dev/policy", "policy.exeat.dev/<container>"]),
            (without(pod()), &["annotation exeat.dev/policy", "missing"]),
            (
                pod().annotated("policy.exeat.dev/agent", "readers"),
                &["no container is left that would use its policies"],
            ),
        ] {
            let refused = ns.expect_refused(&pod).await?;
            for part in parts {
                assert!(refused.contains(part), "{part} is not in {refused}");
            }
        }
        Ok(())
    })
    .await
}
