//! The mistakes of the first hour, made for real: `kubectl exeat explain` finds each, and names the fix, to a member of a team that has the rights
//! of config/samples/rbac-team.yaml and no others.

use crate::cli::DENIED;
use exeat_crds::v1alpha1::{AwsSource, NameRef, Phase};
use exeat_e2e::approvals::rule;
use exeat_e2e::{
    AWS_ACCOUNT, AgentPod, GRANTS, KUBERNETES, MINIO, MINISTACK, Output, ROOT, Result, S3_MINIO, Scope, agent,
    aws_policy, deployment, ensure, exeat, in_namespace, kubectl, kubernetes_policy, provider, script, shell,
    statement, wait_for,
};
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

/// Who reads docs/teams.md.
const MEMBER: [&str; 4] = ["--as", "maya", "--as-group", TEAM];
const TEAM: &str = "first-hour-team";

/// A story in the namespace of a team: the sample binds it, under names of our own.
async fn in_the_teams_namespace(story: &str, run: impl AsyncFnOnce(Scope) -> Result) -> Result {
    in_namespace(story, async move |ns| {
        let sample = std::fs::read_to_string(format!("{ROOT}/config/samples/rbac-team.yaml"))?;
        let ours = sample.replace("exeat-use-in-cluster", "first-hour-use").replace("agents-team", TEAM);
        let ours = ours.replace("namespace: agents}", &format!("namespace: {}}}", ns.name));
        shell(&format!("kubectl apply --server-side --force-conflicts -f - <<'E'\n{ours}\nE")).await?.ok()?;
        run(ns).await
    })
    .await
}

/// Waits until `explain` of it says all of these to a member of the team, and that a gate is closed.
async fn finds(ns: &Scope, what: &str, words: &[&str]) -> Result {
    told(ns, &MEMBER, what, words).await
}

/// The same, to who may read everything.
async fn admin_finds(ns: &Scope, what: &str, words: &[&str]) -> Result {
    told(ns, &[], what, words).await
}

