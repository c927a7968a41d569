//! Objects of the stories.

use exeat_crds::rules::Statement;
use exeat_crds::v1alpha1::{
    AgentCredentialPolicySpec, AwsDialect, AwsProvider, AwsSource, Binding, CredentialProviderSpec, KubernetesProvider,
    NameRef, Subjects, VaultAuth, VaultKubernetesAuth, VaultProvider,
};
use exeat_crds::{AgentCredentialPolicy, CredentialProvider, names};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, Pod, PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile,
    SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::json;

use crate::Result;
use crate::azure::{self, AZURE};

/// Provider of the cluster's own API.
pub const KUBERNETES: &str = "e2e-kubernetes";
/// Provider of MiniStack.
pub const MINISTACK: &str = "e2e-ministack";
/// Provider of MinIO.
pub const MINIO: &str = "e2e-minio";
/// Provider of OpenBao.
pub const VAULT: &str = "e2e-vault";
/// OpenBao, as issuer and sidecars reach it.
pub const VAULT_ADDRESS: &str = "http://198.18.0.1:8210";
/// Principal of the Kubernetes provider.
pub const GRANTS: &str = "system:serviceaccounts:exeat-grants";
/// Account number at MiniStack.
pub const AWS_ACCOUNT: &str = "000000000000";
/// A role at MiniStack that the issuer may assume and that may do everything in S3.
pub const REPORT_WRITER: &str = "arn:aws:iam::000000000000:role/agents/agents/report-writer";
/// MiniStack, as agents reach it.
pub const S3_MINISTACK: &str = "http://198.18.0.1:4577";
/// MinIO, as agents reach it.
pub const S3_MINIO: &str = "http://198.18.0.1:9010";

fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(|s| (*s).to_owned()).collect()
}

/// Actions on resources.
pub fn statement(actions: &[&str], resources: &[&str]) -> Statement {
    Statement { actions: texts(actions), resources: texts(resources) }
}

/// A policy for the service account `agent`.
pub fn policy(name: &str, provider: &str, principal: &str, allow: Vec<Statement>) -> AgentCredentialPolicy {
    let spec = AgentCredentialPolicySpec {
        provider_ref: NameRef { name: provider.to_owned() },
        principal: principal.to_owned(),
        principal_mappings: Vec::new(),
        subjects: Subjects { service_accounts: texts(&["agent"]), pod_selector: None },
        owners: Vec::new(),
        allow,
        session: Default::default(),
        approval_rules: Vec::new(),
        limits: None,
        budget: None,
        delivery: Default::default(),
        mode: Default::default(),
        accept_enforcement: None,
    };
    AgentCredentialPolicy::new(name, spec)
}

/// A policy over everything in one namespace of the cluster's own API.
pub fn kubernetes_policy(name: &str, namespace: &str, actions: &[&str]) -> AgentCredentialPolicy {
    policy(name, KUBERNETES, GRANTS, vec![statement(actions, &[&format!("{namespace}/*")])])
}

/// A policy over S3, at MiniStack or MinIO.
pub fn aws_policy(name: &str, provider: &str, allow: Vec<Statement>) -> AgentCredentialPolicy {
    policy(name, provider, REPORT_WRITER, allow)
}

/// A provider with one binding that serves the namespaces of all stories.
pub fn provider(name: &str, kind: &str, principals: &[&str], max_actions: &[&str]) -> CredentialProvider {
    let aws = |endpoint: &str, dialect, extras| AwsProvider {
        region: "us-east-1".to_owned(),
        endpoint: Some(endpoint.to_owned()),
        source: AwsSource::Secret,
        secret_ref: Some(NameRef { name: kind.trim_start_matches("e2e-").to_owned() }),
        session_tags: extras,
        source_identity: extras,
        dialect,
        ..AwsProvider::default()
    };
    let spec = CredentialProviderSpec {
        aws: match kind {
            MINISTACK => Some(aws(S3_MINISTACK, AwsDialect::Aws, true)),
            MINIO => Some(aws(S3_MINIO, AwsDialect::S3Compatible, false)),
            _ => None,
        },
        kubernetes: (kind == KUBERNETES).then(KubernetesProvider::default),
        gcp: None,
        azure: (kind == AZURE).then(azure::settings),
        vault: (kind == VAULT).then(vault),
        http: None,
        bindings: vec![Binding {
            name: "e2e".to_owned(),
            namespaces: texts(&["e2e-*"]),
            principals: texts(principals),
            max_actions: texts(max_actions),
            ..Binding::default()
        }],
    };
    CredentialProvider::new(name, spec)
}

