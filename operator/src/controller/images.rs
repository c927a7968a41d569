//! Which images count as the sidecar's: those that replicas of the webhook inject, for as long as one of them may still do so. While an
//! upgrade rolls out these are two, so that no new pod is refused and no image counts for longer than that. The leader alone writes the
//! list; the admission policy `exeat-pods` and the webhook read it.

use super::context::Context;
use super::error::Error;
use exeat_crds::names;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// The webhook's account: whoever may run a pod as one of ours may do all that we may.
const ACCOUNT: &str = "exeat-webhook";
const REPLICAS: &str = "app.kubernetes.io/name=exeat,app.kubernetes.io/component=webhook";
/// Variables that tell a replica which image it injects, and what else counts as that.
const VARIABLES: [&str; 2] = ["EXEAT_SIDECAR_IMAGE", "EXEAT_SIDECAR_ACCEPTED_IMAGES"];
/// The list is looked at this often even if no change is seen.
const PERIOD: Duration = Duration::from_secs(60);
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// The images of all replicas that run, will run or are about to end.
pub fn injected_by<'a>(replicas: impl IntoIterator<Item = &'a Pod>) -> BTreeSet<String> {
    let specs = replicas.into_iter().filter(|pod| !has_ended(pod)).filter_map(|pod| pod.spec.as_ref());
    let ours = specs.filter(|spec| spec.service_account_name.as_deref() == Some(ACCOUNT));
    let variables = ours.flat_map(|spec| &spec.containers).flat_map(|container| container.env.iter().flatten());
    let values = variables.filter(|v| VARIABLES.contains(&v.name.as_str())).filter_map(|v| v.value.as_deref());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|i| !i.is_empty()).map(str::to_owned).collect()
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Keeps the list. While there is no replica at all it stays as it is.
pub(super) async fn keep(context: &Context, namespace: &str) {
    let list: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    let (replicas, writer) = reflector::store();
    let pods = watcher(Api::namespaced(context.client.clone(), namespace), watcher::Config::default().labels(REPLICAS));
    let pods = kube::runtime::reflector(writer, pods.default_backoff()).map(|_| ());
    let only = watcher::Config::default().fields(&format!("metadata.name={}", names::SIDECAR_IMAGES_CONFIG_MAP));
    let touched = watcher(list.clone(), only).default_backoff().map(|_| ());
    let mut changes = std::pin::pin!(futures::stream::select(pods, touched));
    loop {
        let written = write(context, &list, &replicas).await;
        if let Err(error) = &written {
            tracing::warn!(%error, "the list of the sidecar's images can't be kept; it is tried again");
        }
        let pause = if written.is_ok() { PERIOD } else { AFTER_FAILURE };
        await_change(changes.as_mut(), pause).await;
    }
}

/// Waits for a change and takes all that have come by then: one look is enough for them.
async fn await_change(mut changes: impl Stream<Item = ()> + Unpin, longest: Duration) {
    let _ = tokio::time::timeout(longest, changes.next()).await;
    while let Some(Some(())) = futures::FutureExt::now_or_never(changes.next()) {}
}

async fn write(context: &Context, list: &Api<ConfigMap>, replicas: &Store<Pod>) -> Result<(), Error> {
    let images: Vec<String> = injected_by(replicas.state().iter().map(AsRef::as_ref)).into_iter().collect();
    if images.is_empty() {
        return Ok(());
    }
    let text = images.join("\n");
    let found = list.get_opt(names::SIDECAR_IMAGES_CONFIG_MAP).await?;
    let before = found.and_then(|found| found.data?.remove(names::SIDECAR_IMAGES_KEY));
    if before.as_ref() == Some(&text) {
        return Ok(());
    }
    context.gate.check()?;
    let data = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": names::SIDECAR_IMAGES_CONFIG_MAP},
        "data": {names::SIDECAR_IMAGES_KEY: text},
    });
    let params = PatchParams::apply(names::CONTROLLER).force();
    list.patch(names::SIDECAR_IMAGES_CONFIG_MAP, &params, &Patch::Apply(data)).await?;
    tracing::info!(?images, ?before, "these images count as the sidecar's now");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn replica(account: &str, phase: &str, env: Value) -> Pod {
        let spec = json!({"serviceAccountName": account, "containers": [{"name": "webhook", "env": env}]});
        serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": {"phase": phase}})).unwrap()
    }

    fn injects(image: &str) -> Value {
        json!([{"name": "EXEAT_SIDECAR_IMAGE", "value": image}])
    }

    #[test]
    fn both_releases_count_while_an_upgrade_rolls_out() {
        let accepts = json!([
            {"name": "EXEAT_SIDECAR_IMAGE", "value": "sidecar:2"},
            {"name": "EXEAT_SIDECAR_ACCEPTED_IMAGES", "value": "mirror/sidecar:2, mirror/sidecar@sha256:2,"},
            {"name": "EXEAT_AUDIENCE", "value": "exeat.dev"},
        ]);
        let pods = [replica(ACCOUNT, "Running", injects("sidecar:1")), replica(ACCOUNT, "Pending", accepts)];
        let wanted = ["mirror/sidecar:2", "mirror/sidecar@sha256:2", "sidecar:1", "sidecar:2"];
        assert!(injected_by(&pods).iter().eq(wanted.iter()), "{:?}", injected_by(&pods));
        assert!(injected_by(&pods[..1]).iter().eq(["sidecar:1"].iter()));
    }

    #[test]
    fn what_injects_nothing_does_not_count() {
        let pods = [
            replica(ACCOUNT, "Failed", injects("ended")),
            replica("default", "Running", injects("other-account")),
            replica(
                ACCOUNT,
                "Running",
                json!([{"name": "EXEAT_SIDECAR_IMAGE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
            ),
        ];
        assert!(injected_by(&pods).is_empty(), "{:?}", injected_by(&pods));
    }
}
