//! What is refused, with the words in which a user meets it: the reason, the field and the fix.

use exeat_crds::names;
use exeat_crds::v1alpha1::{Budget, CredentialProviderSpec, Delivery, HttpProvider, Limits, Mode, NameRef};
use exeat_crds::{AgentCredentialPolicy, CredentialProvider, condition};
use exeat_e2e::{
    AgentPod, GRANTS, KUBERNETES, MINISTACK, Result, Scope, agent, aws_policy, connect_as, ensure, in_namespace,
    kubectl, kubernetes_policy, policy, provider, refused, statement, wait_for,
};
use k8s_openapi::api::core::v1::{ConfigMapEnvSource, EnvFromSource, Pod};
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use serde_json::json;

fn assert_says(what: &str, message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{what}: {part:?} is not in: {message}");
    }
}

/// A policy that can't grant, with a pod that asks for it: both say why.
async fn refuses(ns: &Scope, policy: AgentCredentialPolicy, reason: &str, parts: &[&str]) -> Result {
    let name = policy.name_any();
    let ready = ns.not_ready(policy, reason).await?;
    assert_says(&name, &ready.message, parts);
    let pod = ns.expect_refused(&agent(&name, &name)).await?;
    assert_says(&name, &pod, &[&[reason][..], parts].concat());
    Ok(())
}

#[tokio::test]
async fn what_a_provider_does_not_offer() -> Result {
    in_namespace("offer", async |ns| {
        let mut elsewhere = provider("elsewhere", KUBERNETES, &[GRANTS], &["get *"]);
        elsewhere.spec.bindings[0].namespaces = vec!["another-team".to_owned()];
        let elsewhere = ns.create_provider(elsewhere).await?.name_any();
        let all = vec![statement(&["get pods"], &[&format!("{}/*", ns.name)])];
        let not_served = policy("not-served", &elsewhere, GRANTS, all.clone());
        refuses(&ns, not_served, "NamespaceNotServed", &[&ns.name, &elsewhere, "spec.bindings[].namespaces"]).await?;

        let own = provider("own", MINISTACK, &["arn:aws:iam::000000000000:role/agents/${namespace}/*"], &["s3:*"]);
        let own = ns.create_provider(own).await?.name_any();
        let foreign = aws_policy("foreign-role", &own, vec![statement(&["s3:GetObject"], &["arn:aws:s3:::reports/*"])]);
        let role = foreign.spec.principal.clone();
        refuses(&ns, foreign, "PrincipalNotAllowed", &["spec.principal", &role, "platform admin"]).await?;

        let wide = kubernetes_policy("too-much", &ns.name, &["delete pods"]);
        refuses(&ns, wide, "ActionNotAllowed", &["spec.allow[0].actions[0]", "delete pods"]).await?;
        let unknown = policy("no-provider", "no-such-provider", GRANTS, all);
        refuses(&ns, unknown, "ProviderNotFound", &["spec.providerRef.name", "no-such-provider"]).await
    })
    .await
}

