//! An installation with two providers and a policy for each.

use std::sync::LazyLock;

use exeat_crds::reason::Refused;
use exeat_crds::{AgentCredentialPolicy, CredentialProvider};
use exeat_webhook::{InjectContext, InstallationSettings, NamespaceSidecar, Settings, SidecarSettings, inject};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) const NAMESPACE: &str = "agents";
/// The namespace with a sidecar of its own.
pub(crate) const OWN_SIDECAR: &str = "team-a";
pub(crate) const ISSUER_CA: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

const PROVIDERS: [&str; 2] = [
    r#"
apiVersion: exeat.dev/v1alpha1
kind: CredentialProvider
metadata: {name: aws-prod, uid: p-1}
spec:
  aws: {region: eu-west-1}
  bindings:
    - name: agents
      namespaces: [agents]
      principals: ["arn:aws:iam::123456789012:role/agents/${namespace}/*"]
      maxActions: ["s3:*"]
      deny: ["s3:PutBucketPolicy"]
      maxDuration: 24h
"#,
    r#"
apiVersion: exeat.dev/v1alpha1
kind: CredentialProvider
metadata: {name: cluster, uid: p-2}
spec:
  kubernetes: {}
  bindings:
    - {name: agents, namespaces: [agents], principals: ["system:serviceaccounts:exeat-grants"], maxActions: ["* pods"]}
"#,
];

const POLICIES: [&str; 2] = [
    r#"
apiVersion: exeat.dev/v1alpha1
kind: AgentCredentialPolicy
metadata: {name: report-writer, namespace: agents, uid: a-1}
spec:
  providerRef: {name: aws-prod}
  principal: arn:aws:iam::123456789012:role/agents/agents/report-writer
  subjects: {serviceAccounts: [report-agent]}
  allow:
    - {actions: ["s3:GetObject", "s3:ListBucket"], resources: ["arn:aws:s3:::reports", "arn:aws:s3:::reports/*"]}
  session: {duration: 8h}
"#,
    r#"
apiVersion: exeat.dev/v1alpha1
kind: AgentCredentialPolicy
metadata: {name: pod-reader, namespace: agents, uid: a-2}
spec:
  providerRef: {name: cluster}
  principal: system:serviceaccounts:exeat-grants
  subjects: {serviceAccounts: [report-agent]}
  allow: [{actions: ["get pods", "list pods"], resources: ["agents/*"]}]
"#,
];

pub(crate) fn yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub(crate) fn settings() -> Settings {
    let amounts = |cpu: &str, memory: &str| {
        [("cpu".to_owned(), Quantity(cpu.to_owned())), ("memory".to_owned(), Quantity(memory.to_owned()))].into()
    };
    Settings {
        sidecar: SidecarSettings {
            image: "registry.example/exeat-sidecar:1".to_owned(),
            accepted_images: Vec::new(),
            pull_policy: "IfNotPresent".to_owned(),
            uid: 60911,
            log_level: "info".to_owned(),
            requests: amounts("10m", "16Mi"),
            limits: amounts("200m", "64Mi"),
        },
        audience: "exeat.dev".to_owned(),
        issuer_url: "https://exeat-issuer.exeat-system.svc:443".to_owned(),
    }
}

/// The installation, of which one namespace has a sidecar of its own: another user, and more memory.
pub(crate) fn installation() -> InstallationSettings {
    let own = NamespaceSidecar {
        uid: Some(70000),
        requests: None,
        limits: Some([("memory".to_owned(), Quantity("128Mi".to_owned()))].into()),
    };
    InstallationSettings { namespaces: [(OWN_SIDECAR.to_owned(), own)].into(), ..settings().into() }
}

pub(crate) fn policies() -> &'static [AgentCredentialPolicy] {
    static READ: LazyLock<Vec<AgentCredentialPolicy>> = LazyLock::new(|| POLICIES.map(yaml).to_vec());
    &READ
}

pub(crate) fn policy(name: &str) -> Option<AgentCredentialPolicy> {
    policies().iter().find(|policy| policy.metadata.name.as_deref() == Some(name)).cloned()
}

pub(crate) fn provider(name: &str) -> Option<CredentialProvider> {
    static READ: LazyLock<Vec<CredentialProvider>> = LazyLock::new(|| PROVIDERS.map(yaml).to_vec());
    READ.iter().find(|provider| provider.metadata.name.as_deref() == Some(name)).cloned()
}

/// The policy that the pod names.
pub(crate) fn named_policy(pod: &Pod) -> Option<AgentCredentialPolicy> {
    let name = pod.metadata.annotations.as_ref().and_then(|all| all.get("exeat.dev/policy"))?;
    policy(name.trim())
}

/// Injects as the webhook does, with the policy that the pod names.
pub(crate) fn inject_pod(pod: &Pod) -> Result<Pod, Vec<Refused>> {
    inject_under(pod, named_policy(pod).as_ref())
}

pub(crate) fn inject_under(pod: &Pod, policy: Option<&AgentCredentialPolicy>) -> Result<Pod, Vec<Refused>> {
    inject_with(pod, policy, &settings())
}

pub(crate) fn inject_with(
    pod: &Pod,
    policy: Option<&AgentCredentialPolicy>,
    settings: &Settings,
) -> Result<Pod, Vec<Refused>> {
    let provider = policy.and_then(|policy| provider(&policy.spec.provider_ref.name));
    let context =
        InjectContext { namespace: NAMESPACE, policy, provider: provider.as_ref(), settings, issuer_ca: ISSUER_CA };
    inject(pod, &context)
}

/// A pod that is injected without a complaint.
pub(crate) fn pod() -> Value {
    yaml(
        r#"
apiVersion: v1
kind: Pod
metadata:
  name: reporter
  namespace: agents
  annotations: {exeat.dev/policy: report-writer}
spec:
  serviceAccountName: report-agent
  containers:
    - {name: app, image: "reporter:1"}
"#,
    )
}

/// The good pod with `changes` merged in (objects by key, lists as a whole).
pub(crate) fn pod_with(changes: &str) -> Pod {
    let mut pod = pod();
    json_patch::merge(&mut pod, &yaml::<Value>(changes));
    serde_json::from_value(pod).unwrap()
}