async fn told(ns: &Scope, who: &[&str], what: &str, words: &[&str]) -> Result {
    let (kind, name) = what.split_once('/').unwrap_or(("pod", what));
    wait_for(&format!("explain finds {words:?}"), 90, async || {
        let output: Output = exeat(&[who, &["-n", &ns.name, "explain", kind, name]].concat()).await?;
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
    in_the_teams_namespace("first-provider", async |ns| {
        let mut broken = provider("broken", MINISTACK, &["arn:aws:iam::000000000000:role/*"], &["s3:*"]);
        if let Some(aws) = &mut broken.spec.aws {
            // It is there, and has another provider's keys.
            (aws.source, aws.secret_ref) = (AwsSource::Secret, Some(NameRef { name: "openbao".to_owned() }));
        }
        let broken = ns.create_provider(broken).await?.name_any();
        ns.create(&aws_policy("reports", &broken, reads())).await?;
        ns.create(&deployment("fleet", &agent("x", "reports"), 1)?).await?;
        finds(
            &ns,
            "deployment/fleet",
            &[
                "FAIL  provider Ready",
                "BaseIdentityInvalid",
                "the Secret openbao in namespace exeat-system has no text under the key accessKeyID",
                "spec.aws.source of the CredentialProvider",
            ],
        )
        .await?;
        let listed = kubectl(&[&["get", "cprov"][..], &MEMBER].concat()).await?.ok()?;
        ensure!(listed.contains(&broken), "a team sees which providers there are: {listed}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_role_that_does_not_trust_the_issuer() -> Result {
    in_the_teams_namespace("first-trust", async |ns| {
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
    in_the_teams_namespace("first-namespace", async |ns| {
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
    in_the_teams_namespace("first-irsa", async |ns| {
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
    in_the_teams_namespace("first-egress", async |ns| {
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
    in_the_teams_namespace("first-node", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let arm = |spec: &mut k8s_openapi::api::core::v1::PodSpec| {
            spec.node_selector = Some([("kubernetes.io/arch".to_owned(), "arm64".to_owned())].into());
        };
        ns.create(&agent("arm", "pods").with(arm)).await?;
        finds(&ns, "arm", &["FAIL  start-up", "Unschedulable", "linux/arm64"]).await?;
        ns.create(&foreign_program()).await?;
        let volume = json!([{"name": "foreign", "configMap": {"name": "foreign", "defaultMode": 0o555}}]);
        let mount = json!([{"name": "foreign", "mountPath": "/foreign"}]);
        let foreign = agent("foreign", "pods").with(|spec| spec.volumes = serde_json::from_value(volume).ok());
        ns.create(&foreign.with_agent(|container| {
            container.command = Some(vec!["/foreign/agent".to_owned()]);
            container.volume_mounts = serde_json::from_value(mount).ok();
        }))
        .await?;
        finds(&ns, "foreign", &["FAIL  start-up", "Architecture", "use an image for this architecture"]).await?;
        let image =
            |c: &mut k8s_openapi::api::core::v1::Container| c.image = Some("registry.invalid/agent:1".to_owned());
        ns.create(&agent("image", "pods").with_agent(image)).await?;
        finds(&ns, "image", &["FAIL  start-up", "name an image that the node can pull"]).await
    })
    .await
}

/// A program for the architecture that the node has not: a header is enough to be refused.
fn foreign_program() -> ConfigMap {
    const X86_64: u8 = 62;
    const AARCH64: u8 = 183;
    let machine = if cfg!(target_arch = "x86_64") { AARCH64 } else { X86_64 };
    let mut header = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
    header.resize(64, 0);
    (header[16], header[18], header[20]) = (2, machine, 1);
    let mut program = ConfigMap::default();
    program.metadata.name = Some("foreign".to_owned());
    program.binary_data = Some([("agent".to_owned(), ByteString(header))].into());
    program
}

/// A registry that lets nobody pull without a password. containerd speaks plain HTTP to a registry on its own loopback, so it runs in
/// the node's network, and in a namespace that may do so.
const REGISTRY: &str = r#"
from http.server import BaseHTTPRequestHandler, HTTPServer
class Private(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="private"')
        self.end_headers()
    do_HEAD = do_GET
HTTPServer(("127.0.0.1", 5911), Private).serve_forever()
"#;

#[tokio::test]
async fn an_image_in_a_private_registry() -> Result {
    in_the_teams_namespace("first-registry", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let registry: Api<Pod> = Api::namespaced(ns.client.clone(), "kube-system");
        let mut server = script("e2e-private-registry", "", "").with_agent(|container| {
            container.command = Some(["python3", "-c", REGISTRY].map(str::to_owned).to_vec());
        });
        (server.metadata.annotations, server.metadata.namespace) = (None, Some("kube-system".to_owned()));
        let server = server.with(|spec| (spec.host_network, spec.service_account_name) = (Some(true), None));
        registry.create(&PostParams::default(), &server).await?;

        let private = |name: &str| {
            agent(name, "pods").with_agent(|container| container.image = Some("127.0.0.1:5911/team/agent:1".to_owned()))
        };
        ns.create(&private("bare")).await?;
        let nowhere = json!([{"name": "nowhere"}]);
        ns.create(&private("named").with(|spec| spec.image_pull_secrets = serde_json::from_value(nowhere).ok()))
            .await?;
        let bare = finds(&ns, "bare", &["FAIL  start-up", "PrivateRegistry", "the service account's imagePullSecrets"]);
        let named =
            finds(&ns, "named", &["FAIL  start-up", "PrivateRegistry", "nowhere", "create secret docker-registry"]);
        let outcome = (bare.await, named.await);
        registry.delete("e2e-private-registry", &DeleteParams::default()).await?;
        outcome.0.and(outcome.1)
    })
    .await
}

/// One machine has one clock: the heartbeats are those that a kubelet writes whose clock is wrong.
#[tokio::test]
async fn a_node_whose_clock_is_wrong() -> Result {
    in_the_teams_namespace("first-clock", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["list pods"])).await?;
        let node = format!("{}-node", ns.name);
        let (nodes, leases): (Api<Node>, Api<Lease>) =
            (Api::all(ns.client.clone()), Api::namespaced(ns.client.clone(), "kube-node-lease"));
        let taints = json!([{"key": "e2e", "effect": "NoSchedule"}]);
        let object = json!({"metadata": {"name": node}, "spec": {"unschedulable": true, "taints": taints}});
        nodes.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        let lease = json!({"metadata": {"name": node}, "spec": {"holderIdentity": node, "leaseDurationSeconds": 40}});
        leases.create(&PostParams::default(), &serde_json::from_value(lease)?).await?;
        let outcome = async {
            ns.create(&agent("agent", "pods").with(|spec| spec.node_name = Some(node.clone()))).await?;
            for (off, words) in [(600, "s ahead of the API server's"), (-600, "its clock is behind")] {
                let beat = exeat_e2e::now() + SignedDuration::from_secs(off);
                let beat = json!({"spec": {"renewTime": MicroTime(beat)}});
                leases.patch(&node, &PatchParams::default(), &Patch::Merge(&beat)).await?;
                finds(&ns, "agent", &["FAIL  clock", words, &node, "keep time"]).await?;
            }
            Ok(())
        };
        let outcome = outcome.await;
        // No kubelet is there to let the pod go.
        ns.api::<Pod>().delete("agent", &DeleteParams::default().grace_period(0)).await?;
        nodes.delete(&node, &DeleteParams::default()).await?;
        outcome
    })
    .await
}

#[tokio::test]
async fn an_agent_that_signs_with_a_wrong_clock() -> Result {
    const AHEAD: &str = "python3 -c '
import boto3, botocore.auth, datetime, os
real = botocore.auth.get_current_datetime
botocore.auth.get_current_datetime = lambda *a, **k: real(*a, **k) + datetime.timedelta(hours=1)
boto3.client(\"s3\", endpoint_url=os.environ[\"S3\"]).list_objects_v2(Bucket=\"reports\")'; sleep 86400";
    in_the_teams_namespace("first-skew", async |ns| {
        ns.ready(aws_policy("reports", MINIO, vec![statement(&["s3:ListBucket"], &["arn:aws:s3:::reports"])])).await?;
        ns.start(script("ahead", "reports", AHEAD).with_env("S3", S3_MINIO)).await?;
        finds(&ns, "ahead", &["FAIL  clock", "two clocks differ", "RequestTimeTooSkewed"]).await
    })
    .await
}

#[tokio::test]
async fn an_approval_that_nobody_can_give() -> Result {
    in_the_teams_namespace("first-approval", async |ns| {
        ns.guarded(vec![rule("lists", &["list pods"], &[("compliance", 1), ("security", 1)])?]).await?;
        ns.create(&deployment("fleet", &agent("x", "pods"), 1)?).await?;
        ns.in_phase(Phase::AwaitingApproval, 1, 60).await?;
        let create = |name: &str, groups: &str| {
            format!("kubectl -n {} create rolebinding {name} --clusterrole=exeat-approver {groups}", ns.name)
        };
        let both = create("exeat-approvers", "--group=compliance --group=security");
        admin_finds(&ns, "deployment/fleet", &["FAIL  approval", "NobodyCanApprove", &both]).await?;
        // Who may not read bindings is told that much.
        finds(&ns, "deployment/fleet", &["FAIL  approval", "ApprovalPending", "is not for you to see"]).await?;
        shell(&create("exeat-approvers", "--group=security")).await?.ok()?;
        let more = create("exeat-more-approvers", "--group=compliance");
        let half = ["FAIL  approval", "ApprovalPending", "1 of security", "warn  approval", "NobodyCanApprove", &more];
        admin_finds(&ns, "deployment/fleet", &half).await?;
        shell(&more).await?.ok()?;
        let output = exeat(&["-n", &ns.name, "explain", "deployment/fleet"]).await?;
        ensure!(output.code == DENIED && output.stdout.contains("FAIL  approval"), "it still waits: {output}");
        ensure!(!output.stdout.contains("NobodyCanApprove"), "both groups are bound: {output}");
        Ok(())
    })
    .await
}

/// An agent whose author has put keys into its code.
const KEYS_IN_CODE: &str = "python3 -c '
import boto3, os
keys = {\"aws_access_key_id\": \"of-the-author\", \"aws_secret_access_key\": \"in-code\", \"region_name\": \"us-east-1\"}
boto3.client(\"s3\", endpoint_url=os.environ[\"S3\"], **keys).list_buckets()'; sleep 86400";

#[tokio::test]
async fn an_sdk_that_is_too_old_or_never_asks() -> Result {
    in_the_teams_namespace("first-sdk", async |ns| {
        ns.ready(aws_policy("reports", MINISTACK, reads())).await?;
        let never = script("never", "reports", KEYS_IN_CODE).with_env("S3", S3_MINIO);
        ns.start(never).await?;
        let old = "curl -s -o /dev/null \"$AWS_CONTAINER_CREDENTIALS_FULL_URI\"; sleep 86400";
        ns.start(script("old", "reports", old)).await?;
        let lost = "env -u AWS_CONTAINER_CREDENTIALS_FULL_URI aws s3 ls; sleep 86400";
        ns.start(script("lost", "reports", lost)).await?;
        finds(&ns, "old", &["FAIL  use", "LoopbackSecretMissing", "exeat.dev/aws-token: Env"]).await?;
        finds(&ns, "lost", &["FAIL  use", "NeverUsed", "Unable to locate credentials", "CREDENTIALS_FULL_URI"]).await?;
        let silent =
            ["FAIL  use", "NeverUsed", "has never asked the sidecar", "no keys in code", "One gate is closed: use."];
        finds(&ns, "never", &silent).await?;
        let log = ns.log("never", "agent").await?;
        ensure!(log.contains("InvalidAccessKeyId"), "it called with keys of its own: {log}");
        let running: Vec<Pod> = ns.api::<Pod>().list(&Default::default()).await?.items;
        assert_eq!(running.len(), 3);
        Ok(())
    })
    .await
}
