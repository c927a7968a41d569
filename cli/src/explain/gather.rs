//! Reads what a judgement needs. What may not be read is told as such and stops nothing.

use super::alone::{each_policy, has_several, named_by};
use super::facts::{self, Facts, Look, Node};
use super::find::{self, Found};
use super::target::Kind;
use super::{sidecar, startup};
use crate::client::{self, Cluster};
use crate::doctor::access::rbac::{Ask, Rbac, Subject};
use crate::doctor::admission;
use crate::error::{Error, api_message};
use exeat_crds::rules::Kind as ProviderKind;
use exeat_crds::{
    AgentCredentialPolicy, Approval, CredentialHold, CredentialProvider, CredentialSession, authority, names,
    pod_policies,
};
use exeat_webhook::{Settings, SidecarSettings};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, ListParams, LogParams};
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// The pod as it is, and what is judged of it: once for each policy that it names, as if it named that one alone. A pod that names none has one, too.
pub type Gathered = (Pod, Vec<Facts>);

/// Reads all that is judged.
///
/// # Errors
/// When there is no such pod or workload, or it can't be read.
pub async fn gather(cluster: &Cluster, kind: Kind, name: &str, container: Option<&str>) -> Result<Gathered, Error> {
    let found = find::find(&cluster.client, &cluster.namespace, kind, name).await?;
    let whole = found.pod.clone();
    let mut all = Vec::new();
    for pod in each_policy(&whole) {
        let named_by = pod.annotations().get(names::POLICY).map(|policy| named_by(&whole, policy)).unwrap_or_default();
        let facts = gather_one(cluster, (kind, name), container, Found { pod, ..found.clone() }).await;
        all.push(Facts { alone: has_several(&whole), named_by, ..facts });
    }
    Ok((whole, all))
}

async fn gather_one(cluster: &Cluster, (kind, name): (Kind, &str), container: Option<&str>, found: Found) -> Facts {
    let Found { pod, live, making, before } = found;
    let (client, namespace) = (&cluster.client, cluster.namespace.as_str());
    let policy_name = pod.annotations().get(names::POLICY).map(|name| name.trim().to_owned());
    let policy: Look<AgentCredentialPolicy> = match &policy_name {
        Some(name) => look(Api::namespaced(client.clone(), namespace), name).await,
        None => Look::Skipped,
    };
    let provider: Look<CredentialProvider> = match policy.found() {
        Some(policy) => look(Api::all(client.clone()), &policy.spec.provider_ref.name).await,
        None => Look::Skipped,
    };
    let sessions = if live { sessions(client, namespace, &pod).await } else { Look::Skipped };
    let reference = sessions.found().and_then(|all| all.last()?.status.as_ref()?.approval_ref.clone());
    let approval: Look<Approval> = match reference {
        Some(reference) => look(Api::namespaced(client.clone(), namespace), &reference.name).await,
        None => Look::Skipped,
    };
    let account: Look<ServiceAccount> =
        look(Api::namespaced(client.clone(), namespace), facts::account_name(&pod)).await;
    let is_running = pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
    let of_kind = provider.found().and_then(|provider| authority::kind_of(provider).ok());
    let of = (policy_name.as_deref().unwrap_or_default(), of_kind.map_or("", ProviderKind::as_str));
    let counted = live && is_running && has_sidecar(&pod);
    let sidecar = if counted { sidecar::counts(client, namespace, &pod, of).await } else { Look::Skipped };
    let log = if live && is_running { log_of_agent(client, namespace, &pod, container).await } else { Look::Skipped };
    Facts {
        kind: kind.as_str().to_owned(),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        live,
        alone: false,
        account,
        settings: Some(settings(client, &cluster.system, namespace, &pod).await),
        approvers: approvers(client, namespace, policy.found(), provider.found(), &pod).await,
        approval,
        policy,
        provider,
        holds: list(Api::<CredentialHold>::all(client.clone())).await,
        sessions,
        events: if live {
            find::events(client, namespace, &pod.uid().unwrap_or_default()).await
        } else {
            Look::Skipped
        },
        making,
        before,
        last_words: if live { last_words(client, namespace, &pod).await } else { Look::Skipped },
        named_by: Vec::new(),
        fallen: admission::fallen(client, &cluster.system).await,
        network: list(Api::<NetworkPolicy>::namespaced(client.clone(), namespace)).await,
        system: cluster.system.clone(),
        node: node(client, &pod).await,
        sidecar,
        log,
        call: None,
        container: container.map(str::to_owned),
        pod,
    }
}

/// An object, if it is there and may be read.
pub async fn look<K: Clone + DeserializeOwned + Debug>(api: Api<K>, name: &str) -> Look<K> {
    match api.get_opt(name).await {
        Ok(Some(found)) => Look::Found(found),
        Ok(None) => Look::Missing,
        Err(error) => Look::Unreadable(api_message(&error)),
    }
}

async fn list<K: Clone + DeserializeOwned + Debug>(api: Api<K>) -> Look<Vec<K>> {
    match client::list(&api, ListParams::default()).await {
        Ok(found) => Look::Found(found),
        Err(error) => Look::Unreadable(api_message(&error)),
    }
}

fn has_sidecar(pod: &Pod) -> bool {
    pod.spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .any(|container| container.name == names::SIDECAR)
}

async fn sessions(client: &Client, namespace: &str, pod: &Pod) -> Look<Vec<CredentialSession>> {
    let api: Api<CredentialSession> = Api::namespaced(client.clone(), namespace);
    let uid = pod.uid().unwrap_or_default();
    match api.list(&ListParams::default().fields(&format!("spec.request.agent.pod.uid={uid}"))).await {
        Ok(mut found) => {
            found.items.retain(|session| pod_policies::names(pod.annotations(), &session.spec.request.policy_ref.name));
            found.items.sort_by_key(|session| session.spec.request.number);
            Look::Found(found.items)
        }
        Err(error) => Look::Unreadable(api_message(&error)),
    }
}

