//! Policies and providers: from watches, and straight from the API server where a watch has not seen one yet (it may
//! have been applied in the same breath as the pod).

use std::fmt::Debug;

use exeat_crds::{AgentCredentialPolicy, CredentialProvider};
use exeat_runtime::readiness::Latch;
use futures::StreamExt;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::pod::is_name;

/// Why an object is not known.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The API server did not answer, or refused to.
    #[error("{kind} {name:?} can't be read from the API server ({source}); try again")]
    Unreadable {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// What the client met.
        source: Box<kube::Error>,
    },
}

impl LookupError {
    /// The stable reason code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "ObjectUnreadable",
        }
    }
}

/// The two kinds that pods and policies are judged by. Clones share the watches.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    policies: Store<DeserializeGuard<AgentCredentialPolicy>>,
    providers: Store<DeserializeGuard<CredentialProvider>>,
}

impl Objects {
    /// Reads from the stores, and from the API server what they lack.
    pub fn new(
        client: Client,
        policies: Store<DeserializeGuard<AgentCredentialPolicy>>,
        providers: Store<DeserializeGuard<CredentialProvider>>,
    ) -> Self {
        Self { client, policies, providers }
    }

    /// A policy, if there is one.
    ///
    /// # Errors
    /// When neither the watch nor the API server can tell.
    pub async fn policy(&self, namespace: &str, name: &str) -> Result<Option<AgentCredentialPolicy>, LookupError> {
        let key = ObjectRef::new(name).within(namespace);
        match cached(&self.policies, &key) {
            Some(policy) => Ok(Some(policy)),
            None => fetch(Api::namespaced(self.client.clone(), namespace), name).await,
        }
    }

    /// A provider, if there is one.
    ///
    /// # Errors
    /// As [`Objects::policy`].
    pub async fn provider(&self, name: &str) -> Result<Option<CredentialProvider>, LookupError> {
        match cached(&self.providers, &ObjectRef::new(name)) {
            Some(provider) => Ok(Some(provider)),
            None => fetch(Api::all(self.client.clone()), name).await,
        }
    }

    /// The client behind it.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

fn cached<K>(store: &Store<DeserializeGuard<K>>, key: &ObjectRef<DeserializeGuard<K>>) -> Option<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(key).and_then(|object| object.0.as_ref().ok().cloned())
}

async fn fetch<K>(api: Api<K>, name: &str) -> Result<Option<K>, LookupError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    // Anything else would be another path of the API.
    if !is_name(name) {
        return Ok(None);
    }
    api.get_opt(name).await.map_err(|source| LookupError::Unreadable {
        kind: K::kind(&()).into_owned(),
        name: name.to_owned(),
        source: Box::new(source),
    })
}

/// Keeps a store in step with the API server for as long as it is polled. One object that can't be read does not stop
/// the others; `synced` is released with the first complete list.
pub async fn follow<K>(
    api: Api<DeserializeGuard<K>>,
    writer: reflector::store::Writer<DeserializeGuard<K>>,
    synced: Latch,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let mut synced = Some(synced);
    let watch = watcher(api, watcher::Config::default()).default_backoff();
    let slim = watch.modify(|object| object.managed_fields_mut().clear());
    let mut events = std::pin::pin!(reflector::reflector(writer, slim));
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::InitDone) => drop(synced.take()),
            Ok(_) => {}
            Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted; it goes on by itself"),
        }
    }
}
