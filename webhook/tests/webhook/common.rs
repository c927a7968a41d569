//! An installation with a provider of each kind and a policy for each.

use std::sync::LazyLock;

use clap::Parser;
use exeat_crds::reason::Refused;
use exeat_crds::{AgentCredentialPolicy, CredentialProvider, pod_policies};
use exeat_webhook::args::Cli;
use exeat_webhook::{Found, InjectContext, InstallationSettings, NamespaceSidecar, Settings, inject};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) const NAMESPACE: &str = "agents";
/// The namespace with a sidecar of its own.
pub(crate) const OWN_SIDECAR: &str = "team-a";
pub(crate) const ISSUER_CA: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

#[derive(Deserialize)]
struct Installation {
    providers: Vec<CredentialProvider>,
    policies: Vec<AgentCredentialPolicy>,
}

static INSTALLATION: LazyLock<Installation> = LazyLock::new(|| yaml(include_str!("../installation.yaml")));

pub(crate) fn yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// As the program takes them where little is said.
pub(crate) fn settings() -> Settings {
    let base = ["exeat-webhook", "--sidecar-image", "registry.example/exeat-sidecar:1"];
    let pod = ["--pod-name", "w", "--pod-namespace", "exeat-system"];
    Cli::parse_from(base.into_iter().chain(pod)).injection.settings("exeat-system").of(NAMESPACE)
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
    &INSTALLATION.policies
}

pub(crate) fn policy(name: &str) -> Option<AgentCredentialPolicy> {
    policies().iter().find(|policy| policy.metadata.name.as_deref() == Some(name)).cloned()
}

pub(crate) fn provider(name: &str) -> Option<CredentialProvider> {
    INSTALLATION.providers.iter().find(|provider| provider.metadata.name.as_deref() == Some(name)).cloned()
}

/// The policy that the pod names.
pub(crate) fn named_policy(pod: &Pod) -> Option<AgentCredentialPolicy> {
    let name = pod.metadata.annotations.as_ref().and_then(|all| all.get("exeat.dev/policy"))?;
    policy(name.split(',').next()?.trim())
}

/// What there is of a policy.
pub(crate) fn found(name: &str) -> Found {
    let policy = policy(name);
    let provider = policy.as_ref().and_then(|policy| provider(&policy.spec.provider_ref.name));
    Found { policy, provider }
}

/// Injects as the webhook does, with the policy that the pod names.
pub(crate) fn inject_pod(pod: &Pod) -> Result<Pod, Vec<Refused>> {
    inject_by(pod, None)
}

/// Injects a pod that this person creates.
pub(crate) fn inject_by(pod: &Pod, requester: Option<&str>) -> Result<Pod, Vec<Refused>> {
    injected(pod, named_policy(pod).as_ref(), &settings(), requester)
}

pub(crate) fn inject_under(pod: &Pod, policy: Option<&AgentCredentialPolicy>) -> Result<Pod, Vec<Refused>> {
    inject_with(pod, policy, &settings())
}

pub(crate) fn inject_with(
    pod: &Pod,
    policy: Option<&AgentCredentialPolicy>,
    settings: &Settings,
) -> Result<Pod, Vec<Refused>> {
    injected(pod, policy, settings, None)
}

pub(crate) fn injected(
    pod: &Pod,
    policy: Option<&AgentCredentialPolicy>,
    settings: &Settings,
    requester: Option<&str>,
) -> Result<Pod, Vec<Refused>> {
    let provider = policy.and_then(|policy| provider(&policy.spec.provider_ref.name));
    let first = Found { policy: policy.cloned(), provider };
    let named = pod_policies::of(&pod.metadata.annotations.clone().unwrap_or_default());
    let found: Vec<Found> = std::iter::once(first).chain(named.iter().skip(1).map(|name| found(name))).collect();
    let context = InjectContext { namespace: NAMESPACE, found: &found, settings, issuer_ca: ISSUER_CA, requester };
    inject(pod, &context).map(|injected| injected.pod)
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