/// Who could approve; looked for only where the grant needs people, since it takes all of RBAC.
async fn approvers(
    client: &Client,
    namespace: &str,
    policy: Option<&AgentCredentialPolicy>,
    provider: Option<&CredentialProvider>,
    pod: &Pod,
) -> Look<Vec<Subject>> {
    let Some(policy) = policy.filter(|policy| super::people::needed(policy, provider, pod).is_some()) else {
        return Look::Skipped;
    };
    let name = policy.name_any();
    match Rbac::read(client).await {
        Ok(rbac) => Look::Found(
            rbac.who_may(&Ask::new("approve", "exeat.dev", "agentcredentialpolicies").within(namespace).named(&name)),
        ),
        Err(error) => Look::Unreadable(api_message(&error)),
    }
}

/// What the installed webhook injects. Where its Deployment may not be read, the pod's own sidecar is taken for the genuine one.
async fn settings(client: &Client, system: &str, namespace: &str, pod: &Pod) -> Settings {
    let found: Look<Deployment> = look(Api::namespaced(client.clone(), system), "exeat-webhook").await;
    let containers = found
        .found()
        .and_then(|d| d.spec.as_ref()?.template.spec.as_ref())
        .map(|spec| spec.containers.clone())
        .unwrap_or_default();
    let env: BTreeMap<String, String> = containers
        .into_iter()
        .flat_map(|c| c.env.unwrap_or_default())
        .filter_map(|e| Some((e.name, e.value?)))
        .collect();
    let mut inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecar = inits.find(|container| container.name == names::SIDECAR);
    let own = sidecar.and_then(|container| container.image.clone()).unwrap_or_default();
    let get = |name: &str| env.get(name).cloned();
    let of_namespace: serde_json::Value =
        get("EXEAT_SIDECAR_NAMESPACES").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let own_uid = of_namespace[namespace]["uid"].as_i64();
    let as_is = sidecar.and_then(|container| container.security_context.as_ref()?.run_as_user);
    let accepted = get("EXEAT_SIDECAR_ACCEPTED_IMAGES").unwrap_or_default();
    Settings {
        sidecar: SidecarSettings {
            image: get("EXEAT_SIDECAR_IMAGE").unwrap_or(own),
            accepted_images: accepted.split(',').filter(|image| !image.is_empty()).map(str::to_owned).collect(),
            pull_policy: "IfNotPresent".to_owned(),
            uid: own_uid.or_else(|| get("EXEAT_SIDECAR_UID")?.parse().ok()).or(as_is).unwrap_or(60911),
            log_level: "info".to_owned(),
            requests: BTreeMap::new(),
            limits: BTreeMap::new(),
        },
        audience: get("EXEAT_AUDIENCE").unwrap_or_else(|| names::DEFAULT_AUDIENCE.to_owned()),
        issuer_url: format!("https://exeat-issuer.{system}.svc:443"),
    }
}

async fn node(client: &Client, pod: &Pod) -> Look<Node> {
    let Some(name) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) else { return Look::Skipped };
    let node: Look<NodeObject> = look(Api::all(client.clone()), &name).await;
    let architecture =
        node.found().and_then(|node| Some(node.status.as_ref()?.node_info.as_ref()?.architecture.clone()));
    let lease: Look<Lease> = look(Api::namespaced(client.clone(), "kube-node-lease"), &name).await;
    if let (Look::Unreadable(why), None) = (&lease, &architecture) {
        return Look::Unreadable(format!("node {name} can't be read: {why}"));
    }
    let beat: Option<Timestamp> = lease.found().and_then(|lease| Some(lease.spec.as_ref()?.renew_time.as_ref()?.0));
    let server = crate::doctor::clock::server_time(client).await.ok();
    let ahead = beat.zip(server).map(|(beat, server)| beat.duration_since(server));
    Look::Found(Node { name, architecture: architecture.unwrap_or_default(), ahead })
}

async fn log_of_agent(client: &Client, namespace: &str, pod: &Pod, container: Option<&str>) -> Look<String> {
    let skipped = pod.annotations().get(names::SKIP_CONTAINERS).map(String::as_str).unwrap_or_default();
    let is_agent = |name: &str| !skipped.split(',').any(|skipped| skipped.trim() == name);
    let mut names = pod.spec.iter().flat_map(|spec| spec.containers.iter().map(|container| &container.name));
    let first = names.clone().find(|name| is_agent(name)).or(names.next()).cloned();
    let params =
        LogParams { container: container.map(str::to_owned).or(first), tail_lines: Some(200), ..LogParams::default() };
    match Api::<Pod>::namespaced(client.clone(), namespace).logs(&pod.name_any(), &params).await {
        Ok(log) => Look::Found(log),
        Err(error) => Look::Unreadable(api_message(&error)),
    }
}

/// The end of what a container said that does not start: a program for another architecture is told there alone.
async fn last_words(client: &Client, namespace: &str, pod: &Pod) -> Look<String> {
    let Some(container) = startup::first_broken(pod) else { return Look::Skipped };
    let params = LogParams { container: Some(container), tail_lines: Some(20), ..LogParams::default() };
    match Api::<Pod>::namespaced(client.clone(), namespace).logs(&pod.name_any(), &params).await {
        Ok(log) => Look::Found(log),
        Err(error) => Look::Unreadable(api_message(&error)),
    }
}