/// The issuer logs in by its own service account.
fn vault() -> VaultProvider {
    VaultProvider {
        address: VAULT_ADDRESS.to_owned(),
        auth: VaultAuth {
            kubernetes: Some(VaultKubernetesAuth { role: "exeat-issuer".to_owned(), mount: None }),
            ..VaultAuth::default()
        },
        require_request_header: true,
        ..VaultProvider::default()
    }
}

pub(crate) fn suite_providers() -> [CredentialProvider; 5] {
    let mut vault = provider(VAULT, VAULT, &["agents-*"], &["read", "list", "write secret/*"]);
    vault.spec.bindings[0].deny = texts(&["* secret/data/reports/salaries"]);
    let roles = ["arn:aws:iam::000000000000:role/agents/agents/*"];
    [
        provider(KUBERNETES, KUBERNETES, &[GRANTS], &["get *", "list *", "watch *"]),
        provider(MINISTACK, MINISTACK, &roles, &["s3:*", "sts:GetCallerIdentity"]),
        provider(MINIO, MINIO, &roles, &["s3:*"]),
        vault,
        provider(AZURE, AZURE, &[azure::PRINCIPALS], &["Microsoft.Storage/*", "*/read"]),
    ]
}

/// A pod of the service account `agent` that sleeps.
pub fn agent(name: &str, policy: &str) -> Pod {
    script(name, policy, "trap 'exit 143' TERM; sleep 86400 & wait")
}

/// A Deployment of pods like this one.
///
/// # Errors
/// When it is none.
pub fn deployment(name: &str, pod: &Pod, replicas: i32) -> Result<Deployment> {
    let mut pod = serde_json::to_value(pod)?;
    pod["spec"]["restartPolicy"] = "Always".into();
    let template = json!({
        "metadata": {"labels": {"app": name}, "annotations": pod["metadata"]["annotations"]}, "spec": pod["spec"],
    });
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template});
    Ok(serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?)
}

/// A pod of the service account `agent` that runs a shell script once. It fits the Restricted Pod Security standard.
pub fn script(name: &str, policy: &str, script: &str) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = Some(name.to_owned());
    pod.metadata.annotations = Some([(names::POLICY.to_owned(), policy.to_owned())].into());
    let quantity = |cpu: &str| Some([("cpu".to_owned(), Quantity(cpu.to_owned()))].into());
    pod.spec = Some(PodSpec {
        service_account_name: Some("agent".to_owned()),
        restart_policy: Some("Never".to_owned()),
        termination_grace_period_seconds: Some(5),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(1000),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        containers: vec![Container {
            name: "agent".to_owned(),
            image: Some("exeat.test/agent:1".to_owned()),
            command: Some(texts(&["sh", "-c", script])),
            resources: Some(ResourceRequirements { requests: quantity("1m"), ..ResourceRequirements::default() }),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                capabilities: Some(Capabilities { drop: Some(texts(&["ALL"])), add: None }),
                ..SecurityContext::default()
            }),
            ..Container::default()
        }],
        ..PodSpec::default()
    });
    pod
}

/// Changes to an agent's pod.
pub trait AgentPod: Sized {
    /// With one more annotation.
    fn annotated(self, key: &str, value: &str) -> Self;
    /// With one more variable in the agent's container.
    fn with_env(self, name: &str, value: &str) -> Self;
    /// With the pod's spec changed.
    fn with(self, change: impl FnOnce(&mut PodSpec)) -> Self;
    /// With the agent's container changed.
    fn with_agent(self, change: impl FnOnce(&mut Container)) -> Self;
}

impl AgentPod for Pod {
    fn annotated(mut self, key: &str, value: &str) -> Self {
        self.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        self
    }

    fn with_env(self, name: &str, value: &str) -> Self {
        let variable = EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None };
        self.with_agent(|container| container.env.get_or_insert_default().push(variable))
    }

    fn with(mut self, change: impl FnOnce(&mut PodSpec)) -> Self {
        change(self.spec.get_or_insert_default());
        self
    }

    fn with_agent(self, change: impl FnOnce(&mut Container)) -> Self {
        self.with(|spec| {
            if let Some(container) = spec.containers.first_mut() {
                change(container);
            }
        })
    }
}
