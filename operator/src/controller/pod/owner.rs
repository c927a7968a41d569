//! What stands above a pod: an approval serves a Deployment through its rollouts and a CronJob through its Jobs. A yes for a workload is good for
//! whoever is in it, so a pod is believed no more than it must be.

use crate::controller::error::Error;
use exeat_crds::v1alpha1::Workload;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ObjectMeta};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Kinds of the cluster's own controllers, of which each makes but its own things.
const BUILT_IN: [&str; 7] =
    ["CronJob", "DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet"];

/// A kind that may stand above a pod.
trait Owner: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned {}

impl<K> Owner for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned
{
}

/// The controller of an object, by its owner references.
pub(super) fn controller_of(owners: &[OwnerReference]) -> Option<Workload> {
    let owner = owners.iter().find(|o| o.controller == Some(true))?;
    Some(Workload { kind: owner.kind.clone(), name: owner.name.clone(), uid: owner.uid.clone() })
}

/// The Deployment of a ReplicaSet, the CronJob of a Job; every other workload is its own root. What is named must be there under its UID, and
/// no Deployment or CronJob stands right above a pod: where it is not so, nothing stands above it.
///
/// # Errors
/// What the API server refused.
pub(super) async fn root(client: &Client, namespace: &str, owner: Workload) -> Result<Option<Workload>, Error> {
    match owner.kind.as_str() {
        "ReplicaSet" => above::<ReplicaSet, Deployment>(client, namespace, owner, "Deployment").await,
        "Job" => above::<Job, CronJob>(client, namespace, owner, "CronJob").await,
        "Deployment" | "CronJob" => Ok(None),
        _ => Ok(Some(owner)),
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
        Some(above) if above.kind == kind => Ok(stands::<A>(client, namespace, &above).await?.map(|_| above)),
        Some(above) if BUILT_IN.contains(&above.kind.as_str()) => Ok(None),
        Some(above) => Ok(Some(above)),
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
