//! The mistakes of the first hour, made for real: `kubectl exeat explain` finds each, and names the fix.

use exeat_crds::v1alpha1::{AwsSource, NameRef, Phase};
use exeat_e2e::approvals::rule;
use exeat_e2e::{
    AWS_ACCOUNT, AgentPod, GRANTS, KUBERNETES, MINISTACK, Output, Result, Scope, agent, aws_policy, deployment, ensure,
    exeat, in_namespace, kubernetes_policy, provider, script, statement, wait_for,
};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use serde_json::json;

/// Exit code of a command by which a gate says no.
const DENIED: i32 = 3;

/// Waits until `explain` of it says all of these, and that a gate is closed.
async fn finds(ns: &Scope, what: &str, words: &[&str]) -> Result {
    let (kind, name) = what.split_once('/').unwrap_or(("pod", what));
    wait_for(&format!("explain finds {words:?}"), 90, async || {
        let output: Output = exeat(&["-n", &ns.name, "explain", kind, name]).await?;
        let missing: Vec<_> = words.iter().filter(|word| !output.stdout.contains(**word)).collect();
        ensure!(missing.is_empty() && output.code == DENIED, "{missing:?} is not said: {output}");
        Ok(())
    })
    .await
}

fn reads() -> Vec<exeat_crds::rules::Statement> {
    vec![statement(&["s3:GetObject"], &["arn:aws:s3:::reports/*"])]
}

#[tokio::test]
async fn a_provider_that_is_not_ready() -> Result {
    in_namespace("first-provider", async |ns| {
        let mut broken = provider("broken", MINISTACK, &["arn:aws:iam::000000000000:role/*"], &["s3:*"]);
        if let Some(aws) = &mut broken.spec.aws {
            (aws.source, aws.secret_ref) = (AwsSource::Secret, Some(NameRef { name: "e2e-nowhere".to_owned() }));
        }
        let broken = ns.create_provider(broken).await?.name_any();
        ns.create(&aws_policy("reports", &broken, reads())).await?;
        ns.create(&deployment("fleet", &agent("x", "reports"), 1)?).await?;
        finds(&ns, "deployment/fleet", &["FAIL  provider Ready", "e2e-nowhere"]).await
    })
    .await
}

#[tokio::test]
async fn a_role_that_does_not_trust_the_issuer() -> Result {
    in_namespace("first-trust", async |ns| {
        let mut policy = aws_policy("reports", MINISTACK, reads());
        policy.spec.principal = format!("arn:aws:iam::{AWS_ACCOUNT}:role/agents/agents/untrusting");
        ns.create(&policy).await?;
        ns.create(&deployment("fleet", &agent("x", "reports"), 1)?).await?;
        finds(
            &ns,
            "deployment/fleet",
            &[
                "FAIL  policy Ready",
                "AssumeRoleDenied",
                "trust policy of arn:aws:iam::000000000000:role/agents/agents/untrusting",
            ],
        )
        .await
    })
    .await
}

#[tokio::test]
async fn a_namespace_that_is_not_served() -> Result {
    in_namespace("first-namespace", async |ns| {
        let mut elsewhere = provider("elsewhere", KUBERNETES, &[GRANTS], &["get *", "list *"]);
        elsewhere.spec.bindings[0].namespaces = vec!["another-team".to_owned()];
        let mut policy = kubernetes_policy("pods", &ns.name, &["list pods"]);
        policy.spec.provider_ref.name = ns.create_provider(elsewhere).await?.name_any();
        ns.create(&policy).await?;
        ns.create(&deployment("fleet", &agent("x", "pods"), 1)?).await?;
        finds(&ns, "deployment/fleet", &["FAIL  guardrails", "NamespaceNotServed", "platform admin"]).await
    })
    .await
}

