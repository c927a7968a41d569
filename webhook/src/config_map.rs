//! Following one ConfigMap of our namespace.

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};

/// Shows the ConfigMap to `seen`, now and after every change, for as long as it is polled. One that is taken away is not shown.
pub(crate) async fn follow(client: Client, namespace: &str, name: &str, mut seen: impl FnMut(&ConfigMap)) {
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher(api, only).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(found) | watcher::Event::InitApply(found)) => seen(&found),
            Ok(_) => {}
            Err(error) => tracing::warn!(config_map = name, %error, "a watch was interrupted; it goes on by itself"),
        }
    }
}
