//! Who is calling, in two steps: the token is [checked](Authenticator::check) locally, which costs nobody but us; then it is
//! [proved](Authenticator::prove) by TokenReview and by a look at the pod itself. What a caller may cost the API server is decided between.

mod claims;
mod keys;
#[cfg(test)]
pub(super) mod signer;

use super::holder::{self, Instance};
pub(super) use claims::PodIdentity;
use claims::{ClaimError, check};
use exeat_crds::digest::sha256_hex;
use exeat_crds::reason::{Reason, Refused};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::core::v1::Pod;
use keys::Keys;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// When a token with an unknown key is worth another try: the keys may be read again by then.
pub(super) const UNDECIDED_SECONDS: u64 = keys::MIN_GAP.as_secs();
/// A token that the API server refused is refused again from memory for this long.
const NEGATIVE_TTL: Duration = Duration::from_secs(10);
/// One that it accepted, of a pod that lived, does for a stream without another question for this long.
const PROVED_TTL: Duration = Duration::from_secs(30);
/// Tokens that are remembered.
const MAX_REMEMBERED: usize = 16_384;

/// Proves callers.
pub(super) struct Authenticator {
    client: Client,
    audience: String,
    keys: Keys,
    /// What the API server said last, by a token's digest.
    said: Mutex<HashMap<String, Said>>,
}

/// What the API server said of a token and its pod.
#[derive(Clone)]
struct Said {
    at: Instant,
    refused: Option<Refused>,
}

/// Why a caller is not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuthError {
    /// The token or its pod is no good.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The token's key is not known, and the keys were read a moment ago: they may have been rotated since.
    #[error("{0}")]
    Undecided(ClaimError),
    /// The API server could not be asked.
    #[error("the API server could not be asked: {0}")]
    Unavailable(#[source] Box<kube::Error>),
}

/// What a token with a good signature says of itself. The API server has not confirmed it.
#[derive(Debug)]
pub(super) struct Claimed(PodIdentity);

impl Claimed {
    /// The pod that the token names.
    pub(super) fn pod(&self) -> &PodIdentity {
        &self.0
    }
}

impl From<kube::Error> for AuthError {
    fn from(error: kube::Error) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

fn invalid(message: impl Into<String>) -> AuthError {
    AuthError::Refused(Refused::new(Reason::TokenInvalid, message))
}

impl Authenticator {
    pub(super) fn new(client: Client, audience: &str) -> Self {
        let keys = Keys::new(client.clone());
        Self { client, audience: audience.to_owned(), keys, said: Mutex::default() }
    }

    /// Reads the cluster's keys once, so that the first sidecar does not wait for them.
    pub(super) async fn warm_up(&self) -> kube::Result<()> {
        self.keys.refresh().await.map(|_| ())
    }

    /// Checks signature, issuer, audience and times, and that the API server has not refused the token just now. It does not ask the API
    /// server, but for its keys if it must, and then not more often than [`keys::MIN_GAP`] for all callers together.
    pub(super) async fn check(&self, token: &str) -> Result<Claimed, AuthError> {
        let began = Instant::now();
        let keys = self.keys.current().await?;
        let claimed = match check(token, &keys.set, &keys.issuer, &self.audience) {
            Err(ClaimError::UnknownKey) => match self.keys.since(began).await? {
                Some(keys) => check(token, &keys.set, &keys.issuer, &self.audience),
                None => return Err(AuthError::Undecided(ClaimError::UnknownKey)),
            },
            checked => checked,
        };
        let claimed = claimed.map_err(|e| invalid(e.to_string()))?;
        match self.said_lately(token, NEGATIVE_TTL).and_then(|said| said.refused) {
            Some(refused) => Err(refused.into()),
            None => Ok(Claimed(claimed)),
        }
    }

    /// Proves that `token`, which was checked, is held by a pod that lives.
    pub(super) async fn prove(&self, token: &str, claimed: Claimed) -> Result<PodIdentity, AuthError> {
        let proved = self.ask(token, claimed.0).await;
        match &proved {
            Ok(_) => self.remember(token, None),
            Err(AuthError::Refused(refused)) => self.remember(token, Some(refused.clone())),
            Err(_) => {}
        }
        proved
    }

