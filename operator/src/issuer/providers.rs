//! Built providers, one for each CredentialProvider as it is now: a changed spec builds a new one.

use exeat_crds::CredentialProvider;
use exeat_crds::authority::provider_hash;
use exeat_crds::v1alpha1::{CredentialProviderSpec, KubernetesProvider};
use exeat_providers::{Context, Provider, ProviderError, build};
use kube::ResourceExt;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Mutex, OnceCell};

pub(super) struct Providers {
    context: Context,
    built: Mutex<HashMap<String, Built>>,
    own: OnceCell<Arc<dyn Provider>>,
}

struct Built {
    hash: String,
    provider: Arc<dyn Provider>,
}

impl Providers {
    pub(super) fn new(context: Context) -> Self {
        Self { context, built: Mutex::default(), own: OnceCell::new() }
    }

    /// With one that stands in for what would be built of its object, and for our own cluster's.
    #[cfg(test)]
    pub(super) fn with_built(context: Context, object: &CredentialProvider, provider: Arc<dyn Provider>) -> Self {
        let own = OnceCell::new_with(Some(Arc::clone(&provider)));
        let built = Built { hash: provider_hash(object), provider };
        Self { context, built: Mutex::new([(object.name_any(), built)].into()), own }
    }

    /// The provider as its object is now.
    pub(super) async fn get(&self, provider: &CredentialProvider) -> Result<Arc<dyn Provider>, ProviderError> {
        let name = provider.name_any();
        let hash = provider_hash(provider);
        if let Some(built) = self.built.lock().await.get(&name).filter(|b| b.hash == hash) {
            return Ok(Arc::clone(&built.provider));
        }
        let provider = build(&provider.spec, &self.context).await?;
        self.built.lock().await.insert(name, Built { hash, provider: Arc::clone(&provider) });
        Ok(provider)
    }

    /// For revoking after the CredentialProvider is gone: only accounts in our own cluster are revocable without it.
    pub(super) async fn own_cluster(&self) -> Result<Arc<dyn Provider>, ProviderError> {
        let spec = CredentialProviderSpec {
            aws: None,
            gcp: None,
            azure: None,
            vault: None,
            kubernetes: Some(KubernetesProvider::default()),
            http: None,
            bindings: Vec::new(),
        };
        self.own.get_or_try_init(|| build(&spec, &self.context)).await.cloned()
    }

    pub(super) fn cluster(&self) -> &str {
        &self.context.cluster
    }
}
