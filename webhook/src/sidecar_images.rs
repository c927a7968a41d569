//! The images that count as the sidecar's: the leading controller writes what the webhook's replicas inject into the admission
//! policy that holds pods to it. While an upgrade rolls out there are two.

use std::time::Duration;

use exeat_crds::names;
use exeat_runtime::readiness::Latch;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

use crate::follow::follow as follow_object;

/// How long an image is listed before a replica that injects it is asked: API servers take up a changed policy once a second.
const SETTLE: Duration = Duration::from_secs(2);

/// What the policy takes for the sidecar's.
fn listed(policy: &ValidatingAdmissionPolicy) -> Vec<String> {
    let text = policy.annotations().get(names::SIDECAR_IMAGES);
    text.into_iter().flat_map(|text| text.split(',')).filter(|i| !i.is_empty()).map(str::to_owned).collect()
}

/// Follows the list for as long as it is polled. The latch is held until `own` is on it: a pod with an image that is not is
/// refused, so this replica must not be asked before.
pub async fn follow(client: Client, own: &str, images: watch::Sender<Vec<String>>, latch: Latch) {
    let mut known = images.subscribe();
    let seen = |policy: &ValidatingAdmissionPolicy| {
        let listed = listed(policy);
        if !listed.iter().any(|image| image == own) {
            tracing::info!(image = own, ?listed, "the controller has not listed the sidecar's image yet");
        }
        drop(images.send_replace(listed));
    };
    let release = async {
        if known.wait_for(|listed| listed.iter().any(|image| image == own)).await.is_ok() {
            tokio::time::sleep(SETTLE).await;
        }
        latch.release();
    };
    tokio::join!(follow_object(Api::all(client), names::SIDECAR_POLICY, seen), release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_read_from_the_annotation_alone() {
        let with = |key: &str, text: &str| {
            let mut policy = ValidatingAdmissionPolicy::default();
            policy.annotations_mut().insert(key.to_owned(), text.to_owned());
            listed(&policy)
        };
        assert_eq!(with("exeat.dev/sidecar-images", "a:1,b@sha256:2"), ["a:1", "b@sha256:2"]);
        assert!(with("exeat.dev/sidecar-images", "").is_empty());
        assert!(with("other", "a:1").is_empty());
    }
}