    /// As [`Authenticator::prove`], but what was proved a moment ago is taken as proved: for what gives no credential.
    pub(super) async fn prove_of_late(&self, token: &str, claimed: Claimed) -> Result<PodIdentity, AuthError> {
        match self.said_lately(token, PROVED_TTL) {
            Some(Said { refused: None, .. }) => Ok(claimed.0),
            _ => self.prove(token, claimed).await,
        }
    }

    async fn ask(&self, token: &str, claimed: PodIdentity) -> Result<PodIdentity, AuthError> {
        let (user, pod) = futures::join!(self.review(token), self.live_pod(&claimed));
        confirm(&claimed, &user?)?;
        pod?;
        Ok(claimed)
    }

    /// What kubelet says now of the sidecar of a proved pod.
    pub(super) async fn sidecar(&self, identity: &PodIdentity) -> Result<Instance, AuthError> {
        self.live_pod(identity).await.map(|pod| holder::instance(&pod))
    }

    async fn review(&self, token: &str) -> Result<UserInfo, AuthError> {
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let spec = TokenReviewSpec { audiences: Some(vec![self.audience.clone()]), token: Some(token.to_owned()) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let status = api.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        let for_us = status.audiences.iter().flatten().any(|a| *a == self.audience);
        if status.authenticated != Some(true) || !for_us {
            let why = status.error.unwrap_or_else(|| "not authenticated".to_owned());
            return Err(invalid(format!("the API server does not accept the token: {why}")));
        }
        status.user.ok_or_else(|| invalid("the API server names no user for the token"))
    }

    /// A token outlives its container, and passes while its pod is terminating: neither may fetch anything new.
    async fn live_pod(&self, identity: &PodIdentity) -> Result<Pod, AuthError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &identity.namespace);
        let gone =
            |what: &str| AuthError::Refused(Refused::new(Reason::PodGone, format!("pod {:?} {what}", identity.pod)));
        let pod = api.get_opt(&identity.pod).await?.ok_or_else(|| gone("does not exist"))?;
        if pod.uid().as_deref() != Some(identity.pod_uid.as_str()) {
            return Err(gone("is another one now"));
        }
        if pod.metadata.deletion_timestamp.is_some() {
            return Err(gone("is being deleted"));
        }
        match pod.status.as_ref().and_then(|s| s.phase.as_deref()) {
            Some("Succeeded" | "Failed") => Err(gone("has ended")),
            _ => Ok(pod),
        }
    }

    /// What the API server said last of a token, if that was no longer ago.
    fn said_lately(&self, token: &str, ttl: Duration) -> Option<Said> {
        let all = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&sha256_hex(token.as_bytes())).filter(|said| said.at.elapsed() < ttl).cloned()
    }

    fn remember(&self, token: &str, refused: Option<Refused>) {
        let mut all = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_REMEMBERED {
            all.retain(|_, said| said.at.elapsed() < PROVED_TTL);
        }
        if all.len() < MAX_REMEMBERED {
            all.insert(sha256_hex(token.as_bytes()), Said { at: Instant::now(), refused });
        }
    }
}

/// What the API server says of the token must be what the token says of itself.
fn confirm(claimed: &PodIdentity, user: &UserInfo) -> Result<(), AuthError> {
    let account = format!("system:serviceaccount:{}:{}", claimed.namespace, claimed.service_account);
    let extra = |key: &str| {
        let values = user.extra.as_ref().and_then(|e| e.get(key));
        values.and_then(|v| v.first()).map(String::as_str)
    };
    let same = user.username.as_deref() == Some(account.as_str())
        && extra("authentication.kubernetes.io/pod-name") == Some(claimed.pod.as_str())
        && extra("authentication.kubernetes.io/pod-uid") == Some(claimed.pod_uid.as_str());
    if same { Ok(()) } else { Err(invalid("the API server and the token name different pods")) }
}
