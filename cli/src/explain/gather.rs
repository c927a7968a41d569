//! Reads what a judgement needs. What may not be read is told as such and stops nothing.

use super::alone::{each_policy, has_several};
use super::facts::{Facts, Look, Node, Told};
use super::sidecar;
use super::target::Kind;
use crate::client::{self, Cluster};
use crate::doctor::access::rbac::{Ask, Rbac, Subject};
use crate::doctor::admission;
use crate::error::{Error, api_message};
use exeat_crds::{
    AgentCredentialPolicy, Approval, CredentialHold, CredentialProvider, CredentialSession, names, pod_policies,
};
use exeat_webhook::{Settings, SidecarSettings};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod, PodTemplateSpec, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, LogParams};
use kube::core::Selector;
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// What makes pods.
struct Maker {
    template: PodTemplateSpec,
    selector: Option<LabelSelector>,
}

/// The pod as it is, and what is judged of it: once for each policy that it names, as if it named that one alone. A pod that names none has one, too.
pub type Gathered = (Pod, Vec<Facts>);

/// Reads all that is judged.
///
/// # Errors
/// When there is no such pod or workload, or it can't be read.
pub async fn gather(cluster: &Cluster, kind: Kind, name: &str, container: Option<&str>) -> Result<Gathered, Error> {
    let (whole, live) = find_pod(&cluster.client, &cluster.namespace, kind, name).await?;
    let mut all = Vec::new();
    for pod in each_policy(&whole) {
        let facts = gather_one(cluster, kind, name, container, (pod, live)).await?;
        all.push(Facts { alone: has_several(&whole), ..facts });
    }
    Ok((whole, all))
}

async fn gather_one(
    cluster: &Cluster,
    kind: Kind,
    name: &str,
    container: Option<&str>,
    (pod, live): (Pod, bool),
) -> Result<Facts, Error> {
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
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).filter(|name| !name.is_empty());
    let account: Look<ServiceAccount> =
        look(Api::namespaced(client.clone(), namespace), account.as_deref().unwrap_or("default")).await;
    let is_running = pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
    let log = if live && is_running { log_of_agent(client, namespace, &pod, container).await } else { Look::Skipped };
    Ok(Facts {
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
        events: events(client, namespace, &pod, name, live).await,
        fallen: admission::fallen(client, &cluster.system).await,
        network: list(Api::<NetworkPolicy>::namespaced(client.clone(), namespace)).await,
        system: cluster.system.clone(),
        node: node(client, &pod).await,
        sidecar: if live && is_running && has_sidecar(&pod) {
            sidecar::counts(client, namespace, &pod).await
        } else {
            Look::Skipped
        },
        log,
        call: None,
        container: container.map(str::to_owned),
        pod,
    })
}

async fn find_pod(client: &Client, namespace: &str, kind: Kind, name: &str) -> Result<(Pod, bool), Error> {
    if kind == Kind::Pod {
        return Ok((required(&Api::namespaced(client.clone(), namespace), namespace, kind, name).await?, true));
    }
    let maker = maker(client, namespace, kind, name).await?;
    let mut pods = Vec::new();
    // A selector that can't be read selects nothing, and an empty one would select all.
    let selector = maker.selector.and_then(|selector| Selector::try_from(selector).ok());
    if let Some(selector) = selector.filter(|selector| !selector.selects_all()) {
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let stays = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
        let found = client::list_where(&api, ListParams::default().labels_from(&selector), stays).await;
        pods = found.map_err(Error::api("the workload's pods can't be listed"))?;
    }
    pods.sort_by_key(|pod| pod.creation_timestamp().map(|t| t.0));
    if let Some(pod) = pods.pop() {
        return Ok((pod, true));
    }
    let mut pod = Pod { spec: maker.template.spec, ..Pod::default() };
    pod.metadata = maker.template.metadata.unwrap_or_default();
    pod.metadata.namespace = Some(namespace.to_owned());
    Ok((pod, false))
}

