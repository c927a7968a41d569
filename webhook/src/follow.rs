//! Following one object by name.

use std::fmt::Debug;

use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// Shows the object to `seen`, now and after every change, for as long as it is polled. One that is taken away is not shown.
pub(crate) async fn follow<K>(api: Api<K>, name: &str, mut seen: impl FnMut(&K))
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher(api, only).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(found) | watcher::Event::InitApply(found)) => seen(&found),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), name, %error, "a watch was interrupted; it goes on by itself");
            }
        }
    }
}