#[tokio::test]
async fn credentials_that_are_there_already() -> Result {
    in_namespace("first-irsa", async |ns| {
        ns.ready(aws_policy("reports", MINISTACK, reads())).await?;
        let keys = agent("x", "reports").with_env("AWS_ROLE_ARN", "arn:aws:iam::000000000000:role/x");
        ns.create(&deployment("fleet", &keys, 1)?).await?;
        finds(&ns, "deployment/fleet", &["FAIL  pod", "AWS_ROLE_ARN", "eks.amazonaws.com/role-arn"]).await?;
        let account = json!({"metadata": {"name": "agent", "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::000000000000:role/x"}}});
        ns.api::<ServiceAccount>().patch("agent", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(&account)).await?;
        ns.create(&deployment("other", &agent("x", "reports"), 1)?).await?;
        finds(&ns, "deployment/other", &["account", "IRSA", "without the annotation"]).await
    })
    .await
}

#[tokio::test]
async fn egress_that_is_denied() -> Result {
    in_namespace("first-egress", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let deny = json!({"metadata": {"name": "deny-all"}, "spec": {"podSelector": {}, "policyTypes": ["Egress"]}});
        ns.create(&serde_json::from_value::<NetworkPolicy>(deny)?).await?;
        // The cluster of the tests enforces no network policies: the pod is kept from the issuer as a network would.
        ns.create(&agent("agent", "pods").with(|spec| spec.dns_policy = Some("None".to_owned())).with(|spec| {
            spec.dns_config = serde_json::from_value(json!({"nameservers": ["192.0.2.1"]})).ok();
        }))
        .await?;
        finds(&ns, "agent", &["FAIL  egress", "deny-all", "TCP 8443"]).await
    })
    .await
}

#[tokio::test]
async fn nodes_of_another_kind_and_images_that_are_not_there() -> Result {
    in_namespace("first-node", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let arm = |spec: &mut k8s_openapi::api::core::v1::PodSpec| {
            spec.node_selector = Some([("kubernetes.io/arch".to_owned(), "arm64".to_owned())].into());
        };
        ns.create(&agent("arm", "pods").with(arm)).await?;
        finds(&ns, "arm", &["FAIL  start-up", "Unschedulable", "linux/arm64"]).await?;
        let image =
            |c: &mut k8s_openapi::api::core::v1::Container| c.image = Some("registry.invalid/agent:1".to_owned());
        ns.create(&agent("image", "pods").with_agent(image)).await?;
        finds(&ns, "image", &["FAIL  start-up", "name an image that the node can pull"]).await
    })
    .await
}

#[tokio::test]
async fn an_approval_that_nobody_can_give() -> Result {
    in_namespace("first-approval", async |ns| {
        ns.guarded(vec![rule("lists", &["list pods"], &[("security", 1)])?]).await?;
        ns.create(&deployment("fleet", &agent("x", "pods"), 1)?).await?;
        ns.in_phase(Phase::AwaitingApproval, 1, 60).await?;
        let fix = format!(
            "kubectl -n {} create rolebinding exeat-approvers --clusterrole=exeat-approver --group=security",
            ns.name
        );
        finds(&ns, "deployment/fleet", &["FAIL  approval", "NobodyCanApprove", &fix]).await?;
        exeat_e2e::shell(&fix).await?.ok()?;
        finds(&ns, "deployment/fleet", &["FAIL  approval", "ApprovalPending", "1 of security", "kubectl exeat approve"])
            .await
    })
    .await
}

#[tokio::test]
async fn an_sdk_that_is_too_old_or_never_asks() -> Result {
    in_namespace("first-sdk", async |ns| {
        ns.ready(aws_policy("reports", MINISTACK, reads())).await?;
        let old = "curl -s -o /dev/null \"$AWS_CONTAINER_CREDENTIALS_FULL_URI\"; sleep 86400";
        ns.start(script("old", "reports", old)).await?;
        let never = "echo 'botocore.exceptions.NoCredentialsError: Unable to locate credentials'; sleep 86400";
        ns.start(script("never", "reports", never)).await?;
        finds(&ns, "old", &["FAIL  use", "LoopbackSecretMissing", "exeat.dev/aws-token: Env"]).await?;
        finds(&ns, "never", &["FAIL  use", "NeverUsed", "AWS_CONTAINER_CREDENTIALS_FULL_URI"]).await?;
        let running: Vec<Pod> = ns.api::<Pod>().list(&Default::default()).await?.items;
        assert_eq!(running.len(), 2);
        Ok(())
    })
    .await
}