async fn maker(client: &Client, namespace: &str, kind: Kind, name: &str) -> Result<Maker, Error> {
    let resource = match kind {
        Kind::Pod => ApiResource::erase::<Pod>(&()),
        Kind::Deployment => ApiResource::erase::<Deployment>(&()),
        Kind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        Kind::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
        Kind::Job => ApiResource::erase::<Job>(&()),
        Kind::CronJob => ApiResource::erase::<CronJob>(&()),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let found = required(&api, namespace, kind, name).await?;
    let spec = &found.data["spec"];
    let by_job = |job: &str| json!({"matchLabels": {"batch.kubernetes.io/job-name": job}});
    let (template, selector) = match kind {
        Kind::Job => (&spec["template"], by_job(name)),
        Kind::CronJob => {
            let newest = newest_job(client, namespace, found.metadata.uid.as_deref()).await?;
            (&spec["jobTemplate"]["spec"]["template"], newest.map_or(Value::Null, |job| by_job(&job.name_any())))
        }
        _ => (&spec["template"], spec["selector"].clone()),
    };
    let unread = |error: serde_json::Error| Error::Format(format!("{} {name}: {error}", kind.as_str()));
    Ok(Maker {
        template: serde_json::from_value(template.clone()).map_err(unread)?,
        selector: serde_json::from_value(selector).map_err(unread)?,
    })
}

async fn newest_job(client: &Client, namespace: &str, owner: Option<&str>) -> Result<Option<Job>, Error> {
    let is_own = |job: &Job| job.owner_references().iter().any(|o| Some(o.uid.as_str()) == owner);
    let jobs = client::list_where(&Api::namespaced(client.clone(), namespace), ListParams::default(), is_own).await;
    let jobs = jobs.map_err(Error::api("Jobs can't be listed"))?;
    Ok(jobs.into_iter().max_by_key(|job| job.creation_timestamp().map(|t| t.0)))
}

async fn required<K>(api: &Api<K>, namespace: &str, kind: Kind, name: &str) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let found = api.get_opt(name).await.map_err(Error::api(format!("{} {name}", kind.as_str())))?;
    found.ok_or_else(|| Error::NotFound(format!("there is no {} {name:?} in namespace {namespace}", kind.as_str())))
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

/// Events about the pod, or about what should make it: a ReplicaSet or a Job has its maker's name in front.
async fn events(client: &Client, namespace: &str, pod: &Pod, maker: &str, live: bool) -> Look<Vec<Told>> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let pod = pod.name_any();
    let fields = if live { format!("regarding.name={pod}") } else { "reason=FailedCreate".to_owned() };
    let mut all = match client::list(&api, ListParams::default().fields(&fields)).await {
        Ok(events) => events,
        Err(error) => return Look::Unreadable(api_message(&error)),
    };
    all.sort_by_key(crate::sessions::event_time);
    let prefix = format!("{maker}-");
    let told = all.into_iter().filter_map(|event| {
        let about = event.regarding?;
        let name = about.name.unwrap_or_default();
        let meant = if live { name == pod } else { name == maker || name.starts_with(&prefix) };
        meant.then(|| Told {
            kind: about.kind.unwrap_or_default(),
            name,
            reason: event.reason.unwrap_or_default(),
            note: event.note.unwrap_or_default(),
        })
    });
    Look::Found(told.collect())
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
    let own = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten()).find(|c| c.name == names::SIDECAR);
    let own = own.and_then(|container| container.image.clone()).unwrap_or_default();
    let get = |name: &str| env.get(name).cloned();
    let of_namespace: serde_json::Value =
        get("EXEAT_SIDECAR_NAMESPACES").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let own_uid = of_namespace[namespace]["uid"].as_i64();
    let accepted = get("EXEAT_SIDECAR_ACCEPTED_IMAGES").unwrap_or_default();
    Settings {
        sidecar: SidecarSettings {
            image: get("EXEAT_SIDECAR_IMAGE").unwrap_or(own),
            accepted_images: accepted.split(',').filter(|image| !image.is_empty()).map(str::to_owned).collect(),
            pull_policy: "IfNotPresent".to_owned(),
            uid: own_uid.or_else(|| get("EXEAT_SIDECAR_UID")?.parse().ok()).unwrap_or(60911),
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
