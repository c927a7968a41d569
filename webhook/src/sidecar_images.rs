//! The images that count as the sidecar's: the leading controller writes down what the webhook's replicas inject, and the
//! admission policy holds pods to it. While an upgrade rolls out there are two.

use exeat_crds::names;
use exeat_runtime::readiness::Latch;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use tokio::sync::watch;

use crate::config_map;

/// What the ConfigMap lists.
fn listed(config_map: &ConfigMap) -> Vec<String> {
    let text = config_map.data.as_ref().and_then(|data| data.get(names::SIDECAR_IMAGES_KEY));
    text.into_iter().flat_map(|text| text.lines()).map(str::to_owned).collect()
}

/// Follows the list for as long as it is polled. The latch is held until `own` is on it: a pod with an image that is not is
/// refused, so this replica must not be asked before.
pub async fn follow(client: Client, namespace: &str, own: &str, images: watch::Sender<Vec<String>>, latch: Latch) {
    let mut latch = Some(latch);
    let seen = |config_map: &ConfigMap| {
        let listed = listed(config_map);
        if listed.iter().any(|image| image == own) {
            drop(latch.take());
        } else {
            tracing::info!(image = own, ?listed, "the controller has not listed the sidecar's image yet");
        }
        drop(images.send_replace(listed));
    };
    config_map::follow(client, namespace, names::SIDECAR_IMAGES_CONFIG_MAP, seen).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_image_a_line() {
        let with = |key: &str, text: &str| ConfigMap {
            data: Some([(key.to_owned(), text.to_owned())].into()),
            ..ConfigMap::default()
        };
        assert_eq!(listed(&with("images", "a:1\nb@sha256:2\n")), ["a:1", "b@sha256:2"]);
        assert!(listed(&with("images", "")).is_empty());
        assert!(listed(&with("image", "a:1")).is_empty());
        assert!(listed(&ConfigMap::default()).is_empty());
    }
}
