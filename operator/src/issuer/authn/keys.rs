//! The cluster's token-signing keys, from the API server's own discovery (OpenID Connect Discovery 1.0).
//!
//! They only keep garbage away: the API server has the last word on every token. So old keys do while new ones can't be read, and however
//! many tokens with made-up keys come in, the keys are read once in [`MIN_GAP`].

use jsonwebtoken::jwk::JwkSet;
use kube::Client;
use serde::Deserialize;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// Keys are read again after this long.
const MAX_AGE: Duration = Duration::from_secs(300);
/// A token with an unknown key makes us read them again, but not more often than this.
pub(super) const MIN_GAP: Duration = Duration::from_secs(5);
/// So long a call waits for another one that reads them.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keys and the issuer that they are of.
pub(super) struct KeySet {
    pub(super) set: JwkSet,
    pub(super) issuer: String,
    /// When their reading began: they are at least as new as that.
    read_at: Instant,
}

pub(super) struct Keys {
    client: Client,
    known: RwLock<Option<Arc<KeySet>>>,
    /// When they were tried to be read last. Held while they are read.
    tried: Mutex<Option<Instant>>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

impl Keys {
    pub(super) fn new(client: Client) -> Self {
        Self { client, known: RwLock::new(None), tried: Mutex::new(None) }
    }

    /// The keys, as a rule from memory.
    pub(super) async fn current(&self) -> kube::Result<Arc<KeySet>> {
        let Some(known) = self.known() else { return self.refresh().await };
        if known.read_at.elapsed() < MAX_AGE {
            return Ok(known);
        }
        let Ok(mut tried) = self.tried.try_lock() else { return Ok(known) };
        if tried.is_some_and(|at| at.elapsed() < MIN_GAP) {
            return Ok(known);
        }
        let read = self.read(&mut tried).await;
        Ok(read.unwrap_or_else(|error| {
            tracing::warn!(%error, "the cluster's keys could not be read again; those of before still count");
            known
        }))
    }

    /// Keys that are no older than `since`, when a token with an unknown one came; none if they may not be read again already.
    pub(super) async fn since(&self, since: Instant) -> kube::Result<Option<Arc<KeySet>>> {
        let Ok(mut tried) = timeout(PATIENCE, self.tried.lock()).await else { return Ok(None) };
        if let Some(known) = self.known().filter(|k| k.read_at >= since) {
            return Ok(Some(known));
        }
        if tried.is_some_and(|at| at.elapsed() < MIN_GAP) {
            return Ok(None);
        }
        self.read(&mut tried).await.map(Some)
    }

    /// Reads them now.
    pub(super) async fn refresh(&self) -> kube::Result<Arc<KeySet>> {
        let mut tried = self.tried.lock().await;
        self.read(&mut tried).await
    }

    fn known(&self) -> Option<Arc<KeySet>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn read(&self, tried: &mut Option<Instant>) -> kube::Result<Arc<KeySet>> {
        let read_at = Instant::now();
        *tried = Some(read_at);
        let discovery: Discovery = self.get("/.well-known/openid-configuration").await?;
        let set: JwkSet = self.get("/openid/v1/jwks").await?;
        let keys = Arc::new(KeySet { set, issuer: discovery.issuer, read_at });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&keys));
        Ok(keys)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> kube::Result<T> {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }
}
