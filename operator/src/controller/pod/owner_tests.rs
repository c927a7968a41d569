use super::*;
use crate::controller::there::server;
use serde_json::{Value, json};

fn workload(kind: &str, name: &str, uid: &str) -> Workload {
    Workload { kind: kind.into(), name: name.into(), uid: uid.into() }
}

/// Owner references of what this one controls.
fn owners((kind, name, uid): (&str, &str, &str)) -> Value {
    let group = match kind {
        "Job" | "CronJob" => "batch/v1",
        "Rollout" => "argoproj.io/v1alpha1",
        _ => "apps/v1",
    };
    json!([{"apiVersion": "x/v1", "kind": "Other", "name": "beside", "uid": "o"},
        {"apiVersion": group, "kind": kind, "name": name, "uid": uid, "controller": true}])
}

/// An object of the API server: its plural, its metadata, and its controller.
fn object(plural: &str, name: &str, uid: &str, above: Option<(&str, &str, &str)>) -> (String, Value) {
    let owners = above.map(owners);
    let metadata = json!({"name": name, "namespace": "agents", "uid": uid, "ownerReferences": owners});
    let kind = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata});
    (format!("{plural}/{name}"), kind)
}

/// What stands above a pod that names this as its controller, where these are there.
async fn above_pod(named: Workload, there: &[(String, Value)]) -> Option<Workload> {
    above(&json!({"namespace": "agents", "ownerReferences": owners((&named.kind, &named.name, &named.uid))}), there)
        .await
}

/// What stands above a pod with this metadata, where these are there.
async fn above(metadata: &Value, there: &[(String, Value)]) -> Option<Workload> {
    let pod: Pod = serde_json::from_value(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})).unwrap();
    let (client, _) = server(there);
    of_pod(&client, &pod).await.unwrap()
}

#[tokio::test]
async fn what_stands_above_a_pod_is_believed_only_as_far_as_it_is_there() {
    let deployment = object("deployments", "app", "d", None);
    let set = object("replicasets", "app-1", "r", Some(("Deployment", "app", "d")));
    let named = workload("ReplicaSet", "app-1", "r");
    let both = [deployment.clone(), set.clone()];
    assert_eq!(above_pod(named.clone(), &both).await, Some(workload("Deployment", "app", "d")));
    assert_eq!(above_pod(workload("ReplicaSet", "app-1", "another"), &both).await, None, "it is another one now");
    assert_eq!(above_pod(named.clone(), &both[..1]).await, None, "it is not there");
    assert_eq!(above_pod(named.clone(), &both[1..]).await, None, "its Deployment is not there");
    let again = [object("deployments", "app", "d2", None), set];
    assert_eq!(above_pod(named.clone(), &again).await, None, "its Deployment was made again");
    let alone = [object("replicasets", "app-1", "r", None)];
    assert_eq!(above_pod(named.clone(), &alone).await, Some(named.clone()));
    let rollout = [object("replicasets", "app-1", "r", Some(("Rollout", "app", "x")))];
    assert_eq!(above_pod(named.clone(), &rollout).await, Some(workload("Rollout", "app", "x")));
    for kind in ["StatefulSet", "CronJob", "Job"] {
        let claimed = [object("replicasets", "app-1", "r", Some((kind, "db", "s")))];
        assert_eq!(above_pod(named.clone(), &claimed).await, None, "a {kind} makes no ReplicaSets");
    }

    let nightly = [object("jobs", "n-1", "j", Some(("CronJob", "n", "c"))), object("cronjobs", "n", "c", None)];
    assert_eq!(above_pod(workload("Job", "n-1", "j"), &nightly).await, Some(workload("CronJob", "n", "c")));
    assert_eq!(above_pod(workload("Job", "n-1", "j"), &nightly[..1]).await, None);
}

/// Only their ReplicaSets and Jobs make pods: a pod that says so has written it itself.
#[tokio::test]
async fn no_deployment_or_cron_job_stands_right_above_a_pod() {
    let there = [object("deployments", "app", "d", None), object("cronjobs", "n", "c", None)];
    assert_eq!(above_pod(workload("Deployment", "app", "d"), &there).await, None);
    assert_eq!(above_pod(workload("CronJob", "n", "c"), &there).await, None);
    let set = workload("StatefulSet", "db", "s");
    assert_eq!(above_pod(set.clone(), &there).await, Some(set), "this one makes its pods itself");
}

#[tokio::test]
async fn a_pod_that_a_person_made_stands_alone_whatever_it_says() {
    let job = [object("jobs", "n-1", "j", None)];
    let mut metadata = json!({"namespace": "agents", "ownerReferences": owners(("Job", "n-1", "j"))});
    assert_eq!(above(&metadata, &job).await, Some(workload("Job", "n-1", "j")));
    metadata["annotations"] = json!({"exeat.dev/requester": "paula"});
    assert_eq!(above(&metadata, &job).await, None, "a yes for the Job is none for her pod");
}

/// Others' controllers make pods, too, under kinds that they have named like the cluster's own.
#[tokio::test]
async fn a_kind_of_another_group_is_not_looked_up_among_the_clusters_own() {
    for kind in ["Job", "ReplicaSet", "Deployment"] {
        let owners = json!([{"apiVersion": "batch.volcano.sh/v1alpha1", "kind": kind, "name": "train", "uid": "t", "controller": true}]);
        let metadata = json!({"namespace": "agents", "ownerReferences": owners});
        assert_eq!(above(&metadata, &[]).await, Some(workload(kind, "train", "t")));
        let (path, mut set) = object("jobs", "n-1", "j", None);
        set["metadata"]["ownerReferences"] = owners;
        assert_eq!(above_pod(workload("Job", "n-1", "j"), &[(path, set)]).await, Some(workload(kind, "train", "t")));
    }
}
