//! Finds the pod by which a workload is judged, and what the workload says of making pods.

use super::facts::{Look, Told};
use super::maker::{self, Making, State};
use super::target::Kind;
use crate::client;
use crate::error::{Error, api_message};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::Selector;
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

/// What is judged.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// The pod, or what the workload's template would make.
    pub(super) pod: Pod,
    /// Whether it is there.
    pub(super) live: bool,
    /// What the workload says of making pods.
    pub(super) making: Look<Making>,
    /// The workload's newest pod, where the template is judged all the same: the next pod is refused.
    pub(super) before: Option<String>,
}

/// What makes pods.
struct Maker {
    template: PodTemplateSpec,
    selector: Option<LabelSelector>,
    state: State,
    /// Of the object that Events are about.
    uid: String,
}

pub(super) async fn find(client: &Client, namespace: &str, kind: Kind, name: &str) -> Result<Found, Error> {
    if kind == Kind::Pod {
        let pod = required(&Api::namespaced(client.clone(), namespace), namespace, kind, name).await?;
        return Ok(Found { pod, live: true, ..Found::default() });
    }
    let maker = maker(client, namespace, kind, name).await?;
    let newest = newest_pod(client, namespace, maker.selector.clone()).await?;
    let made = newest.as_ref().and_then(|pod| pod.creation_timestamp()).map(|time| time.0);
    let events = match kind {
        // It says so itself, or its ReplicaSet.
        Kind::Deployment => Look::Found(Vec::new()),
        _ => events(client, namespace, &maker.uid).await,
    };
    let making = match events {
        Look::Found(events) => {
            let refused = maker::refusal(&maker.state, &events, made);
            Look::Found(Making { idle: maker.state.idle, refused })
        }
        Look::Unreadable(why) => Look::Unreadable(why),
        Look::Missing | Look::Skipped => Look::Skipped,
    };
    let refused = making.found().is_some_and(|making| making.refused.is_some());
    match newest {
        Some(pod) if !refused => Ok(Found { pod, live: true, making, before: None }),
        newest => {
            let mut pod = Pod { spec: maker.template.spec, ..Pod::default() };
            pod.metadata = maker.template.metadata.unwrap_or_default();
            pod.metadata.namespace = Some(namespace.to_owned());
            Ok(Found { pod, live: false, making, before: newest.map(|pod| pod.name_any()) })
        }
    }
}

async fn newest_pod(client: &Client, namespace: &str, selector: Option<LabelSelector>) -> Result<Option<Pod>, Error> {
    // A selector that can't be read selects nothing, and an empty one would select all.
    let selector = selector.and_then(|selector| Selector::try_from(selector).ok());
    let Some(selector) = selector.filter(|selector| !selector.selects_all()) else { return Ok(None) };
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let stays = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
    let found = client::list_where(&api, ListParams::default().labels_from(&selector), stays).await;
    let pods = found.map_err(Error::api("the workload's pods can't be listed"))?;
    Ok(pods.into_iter().max_by_key(|pod| pod.creation_timestamp().map(|t| t.0)))
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
    let unread = |error: serde_json::Error| Error::Format(format!("{} {name}: {error}", kind.as_str()));
    let mut uid = found.metadata.uid.clone().unwrap_or_default();
    let object = serde_json::to_value(&found).map_err(unread)?;
    let mut state = maker::state(kind, &object);
    let spec = &object["spec"];
    let by_job = |job: &str| json!({"matchLabels": {"batch.kubernetes.io/job-name": job}});
    let (template, selector) = match kind {
        Kind::Job => (&spec["template"], by_job(name)),
        Kind::CronJob => {
            let newest = newest_job(client, namespace, &uid).await?;
            if let Some(job) = &newest {
                state = maker::state(Kind::Job, &serde_json::to_value(job).map_err(unread)?);
                uid = job.uid().unwrap_or_default();
            }
            (&spec["jobTemplate"]["spec"]["template"], newest.map_or(Value::Null, |job| by_job(&job.name_any())))
        }
        Kind::Deployment => {
            if let Some(set) = newest_set(client, namespace, &uid).await {
                let told = events(client, namespace, &set.uid().unwrap_or_default()).await;
                let told = told.found().map(Vec::as_slice).unwrap_or_default();
                state = state.of_set(&serde_json::to_value(&set).map_err(unread)?, told);
            }
            (&spec["template"], spec["selector"].clone())
        }
        _ => (&spec["template"], spec["selector"].clone()),
    };
    Ok(Maker {
        template: serde_json::from_value(template.clone()).map_err(unread)?,
        selector: serde_json::from_value(selector).map_err(unread)?,
        state,
        uid,
    })
}

async fn newest_job(client: &Client, namespace: &str, owner: &str) -> Result<Option<Job>, Error> {
    let is_own = |job: &Job| job.owner_references().iter().any(|o| o.uid == owner);
    let jobs = client::list_where(&Api::namespaced(client.clone(), namespace), ListParams::default(), is_own).await;
    let jobs = jobs.map_err(Error::api("Jobs can't be listed"))?;
    Ok(jobs.into_iter().max_by_key(|job| job.creation_timestamp().map(|t| t.0)))
}

/// The ReplicaSet of the Deployment's newest template, where it may be read.
async fn newest_set(client: &Client, namespace: &str, owner: &str) -> Option<ReplicaSet> {
    const REVISION: &str = "deployment.kubernetes.io/revision";
    let is_own = |set: &ReplicaSet| set.owner_references().iter().any(|o| o.uid == owner);
    let api: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
    let sets = client::list_where(&api, ListParams::default(), is_own).await.ok()?;
    sets.into_iter().max_by_key(|set| set.annotations().get(REVISION).and_then(|number| number.parse::<u64>().ok()))
}

async fn required<K>(api: &Api<K>, namespace: &str, kind: Kind, name: &str) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let found = api.get_opt(name).await.map_err(Error::api(format!("{} {name}", kind.as_str())))?;
    found.ok_or_else(|| Error::NotFound(format!("there is no {} {name:?} in namespace {namespace}", kind.as_str())))
}

/// Events about an object, the oldest first. Those about one that had its name before are none.
pub(super) async fn events(client: &Client, namespace: &str, uid: &str) -> Look<Vec<Told>> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().fields(&format!("regarding.uid={uid}"));
    let mut all = match client::list(&api, params).await {
        Ok(events) => events,
        Err(error) => return Look::Unreadable(api_message(&error)),
    };
    all.sort_by_key(crate::sessions::event_time);
    let told = all.into_iter().map(|event| {
        let at = crate::sessions::event_time(&event);
        let about = event.regarding.unwrap_or_default();
        Told {
            kind: about.kind.unwrap_or_default(),
            name: about.name.unwrap_or_default(),
            reason: event.reason.unwrap_or_default(),
            note: event.note.unwrap_or_default(),
            at,
        }
    });
    Look::Found(told.collect())
}
