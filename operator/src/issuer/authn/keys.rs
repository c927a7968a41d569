//! The cluster's token-signing keys, from the API server's own discovery (OpenID Connect Discovery 1.0).

use jsonwebtoken::jwk::JwkSet;
use kube::Client;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::RwLock;
use tokio::time::Instant;

/// Keys are read again after this long.
const MAX_AGE: Duration = Duration::from_secs(300);
/// A token with an unknown key makes us read them again, but not more often than this.
const MIN_GAP: Duration = Duration::from_secs(5);

/// Keys and the issuer that they are of.
pub(super) struct KeySet {
    pub(super) set: JwkSet,
    pub(super) issuer: String,
    read_at: Instant,
}

pub(super) struct Keys {
    client: Client,
    current: RwLock<Option<Arc<KeySet>>>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

impl Keys {
    pub(super) fn new(client: Client) -> Self {
        Self { client, current: RwLock::new(None) }
    }

    pub(super) async fn current(&self) -> kube::Result<Arc<KeySet>> {
        self.younger_than(MAX_AGE).await
    }

    pub(super) async fn current_after_miss(&self) -> kube::Result<Arc<KeySet>> {
        self.younger_than(MIN_GAP).await
    }

    pub(super) async fn refresh(&self) -> kube::Result<()> {
        self.younger_than(Duration::ZERO).await.map(|_| ())
    }

    async fn younger_than(&self, age: Duration) -> kube::Result<Arc<KeySet>> {
        if let Some(keys) = self.current.read().await.as_ref().filter(|k| k.read_at.elapsed() < age) {
            return Ok(Arc::clone(keys));
        }
        let mut current = self.current.write().await;
        if let Some(keys) = current.as_ref().filter(|k| k.read_at.elapsed() < age) {
            return Ok(Arc::clone(keys));
        }
        let keys = Arc::new(self.read().await?);
        *current = Some(Arc::clone(&keys));
        Ok(keys)
    }

    async fn read(&self) -> kube::Result<KeySet> {
        let discovery: Discovery = self.get("/.well-known/openid-configuration").await?;
        let set: JwkSet = self.get("/openid/v1/jwks").await?;
        Ok(KeySet { set, issuer: discovery.issuer, read_at: Instant::now() })
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> kube::Result<T> {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }
}
