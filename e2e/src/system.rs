//! Exeat's own programs, looked at and disturbed.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, LogParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::{Failure, Result, ensure, system_namespace, wait_for};

fn pods_api(client: &Client) -> Api<Pod> {
    Api::namespaced(client.clone(), system_namespace())
}

fn deployments(client: &Client) -> Api<Deployment> {
    Api::namespaced(client.clone(), system_namespace())
}

/// The pods of `controller`, `issuer` or `webhook`.
///
/// # Errors
/// The API server's.
pub async fn pods(client: &Client, component: &str) -> Result<Vec<Pod>> {
    let selector = format!("app.kubernetes.io/name=exeat,app.kubernetes.io/component={component}");
    Ok(pods_api(client).list(&ListParams::default().labels(&selector)).await?.items)
}

/// The logs of all replicas of a program, one after the other.
///
/// # Errors
/// The API server's.
pub async fn log(client: &Client, component: &str) -> Result<String> {
    let mut all = String::new();
    for pod in pods(client, component).await? {
        all += &pods_api(client).logs(&pod.name_any(), &LogParams::default()).await.unwrap_or_default();
    }
    Ok(all)
}

/// The audit lines of a program about one session.
///
/// # Errors
/// The API server's.
pub async fn audit(client: &Client, component: &str, session: &str) -> Result<Vec<Value>> {
    let log = log(client, component).await?;
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(lines.filter(|line| line["audit"].is_string() && line["session"] == session).collect())
}

/// Waits until all replicas of a program are available.
///
/// # Errors
/// How many are, after two minutes.
pub async fn available(client: &Client, component: &str) -> Result {
    wait_for(&format!("all of {component} is available"), 120, async || {
        let deployment = deployments(client).get(&format!("exeat-{component}")).await?;
        let wanted = deployment.spec.and_then(|s| s.replicas).unwrap_or(1);
        let status = deployment.status.unwrap_or_default();
        let counts = [status.replicas, status.updated_replicas, status.available_replicas];
        ensure!(counts.iter().all(|n| n.unwrap_or(0) == wanted), "{counts:?} of {wanted}");
        Ok(())
    })
    .await
}

/// Deletes every pod of a program and waits until its successors are available.
///
/// # Errors
/// When they are not after two minutes.
pub async fn restart(client: &Client, component: &str) -> Result {
    let old = pods(client, component).await?;
    for pod in &old {
        pods_api(client).delete(&pod.name_any(), &DeleteParams::default()).await?;
    }
    wait_for(&format!("the old pods of {component} are gone"), 60, async || {
        let left = pods(client, component).await?;
        let gone = old.iter().all(|o| left.iter().all(|l| l.uid() != o.uid()));
        ensure!(gone, "some are still there");
        Ok(())
    })
    .await?;
    available(client, component).await
}

/// Sets how many replicas a program has, and waits until it is so. Returns how many there were.
///
/// # Errors
/// When it is not after two minutes.
pub async fn scale(client: &Client, component: &str, replicas: i32) -> Result<i32> {
    let name = format!("exeat-{component}");
    let before = deployments(client).get_scale(&name).await?.spec.and_then(|s| s.replicas).unwrap_or(1);
    let body = json!({"spec": {"replicas": replicas}});
    deployments(client).patch_scale(&name, &PatchParams::default(), &Patch::Merge(&body)).await?;
    wait_for(&format!("{component} has {replicas} pods"), 120, async || {
        let pods = pods(client, component).await?.len();
        ensure!(i32::try_from(pods).is_ok_and(|n| n == replicas), "it has {pods}");
        Ok(())
    })
    .await?;
    available(client, component).await?;
    Ok(before)
}

/// What a pod of ours answers on its health port.
///
/// # Errors
/// The API server's.
pub async fn get(client: &Client, pod: &str, path: &str) -> Result<String> {
    let uri = format!("/api/v1/namespaces/{}/pods/{pod}:8080/proxy{path}", system_namespace());
    let request = http::Request::get(uri).body(Vec::new()).map_err(|e| Failure::new(e.to_string()))?;
    Ok(client.request_text(request).await?)
}
