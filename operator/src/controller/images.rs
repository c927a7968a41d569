//! Which images count as the sidecar's: those that replicas of the webhook inject, for as long as one of them may still do so. While an
//! upgrade rolls out these are two, so that no new pod is refused and no image counts for longer than that. The leader adds them to the
//! admission policy that without them refuses every injected pod; the webhook reads them there.

use exeat_crds::names;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;
use std::collections::BTreeSet;

/// The webhook's account: whoever may run a pod as one of ours may do all that we may.
const ACCOUNT: &str = "exeat-webhook";
const REPLICAS: &str = "app.kubernetes.io/name=exeat,app.kubernetes.io/component=webhook";
/// Variables that tell a replica which image it injects, and what else counts as that.
const VARIABLES: [&str; 2] = ["EXEAT_SIDECAR_IMAGE", "EXEAT_SIDECAR_ACCEPTED_IMAGES"];

/// The webhook's replicas.
pub(super) struct Replicas {
    store: Store<Pod>,
    changes: BoxStream<'static, ()>,
}

impl Replicas {
    /// Once all of them are known: an unfinished list would close the policy.
    pub(super) async fn known(client: &Client, namespace: &str) -> Self {
        let (store, writer) = reflector::store();
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let pods = watcher(pods, watcher::Config::default().labels(REPLICAS)).default_backoff();
        let changes = kube::runtime::reflector(writer, pods).map(|event| {
            if let Err(error) = event {
                tracing::warn!(%error, "the watch of the webhook's replicas was interrupted; it goes on");
            }
        });
        let mut replicas = Self { store, changes: changes.boxed() };
        while replicas.store.wait_until_ready().now_or_never().is_none() {
            replicas.change().await;
        }
        replicas
    }

    /// Waits until something has happened to one of them.
    pub(super) async fn change(&mut self) {
        if self.changes.next().await.is_none() {
            std::future::pending().await
        }
    }

    /// What they inject.
    pub(super) fn images(&self) -> BTreeSet<String> {
        injected_by(self.store.state().iter().map(AsRef::as_ref))
    }
}

/// The images of all replicas that run, will run or are about to end.
pub fn injected_by<'a>(replicas: impl IntoIterator<Item = &'a Pod>) -> BTreeSet<String> {
    let specs = replicas.into_iter().filter(|pod| !has_ended(pod)).filter_map(|pod| pod.spec.as_ref());
    let ours = specs.filter(|spec| spec.service_account_name.as_deref() == Some(ACCOUNT));
    let variables = ours.flat_map(|spec| &spec.containers).flat_map(|container| container.env.iter().flatten());
    let values = variables.filter(|v| VARIABLES.contains(&v.name.as_str())).filter_map(|v| v.value.as_deref());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|i| is_reference(i)).map(str::to_owned).collect()
}

/// What is written into the policy's expression can't be more than a reference.
fn is_reference(image: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._/:@-".contains(c);
    !image.is_empty() && image.chars().all(fits)
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether a manifest is that of the policy which lists images.
pub(super) fn lists(manifest: &DynamicObject) -> bool {
    let policy = manifest.types.as_ref().is_some_and(|types| types.kind == "ValidatingAdmissionPolicy");
    policy && manifest.name_any() == names::SIDECAR_POLICY
}

/// The policy as it is with these images; without any it refuses every injected pod, as it was installed.
pub(super) fn with(manifest: &DynamicObject, images: &BTreeSet<String>) -> DynamicObject {
    let mut policy = manifest.clone();
    if images.is_empty() {
        return policy;
    }
    let list: Vec<&str> = images.iter().map(String::as_str).collect();
    policy.annotations_mut().insert(names::SIDECAR_IMAGES.to_owned(), list.join(","));
    let expression = format!(
        "!object.spec.?initContainers.orValue([]).filter(c, c.name == '{}').all(c, c.image in ['{}'])",
        names::SIDECAR,
        list.join("', '")
    );
    if let Some(spec) = policy.data.get_mut("spec") {
        spec["matchConditions"] = json!([{"name": "another-image", "expression": expression}]);
    }
    policy
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

    #[test]
    fn the_policy_lets_the_listed_images_pass_and_without_any_none() {
        let manifest: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "exeat-sidecar"}, "spec": {"validations": [{"expression": "false"}]},
        }))
        .unwrap();
        assert!(lists(&manifest));
        assert_eq!(with(&manifest, &BTreeSet::new()), manifest);
        let images = ["sidecar:1", "sidecar:2"].map(str::to_owned).into();
        let policy = with(&manifest, &images);
        assert_eq!(policy.annotations()[names::SIDECAR_IMAGES], "sidecar:1,sidecar:2");
        let condition = &policy.data["spec"]["matchConditions"][0]["expression"];
        assert!(condition.as_str().unwrap().ends_with("c.image in ['sidecar:1', 'sidecar:2'])"), "{condition}");
        let binding = DynamicObject { types: None, ..manifest };
        assert!(!lists(&binding));
    }

    #[test]
    fn no_value_ends_the_expression_that_it_is_written_into() {
        let pods = [replica(ACCOUNT, "Running", injects("sidecar:1'] || true || '' in ['"))];
        assert!(injected_by(&pods).is_empty());
    }
}
