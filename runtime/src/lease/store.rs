//! Where the Lease is kept: the API server in production, memory in tests.

use std::future::Future;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};

use super::LeaseConfig;

/// Why a request about the Lease failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The object changed or vanished since it was read, or exists already. The request changed nothing.
    #[error("the lease was changed by another writer")]
    Conflict,
    /// No answer, or an answer that says nothing about the object. The request may have taken effect.
    #[error("{0}")]
    Unavailable(String),
}

/// A single Lease with the API server's rules: `create` fails if it exists, and `replace` takes effect only if
/// `metadata.resourceVersion` is still the stored one.
pub trait LeaseStore: Send + Sync + 'static {
    /// The Lease as stored now, if there is one.
    fn get(&self) -> impl Future<Output = Result<Option<Lease>, StoreError>> + Send;
    /// Stores a new Lease and returns it with its version.
    fn create(&self, lease: &Lease) -> impl Future<Output = Result<Lease, StoreError>> + Send;
    /// Replaces the version that `lease` was read at, and returns the new one. A vanished Lease is a conflict.
    fn replace(&self, lease: &Lease) -> impl Future<Output = Result<Lease, StoreError>> + Send;
}

/// The Lease in the API server.
#[derive(Clone, Debug)]
pub struct KubeLease {
    api: Api<Lease>,
    name: String,
    params: PostParams,
}

impl KubeLease {
    /// The Lease that `config` names, written under a field manager of the same name.
    pub fn new(client: kube::Client, config: &LeaseConfig) -> Self {
        let params = PostParams { field_manager: Some(config.name.clone()), ..PostParams::default() };
        Self { api: Api::namespaced(client, &config.namespace), name: config.name.clone(), params }
    }
}

impl LeaseStore for KubeLease {
    async fn get(&self) -> Result<Option<Lease>, StoreError> {
        self.api.get_opt(&self.name).await.map_err(store_error)
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, StoreError> {
        self.api.create(&self.params, lease).await.map_err(store_error)
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, StoreError> {
        match self.api.replace(&self.name, &self.params, lease).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Err(StoreError::Conflict),
            result => result.map_err(store_error),
        }
    }
}

fn store_error(error: kube::Error) -> StoreError {
    match error {
        kube::Error::Api(status) if status.code == 409 => StoreError::Conflict,
        kube::Error::Api(status) => StoreError::Unavailable(format!("{} ({})", status.message, status.code)),
        other => StoreError::Unavailable(other.to_string()),
    }
}
