//! Keeps the roots in the webhook configurations: without them the API server can't call us, and annotated pods are
//! refused. Whatever overwrites them is corrected as soon as the watch shows it.

use std::fmt::Debug;
use std::time::Duration;

use exeat_crds::names;
use exeat_runtime::readiness::Latch;
use futures::StreamExt;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, TestOperation};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

/// Wait after a write that failed.
const RETRY: Duration = Duration::from_secs(2);

/// An object that tells the API server of webhooks.
pub trait Configuration {
    /// Name and client configuration of each webhook, in order.
    fn webhooks(&self) -> Vec<(&str, &WebhookClientConfig)>;
}

impl Configuration for MutatingWebhookConfiguration {
    fn webhooks(&self) -> Vec<(&str, &WebhookClientConfig)> {
        self.webhooks.iter().flatten().map(|webhook| (webhook.name.as_str(), &webhook.client_config)).collect()
    }
}

impl Configuration for ValidatingWebhookConfiguration {
    fn webhooks(&self) -> Vec<(&str, &WebhookClientConfig)> {
        self.webhooks.iter().flatten().map(|webhook| (webhook.name.as_str(), &webhook.client_config)).collect()
    }
}

/// The patch that puts `bundle` where it is missing. It tests the names, so that it fails where the list has changed
/// since, and never brings a removed webhook back.
pub fn patch(configuration: &impl Configuration, bundle: &str) -> json_patch::Patch {
    let encoded = json!(ByteString(bundle.as_bytes().to_vec()));
    let mut operations = Vec::new();
    for (i, (name, config)) in configuration.webhooks().into_iter().enumerate() {
        if config.ca_bundle.as_ref().is_some_and(|present| present.0 == bundle.as_bytes()) {
            continue;
        }
        let path = |rest: &[&str]| {
            let start = ["webhooks".to_owned(), i.to_string()];
            PointerBuf::from_tokens(start.iter().map(String::as_str).chain(rest.iter().copied()))
        };
        let value = Value::String(name.to_owned());
        operations.push(PatchOperation::Test(TestOperation { path: path(&["name"]), value }));
        let path = path(&["clientConfig", "caBundle"]);
        operations.push(PatchOperation::Add(AddOperation { path, value: encoded.clone() }));
    }
    json_patch::Patch(operations)
}

/// Keeps one configuration in step with `bundle` for as long as it is polled. Releases `healed` once the
/// configuration trusts us, or does not exist.
pub async fn heal<K>(api: Api<K>, name: &str, mut bundle: watch::Receiver<Option<String>>, healed: Latch)
where
    K: Configuration + Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut healed = Some(healed);
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher(api.clone(), only).default_backoff());
    let mut current: Option<K> = None;
    let mut listed = false;
    let mut failed = false;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(watcher::Event::Apply(found) | watcher::Event::InitApply(found))) => current = Some(found),
                Some(Ok(watcher::Event::Delete(_) | watcher::Event::Init)) => current = None,
                Some(Ok(watcher::Event::InitDone)) => listed = true,
                Some(Err(error)) => tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted; it goes on by itself"),
                None => return,
            },
            changed = bundle.changed() => if changed.is_err() { return },
            () = sleep(RETRY), if failed => {}
        }
        let Some(trusted) = bundle.borrow_and_update().clone() else { continue };
        failed = match &current {
            None if !listed => continue,
            None => false,
            Some(found) => match put(&api, name, found, &trusted).await {
                Ok(None) => false,
                Ok(Some(patched)) => {
                    current = Some(patched);
                    false
                }
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), name, %error, "the root is not in the webhook configuration; trying again");
                    true
                }
            },
        };
        if !failed {
            drop(healed.take());
        }
    }
}

async fn put<K>(api: &Api<K>, name: &str, found: &K, bundle: &str) -> Result<Option<K>, kube::Error>
where
    K: Configuration + Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let patch = patch(found, bundle);
    if patch.0.is_empty() {
        return Ok(None);
    }
    let params = PatchParams { field_manager: Some(names::WEBHOOK.to_owned()), ..PatchParams::default() };
    let patched = api.patch(name, &params, &Patch::Json::<()>(patch)).await?;
    tracing::info!(kind = %K::kind(&()), name, "root written into the webhook configuration");
    Ok(Some(patched))
}

#[cfg(test)]
mod tests;
