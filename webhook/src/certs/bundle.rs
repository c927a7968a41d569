//! Keeps the roots in the webhook configurations: without them the API server can't call us, and annotated pods are
//! refused. Whatever overwrites them is corrected as soon as the watch shows it.
//!
//! A replica may know less than the one that wrote a configuration. So that it never takes a newer root away, it reads the
//! Secret again after it has seen the configuration, and writes only if the configuration is still as it was seen.

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
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use super::own::Bundles;

/// Wait after a write that failed.
const RETRY: Duration = Duration::from_secs(2);

/// An object that tells the API server of webhooks.
pub trait Configuration: ResourceExt {
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

/// The patch that puts `bundle` where it is missing. It tests version and names, so that it fails where anything has
/// changed since, and never brings a removed webhook back.
pub fn patch(configuration: &impl Configuration, bundle: &str) -> json_patch::Patch {
    let encoded = json!(ByteString(bundle.as_bytes().to_vec()));
    let test = |path, value| PatchOperation::Test(TestOperation { path, value: Value::String(value) });
    let mut operations = Vec::new();
    for (i, (name, config)) in configuration.webhooks().into_iter().enumerate() {
        if config.ca_bundle.as_ref().is_some_and(|present| present.0 == bundle.as_bytes()) {
            continue;
        }
        let path = |rest: &[&str]| {
            let start = ["webhooks".to_owned(), i.to_string()];
            PointerBuf::from_tokens(start.iter().map(String::as_str).chain(rest.iter().copied()))
        };
        operations.push(test(path(&["name"]), name.to_owned()));
        let path = path(&["clientConfig", "caBundle"]);
        operations.push(PatchOperation::Add(AddOperation { path, value: encoded.clone() }));
    }
    if let Some(version) = configuration.resource_version().filter(|_| !operations.is_empty()) {
        operations.insert(0, test(PointerBuf::from_tokens(["metadata", "resourceVersion"]), version));
    }
    json_patch::Patch(operations)
}

/// Whether both configurations called `name` hold `bundle` in all of their webhooks; one that does not exist calls nobody.
///
/// # Errors
/// When they can't be read.
pub async fn is_held(client: &Client, name: &str, bundle: &str) -> Result<bool, kube::Error> {
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let mutating = mutating.get_opt(name).await?.is_none_or(|found| patch(&found, bundle).0.is_empty());
    Ok(mutating && validating.get_opt(name).await?.is_none_or(|found| patch(&found, bundle).0.is_empty()))
}

/// Keeps one configuration in step with the Secret for as long as it is polled. `known` is what this replica serves by;
/// `secret` gives what holds at the moment. Releases `healed` once the configuration trusts us, or does not
/// exist.
pub async fn heal<K>(
    api: Api<K>,
    name: &str,
    mut known: watch::Receiver<Option<String>>,
    secret: &Bundles,
    healed: Latch,
) where
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
            changed = known.changed() => if changed.is_err() { return },
            () = sleep(RETRY), if failed => {}
        }
        let Some(trusted) = known.borrow_and_update().clone() else { continue };
        failed = match &current {
            None if !listed => continue,
            None => false,
            Some(found) => match correct(&api, found, &trusted, secret).await {
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

/// Puts right what was `found`, if it is wrong by what the Secret says now. Returns what it is then.
pub(super) async fn correct<K>(api: &Api<K>, found: &K, known: &str, secret: &Bundles) -> Result<Option<K>, String>
where
    K: Configuration + Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    if patch(found, known).0.is_empty() {
        return Ok(None);
    }
    let Some(bundle) = secret.read().await.map_err(|error| error.to_string())? else {
        return Err("the Secret is empty at the moment".to_owned());
    };
    let patch = patch(found, &bundle);
    if patch.0.is_empty() {
        return Ok(None);
    }
    let name = found.name_any();
    let params = PatchParams { field_manager: Some(names::WEBHOOK.to_owned()), ..PatchParams::default() };
    let patched = api.patch(&name, &params, &Patch::Json::<()>(patch)).await.map_err(|error| error.to_string())?;
    tracing::info!(kind = %K::kind(&()), name, "root written into the webhook configuration");
    Ok(Some(patched))
}

#[cfg(test)]
mod tests;