#[tokio::test]
async fn pods_that_no_policy_covers() -> Result {
    in_namespace("covers", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["get pods", "list pods"])).await?;
        let mut selective = kubernetes_policy("selective", &ns.name, &["get pods"]);
        let labels = [("team".to_owned(), "red".to_owned())].into();
        selective.spec.subjects.pod_selector = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector {
            match_labels: Some(labels),
            match_expressions: None,
        });
        ns.ready(selective).await?;
        let narrowed = |value: &str| agent("a", "pods").annotated(names::ALLOW, value);
        for (what, pod, parts) in [
            ("unknown policy", agent("a", "nowhere"), &["PolicyNotFound", "exeat.dev/policy", "nowhere"][..]),
            (
                "another account",
                agent("a", "pods").with(|s| s.service_account_name = Some("default".to_owned())),
                &["PodNotCovered", "default", "spec.serviceAccountName", "spec.subjects.serviceAccounts"],
            ),
            ("no label", agent("a", "selective"), &["PodNotCovered", "spec.subjects.podSelector"]),
            (
                "narrowing with another action",
                narrowed(&format!("delete pods on {}/*", ns.name)),
                &["NarrowingTooWide", "exeat.dev/allow", "delete pods"],
            ),
            ("narrowing with another namespace", narrowed("get pods on default/*"), &["NarrowingTooWide", "default/*"]),
            ("narrowing that can't be read", narrowed("get pods"), &["AnnotationInvalid", "exeat.dev/allow", " on "]),
            (
                "a longer session",
                agent("a", "pods").annotated(names::DURATION, "100h"),
                &["DurationTooLong", "exeat.dev/duration", "100h"],
            ),
            (
                "a misspelt annotation",
                agent("a", "pods").annotated("exeat.dev/polcy", "pods"),
                &["AnnotationInvalid", "exeat.dev/polcy", "did you mean exeat.dev/policy"],
            ),
            (
                "a policy of a container that is not there",
                agent("a", "pods").annotated("policy.exeat.dev/agnt", "pods"),
                &["AnnotationInvalid", "policy.exeat.dev/agnt", "did you mean policy.exeat.dev/agent"],
            ),
            (
                "what the probe waits for",
                agent("a", "pods").annotated(names::WAIT, "Approval"),
                &["AnnotationInvalid", "exeat.dev/wait", "write decision"],
            ),
        ] {
            assert_says(what, &ns.expect_refused(&pod).await?, parts);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn pods_in_which_a_credential_would_not_be_safe() -> Result {
    in_namespace("unsafe", async |ns| {
        ns.ready(kubernetes_policy("pods", &ns.name, &["get pods"])).await?;
        let pod = || agent("a", "pods");
        let mount = |name: &str| json!({"name": name, "mountPath": "/x"});
        let volume = |v: serde_json::Value| serde_json::from_value(v).expect("a volume");
        let with_mount = |name: &str| {
            let mount = serde_json::from_value(mount(name)).expect("a mount");
            pod().with_agent(|c| c.volume_mounts = Some(vec![mount]))
        };
        let sources = json!([{"serviceAccountToken": {"audience": "exeat.dev", "path": "token"}}]);
        let token = volume(json!({"name": "mine", "projected": {"sources": sources}}));
        let node = volume(json!({"name": "node", "hostPath": {"path": "/var/lib/kubelet"}}));
        let context = |value| serde_json::from_value(value).expect("a security context");
        for (what, pod, field) in [
            ("hostNetwork", pod().with(|s| s.host_network = Some(true)), "spec.hostNetwork"),
            ("hostPID", pod().with(|s| s.host_pid = Some(true)), "spec.hostPID"),
            ("hostIPC", pod().with(|s| s.host_ipc = Some(true)), "spec.hostIPC"),
            (
                "shareProcessNamespace",
                pod().with(|s| s.share_process_namespace = Some(true)),
                "spec.shareProcessNamespace",
            ),
            ("hostPath", pod().with(|s| s.volumes = Some(vec![node])), "spec.volumes[name=node].hostPath"),
            ("own token", pod().with(|s| s.volumes = Some(vec![token])), "spec.volumes[name=mine].projected"),
            ("identity volume", with_mount(names::IDENTITY_VOLUME), "volumeMounts[mountPath=/x]"),
            ("memory volume", with_mount(names::RUN_VOLUME), "volumeMounts[mountPath=/x]"),
            (
                "privileged",
                pod().with_agent(|c| c.security_context = context(json!({"privileged": true}))),
                "securityContext.privileged",
            ),
            (
                "SYS_PTRACE",
                pod().with_agent(|c| c.security_context = context(json!({"capabilities": {"add": ["SYS_PTRACE"]}}))),
                "capabilities.add",
            ),
            (
                "the sidecar's user",
                pod().with_agent(|c| c.security_context = context(json!({"runAsUser": 60911}))),
                "securityContext.runAsUser",
            ),
        ] {
            let message = ns.expect_refused(&pod).await?;
            assert_says(what, &message, &["PodUnsuitable", field]);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn variables_that_an_sdk_would_follow_before_the_sidecar() -> Result {
    in_namespace("shadow", async |ns| {
        ns.ready(aws_policy("reports", MINISTACK, vec![statement(&["s3:GetObject"], &["arn:aws:s3:::reports/*"])]))
            .await?;
        let pod = || agent("a", "reports");
        let from = EnvFromSource {
            config_map_ref: Some(ConfigMapEnvSource { name: "settings".to_owned(), optional: Some(true) }),
            ..EnvFromSource::default()
        };
        for (what, pod, parts) in [
            (
                "static keys",
                pod().with_env("AWS_ACCESS_KEY_ID", "AKIA"),
                &["env[name=AWS_ACCESS_KEY_ID]", "static keys", "remove"][..],
            ),
            ("profile", pod().with_env("AWS_PROFILE", "prod"), &["env[name=AWS_PROFILE]", "remove"]),
            (
                "IRSA",
                pod()
                    .with_env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
                    .with_env("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"),
                &["env[name=AWS_ROLE_ARN]", "env[name=AWS_WEB_IDENTITY_TOKEN_FILE]", "eks.amazonaws.com/role-arn"],
            ),
            (
                "another endpoint",
                pod().with_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2"),
                &["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"],
            ),
            (
                "envFrom",
                pod().with_agent(|c| c.env_from = Some(vec![from.clone()])),
                &["envFrom", "ConfigMap \"settings\"", "exeat.dev/allow-env-from"],
            ),
        ] {
            assert_says(what, &ns.expect_refused(&pod).await?, parts);
        }
        let checked = pod().with_agent(|c| c.env_from = Some(vec![from])).annotated(names::ALLOW_ENV_FROM, "agent");
        ns.start(checked).await?;
        Ok(())
    })
    .await
}

fn unbuilt(namespace: &str) -> Vec<(&'static str, AgentCredentialPolicy)> {
    let base = |name: &str| kubernetes_policy(name, namespace, &["get pods"]);
    let mut cases = vec![
        ("spec.limits", base("limits")),
        ("spec.budget", base("budget")),
        ("spec.delivery: Broker", base("broker")),
        ("spec.mode: Observe", base("observe")),
    ];
    cases[0].1.spec.limits = limits();
    cases[1].1.spec.budget = budget();
    cases[2].1.spec.delivery = Delivery::Broker;
    cases[3].1.spec.mode = Mode::Observe;
    cases
}

fn limits() -> Option<Limits> {
    Some(Limits { concurrent: Some(5), ..Limits::default() })
}

fn budget() -> Option<Budget> {
    let limit = "5.00".to_owned();
    Some(Budget { limit, per: Default::default(), warn_at_percent: None, on_exceeded: Default::default() })
}

#[tokio::test]
async fn fields_that_are_not_built_yet_grant_nothing() -> Result {
    in_namespace("unbuilt", async |ns| {
        for (field, policy) in unbuilt(&ns.name) {
            refuses(&ns, policy, "NotImplemented", &[field, "not implemented"]).await?;
        }
        let base = || provider("guarded", KUBERNETES, &[GRANTS], &["get *"]);
        let mut bindings = [("limits", base()), ("budget", base())];
        bindings[0].1.spec.bindings[0].limits = limits();
        bindings[1].1.spec.bindings[0].budget = budget();
        for (field, mut provider) in bindings {
            provider.metadata.name = Some(field.to_lowercase());
            let name = ns.create_provider(provider).await?.name_any();
            let all = vec![statement(&["get pods"], &[&format!("{}/*", ns.name)])];
            let policy = policy(&format!("binding-{}", field.to_lowercase()), &name, GRANTS, all);
            refuses(&ns, policy, "NotImplemented", &[&format!("spec.bindings[name=e2e].{field}")]).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn kinds_of_provider_that_are_not_built_yet_say_so() -> Result {
    in_namespace("kinds", async |ns| {
        let base = provider("x", KUBERNETES, &["*"], &["*"]).spec;
        let none = CredentialProviderSpec { kubernetes: None, ..base };
        let http = Some(HttpProvider { secret_ref: NameRef { name: "s".to_owned() } });
        let spec = CredentialProviderSpec { http, ..none };
        let name = ns.create_provider(CredentialProvider::new("http", spec)).await?.name_any();
        let message = wait_for("provider http is refused", 30, async || {
            let provider = Api::<CredentialProvider>::all(ns.client.clone()).get(&name).await?;
            let conditions = provider.status.unwrap_or_default().conditions;
            let ready = condition::get(&conditions, "Ready");
            ensure!(ready.is_some_and(|c| c.status == "False" && c.reason == "NotImplemented"), "{ready:?}");
            Ok(ready.map(|c| c.message.clone()).unwrap_or_default())
        })
        .await?;
        assert_says("http", &message, &["spec.http"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn objects_that_can_never_be_right_are_refused_at_once() -> Result {
    in_namespace("invalid", async |ns| {
        let api = ns.api::<AgentCredentialPolicy>();
        let create = async |policy: &AgentCredentialPolicy| api.create(&PostParams::default(), policy).await;
        let mut short = kubernetes_policy("p", &ns.name, &["get pods"]);
        short.spec.session.duration = Some("1m".to_owned());
        let mut brief = aws_policy("p", MINISTACK, vec![statement(&["s3:GetObject"], &["arn:aws:s3:::reports/*"])]);
        brief.spec.session.credential_ttl = Some("5m".to_owned());
        let chaining = aws_policy("p", MINISTACK, vec![statement(&["sts:AssumeRole"], &["*"])]);
        for (what, policy, parts) in [
            ("too short a session", short, &["spec.session.duration", "5m"][..]),
            ("below the floor of STS", brief, &["spec.session.credentialTTL", "15m"]),
            ("no verb", kubernetes_policy("p", &ns.name, &["pods"]), &["spec.allow[0].actions[0]"]),
            ("role chaining", chaining, &["spec.allow[0].actions[0]", "assume another role"]),
        ] {
            assert_says(what, &refused(what, create(&policy).await)?.message, parts);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn writing_a_policy_needs_the_verb_use_on_its_provider() -> Result {
    in_namespace("use", async |ns| {
        let binding = json!({
            "metadata": {"name": "team"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "e2e-team"}],
        });
        ns.create(&serde_json::from_value::<k8s_openapi::api::rbac::v1::RoleBinding>(binding)?).await?;
        let alice = connect_as("alice@example.com", &["e2e-team", "system:authenticated"]).await?;
        let api: Api<AgentCredentialPolicy> = Api::namespaced(alice.clone(), &ns.name);
        let policy = kubernetes_policy("pods", &ns.name, &["get pods"]);
        let refusal = refused("alice's policy", api.create(&PostParams::default(), &policy).await)?.message;
        assert_says("alice", &refusal, &["alice@example.com", "use", KUBERNETES, "ClusterRole"]);
        ns.ready(policy).await?;
        let pods: Api<Pod> = Api::namespaced(alice, &ns.name);
        pods.create(&PostParams::default(), &agent("agent", "pods")).await?;
        ns.started("agent").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn authors_of_workloads_are_warned_when_they_apply_them() -> Result {
    in_namespace("warn", async |ns| {
        let pod = agent("x", "x").with(|s| s.restart_policy = None);
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "fleet", "namespace": ns.name},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "fleet"}}, "template": {
                "metadata": {"labels": {"app": "fleet"}, "annotations": {names::POLICY: "nowhere"}},
                "spec": pod.spec,
            }},
        });
        let policy = unbuilt(&ns.name).remove(0).1;
        let mut policy = serde_json::to_value(policy)?;
        policy["metadata"]["namespace"] = ns.name.clone().into();
        for (what, object, parts) in [
            ("a Deployment", deployment, &["Warning:", "PolicyNotFound", "nowhere"][..]),
            ("a policy", policy, &["Warning:", "NotImplemented", "spec.limits"]),
        ] {
            let file = std::env::temp_dir().join(format!("{}-warned.json", ns.name));
            std::fs::write(&file, object.to_string())?;
            let output = kubectl(&["create", "--dry-run=server", "-f", &file.to_string_lossy()]).await?;
            std::fs::remove_file(&file)?;
            assert_eq!(output.code, 0, "{what} is not refused: {output}");
            assert_says(what, &output.stderr, parts);
        }
        Ok(())
    })
    .await
}
