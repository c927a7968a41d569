use super::*;
use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use std::convert::Infallible;
use tower::service_fn;

fn workload(kind: &str, name: &str, uid: &str) -> Workload {
    Workload { kind: kind.into(), name: name.into(), uid: uid.into() }
}

/// An object of the API server: its plural, its metadata, and its controller.
fn object(plural: &str, name: &str, uid: &str, above: Option<(&str, &str, &str)>) -> (String, Value) {
    let owners = above.map(|(kind, name, uid)| {
        json!([{"apiVersion": "x/v1", "kind": "Other", "name": "beside", "uid": "o"},
            {"apiVersion": "x/v1", "kind": kind, "name": name, "uid": uid, "controller": true}])
    });
    let metadata = json!({"name": name, "namespace": "agents", "uid": uid, "ownerReferences": owners});
    let kind = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata});
    (format!("{plural}/{name}"), kind)
}

/// What stands above a pod that names this as its controller, where these are there.
async fn above_pod(named: Workload, there: &[(String, Value)]) -> Option<Workload> {
    let there = there.to_vec();
    let client = Client::new(
        service_fn(move |request: Request<Body>| {
            let found = there.iter().find(|(path, _)| request.uri().path().ends_with(path.as_str()));
            let missing = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404});
            let (status, body) = found.map_or((404, missing), |(_, object)| (200, object.clone()));
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            async move { Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap()) }
        }),
        "default",
    );
    root(&client, "agents", named).await.unwrap()
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
