//! What stands above a pod: an approval serves a Deployment through its rollouts and a CronJob through its Jobs.

use crate::controller::error::Error;
use exeat_crds::v1alpha1::Workload;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ObjectMeta};

/// The controller of an object, by its owner references.
pub(super) fn controller_of(owners: &[OwnerReference]) -> Option<Workload> {
    let owner = owners.iter().find(|o| o.controller == Some(true))?;
    Some(Workload { kind: owner.kind.clone(), name: owner.name.clone(), uid: owner.uid.clone() })
}

/// The Deployment of a ReplicaSet, the CronJob of a Job; every other workload is its own root. Where the one in between is not there under its
/// UID, it stays what the pod says.
///
/// # Errors
/// What the API server refused.
pub(super) async fn root(client: &kube::Client, namespace: &str, owner: Workload) -> Result<Workload, Error> {
    let found = match owner.kind.as_str() {
        "ReplicaSet" => {
            let api: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
            api.get_metadata_opt(&owner.name).await?.map(|m| m.metadata)
        }
        "Job" => {
            let api: Api<Job> = Api::namespaced(client.clone(), namespace);
            api.get_metadata_opt(&owner.name).await?.map(|m| m.metadata)
        }
        _ => None,
    };
    Ok(above(found, &owner).unwrap_or(owner))
}

fn above(found: Option<ObjectMeta>, owner: &Workload) -> Option<Workload> {
    let meta = found.filter(|m| m.uid.as_deref() == Some(owner.uid.as_str()))?;
    controller_of(meta.owner_references.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(kind: &str, controller: bool) -> OwnerReference {
        OwnerReference {
            kind: kind.into(),
            name: "app".into(),
            uid: "d".into(),
            controller: Some(controller),
            ..OwnerReference::default()
        }
    }

    #[test]
    fn the_workload_above_is_believed_only_of_the_object_that_the_pod_names() {
        let set = Workload { kind: "ReplicaSet".into(), name: "app-1".into(), uid: "r".into() };
        let meta = |uid: &str, owners: Vec<OwnerReference>| {
            Some(ObjectMeta { uid: Some(uid.into()), owner_references: Some(owners), ..ObjectMeta::default() })
        };
        let deployment = Workload { kind: "Deployment".into(), name: "app".into(), uid: "d".into() };
        assert_eq!(above(meta("r", vec![owner("Other", false), owner("Deployment", true)]), &set), Some(deployment));
        assert_eq!(above(meta("another", vec![owner("Deployment", true)]), &set), None);
        assert_eq!(above(meta("r", vec![]), &set), None);
        assert_eq!(above(None, &set), None);
    }
}
