//! What stands above a pod: an approval serves a Deployment through its rollouts and a CronJob through its Jobs. A yes for a workload is good for
//! whoever is in it, so a pod is believed no more than it must be.

use super::plan::requester;
use crate::controller::error::Error;
use exeat_crds::v1alpha1::Workload;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ObjectMeta};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// A kind that may stand above a pod.
trait Owner: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned {}

impl<K> Owner for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned
{
}

/// What controls an object, as its owner references have it.
struct Controller {
    workload: Workload,
    /// Whether it is of the cluster's own kinds, each of which makes but its own things. Others' may bear the same names.
    built_in: bool,
}

fn controller_of(owners: &[OwnerReference]) -> Option<Controller> {
    let owner = owners.iter().find(|o| o.controller == Some(true))?;
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let built_in = ["apps", "batch"].contains(&group) || (group.is_empty() && owner.kind == "ReplicationController");
    let workload = Workload { kind: owner.kind.clone(), name: owner.name.clone(), uid: owner.uid.clone() };
    Some(Controller { workload, built_in })
}

/// The workload that a pod is of; none for a pod that a person made, whatever it says stands above it.
///
/// # Errors
/// What the API server refused.
pub(super) async fn of_pod(client: &Client, pod: &Pod) -> Result<Option<Workload>, Error> {
    if requester(pod).is_some() {
        return Ok(None);
    }
    root(client, &pod.namespace().unwrap_or_default(), pod.owner_references()).await
}

/// The Deployment of a ReplicaSet, the CronJob of a Job; every other workload is its own root. What is named must be there under its UID, and
/// no Deployment or CronJob stands right above a pod: where it is not so, nothing stands above it.
async fn root(client: &Client, namespace: &str, owners: &[OwnerReference]) -> Result<Option<Workload>, Error> {
    let Some(Controller { workload, built_in }) = controller_of(owners) else { return Ok(None) };
    match workload.kind.as_str() {
        _ if !built_in => Ok(Some(workload)),
        "ReplicaSet" => above::<ReplicaSet, Deployment>(client, namespace, workload, "Deployment").await,
        "Job" => above::<Job, CronJob>(client, namespace, workload, "CronJob").await,
        "Deployment" | "CronJob" => Ok(None),
        _ => Ok(Some(workload)),
    }
}

/// What stands above an owner of one kind: one of this other kind, which is looked up, or what somebody else's controller makes owners of.
async fn above<O, A>(client: &Client, namespace: &str, owner: Workload, kind: &str) -> Result<Option<Workload>, Error>
where
    O: Owner,
    A: Owner,
{
    let Some(found) = stands::<O>(client, namespace, &owner).await? else { return Ok(None) };
    match controller_of(found.owner_references.as_deref().unwrap_or_default()) {
        None => Ok(Some(owner)),
        Some(Controller { workload, built_in: false }) => Ok(Some(workload)),
        Some(Controller { workload, .. }) if workload.kind == kind => {
            Ok(stands::<A>(client, namespace, &workload).await?.map(|_| workload))
        }
        Some(_) => Ok(None),
    }
}

/// The object of this name, if it is the one that is meant. A name that is none could lead elsewhere: what is found has the UID.
async fn stands<K>(client: &Client, namespace: &str, meant: &Workload) -> Result<Option<ObjectMeta>, Error>
where
    K: Owner,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let found = api.get_metadata_opt(&meant.name).await?.map(|found| found.metadata);
    Ok(found.filter(|meta| meta.uid.as_deref() == Some(meant.uid.as_str())))
}

#[cfg(test)]
#[path = "owner_tests.rs"]
mod tests;
