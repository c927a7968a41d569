//! Keeps a certificate of our own served: one root in a Secret for all replicas, one short leaf in memory for each.

use std::sync::Arc;
use std::time::Duration;

use exeat_crds::names;
use exeat_runtime::ca::{CaError, LEAF_VALIDITY, Leaf, look_interval};
use exeat_runtime::clock::Clock;
use exeat_runtime::readiness::Latch;
use exeat_runtime::shutdown::Shutdown;
use exeat_runtime::tls::{CertResolver, CertificateError};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::sleep;

use super::bundle;
use super::root::{Action, Known, RootError, State, asked, decide};
use crate::metrics::Metrics;

/// How often the Secret is looked at, at the least: long against its rate of change, short against what a person waits.
const PERIOD: Duration = Duration::from_secs(30);
/// How long the configurations must hold the next root before certificates come from it: for every API server to know.
const SETTLE: SignedDuration = SignedDuration::from_secs(15);
/// Tries of a write that others come before.
const TRIES: usize = 10;
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum OwnCertificateError {
    /// The Secret can't be read or written.
    #[error("Secret {name}: {0}; the chart ships it empty", name = names::WEBHOOK_ROOT_SECRET)]
    Secret(#[source] kube::Error),
    /// The webhook configurations can't be read, so that nobody knows whether they hold the next root.
    #[error("webhook configurations: {0}")]
    Configurations(#[source] kube::Error),
    /// The Secret holds no usable root.
    #[error("Secret {name}: {0}", name = names::WEBHOOK_ROOT_SECRET)]
    Root(#[from] RootError),
    /// Other replicas write the Secret too.
    #[error("Secret {name}: written by another replica at the same time", name = names::WEBHOOK_ROOT_SECRET)]
    Contended,
    /// The leaf can't be issued.
    #[error("no certificate can be issued: {0}")]
    Issue(#[from] CaError),
    /// The leaf can't be served.
    #[error("the new certificate can't be served: {0}")]
    Serve(#[from] CertificateError),
}

impl OwnCertificateError {
    /// The stable reason code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Secret(_) => "RootSecretUnreachable",
            Self::Configurations(_) => "WebhookConfigurationUnreachable",
            Self::Root(error) => error.code(),
            Self::Contended => "RootSecretContended",
            Self::Issue(error) => error.code(),
            Self::Serve(error) => error.code(),
        }
    }
}

/// The parts that the certificate goes to and comes from.
pub struct OwnCertificate<C> {
    /// Client for the Secret.
    pub client: Client,
    /// Namespace of the Secret.
    pub namespace: String,
    /// The one DNS name, by which the API server calls.
    pub host: String,
    /// Name of the two webhook configurations.
    pub configuration: String,
    /// How long a former root is trusted beside the one in use.
    pub overlap: Duration,
    /// Where the certificate is served from.
    pub resolver: Arc<CertResolver>,
    /// Where the roots are published for the API server.
    pub bundle: watch::Sender<Option<String>>,
    /// The time.
    pub clock: C,
    /// Tells when the certificate expires.
    pub metrics: Metrics,
}

#[derive(Default)]
struct Current {
    state: Option<State>,
    leaf: Option<Leaf>,
    /// The bundle that the configurations were seen to hold, and since when.
    published: Option<(String, Timestamp)>,
}

impl<C: Clock> OwnCertificate<C> {
    /// Runs until `shutdown`. Releases `served` with the first certificate.
    pub async fn run(self, served: Latch, shutdown: Shutdown) {
        let mut served = Some(served);
        let mut current = Current::default();
        loop {
            let wait = match self.step(&mut current).await {
                Ok(()) => {
                    drop(served.take());
                    look_interval(self.overlap, PERIOD)
                }
                Err(error) => {
                    tracing::warn!(code = error.code(), %error, "certificate not renewed; trying again");
                    RETRY
                }
            };
            tokio::select! {
                () = shutdown.wait() => return,
                () = sleep(wait) => {}
            }
        }
    }

    async fn step(&self, current: &mut Current) -> Result<(), OwnCertificateError> {
        let looked = self.look(current).await;
        let mut outdated = current.leaf.as_ref().is_none_or(|leaf| leaf.is_due(self.clock.now()));
        if let Ok(state) = &looked {
            let bundle = state.bundle();
            self.bundle.send_if_modified(|known| {
                let changed = known.as_ref() != Some(&bundle);
                *known = Some(bundle);
                changed
            });
            let former = current.state.replace(state.clone());
            outdated |= former.is_some_and(|former| former.root.cert_pem() != state.root.cert_pem());
        }
        // Where the Secret can't be read, the leaf is renewed all the same.
        if let Some(state) = current.state.as_ref().filter(|_| outdated) {
            current.leaf = Some(self.serve(state)?);
        }
        looked.map(|_| ())
    }

    /// The state that all replicas share, brought forward first where that is due.
    async fn look(&self, current: &mut Current) -> Result<State, OwnCertificateError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = PostParams { field_manager: Some(names::WEBHOOK.to_owned()), ..PostParams::default() };
        for _ in 0..TRIES {
            let secret = secrets.get(names::WEBHOOK_ROOT_SECRET).await.map_err(OwnCertificateError::Secret)?;
            let now = self.clock.now();
            let found = State::read(&secret, now)?;
            let published = match &found {
                Some(state) if state.is_prepared() => self.published(state.bundle(), current, now).await?,
                _ => false,
            };
            let action = decide(found.as_ref(), asked(&secret), &self.host, published, now);
            let next = match (action, found) {
                (Action::Keep, Some(state)) => return Ok(state),
                (action, found) => {
                    let (mine, asked) = (current.state.as_ref(), asked(&secret));
                    let known = Known { mine, asked, host: &self.host, overlap: self.overlap, now };
                    State::after(action, found.as_ref(), &known)?
                }
            };
            match secrets.replace(names::WEBHOOK_ROOT_SECRET, &params, &next.write(secret)).await {
                Ok(_) => tracing::info!(secret = names::WEBHOOK_ROOT_SECRET, ?action, "root written"),
                // Another replica was first: what it wrote counts.
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                Err(error) => return Err(OwnCertificateError::Secret(error)),
            }
        }
        Err(OwnCertificateError::Contended)
    }

    /// Whether the configurations have held `bundle` for long enough.
    async fn published(
        &self,
        bundle: String,
        current: &mut Current,
        now: Timestamp,
    ) -> Result<bool, OwnCertificateError> {
        let held = bundle::is_held(&self.client, &self.configuration, &bundle).await;
        if !held.map_err(OwnCertificateError::Configurations)? {
            current.published = None;
            return Ok(false);
        }
        let since = match current.published.take() {
            Some((seen, since)) if seen == bundle => since,
            _ => now,
        };
        current.published = Some((bundle, since));
        Ok(now.duration_since(since) >= SETTLE)
    }

    fn serve(&self, state: &State) -> Result<Leaf, OwnCertificateError> {
        let leaf = state.root.issue(&[&self.host], LEAF_VALIDITY, self.clock.now())?;
        self.resolver.set(leaf.certified_key()?);
        self.metrics.certificate_expires(leaf.validity.not_after);
        tracing::info!(host = %self.host, expires = %leaf.validity.not_after, "certificate issued");
        Ok(leaf)
    }
}

/// Reads what the Secret says is to be trusted.
pub struct Bundles {
    /// Client for the Secret.
    pub client: Client,
    /// Namespace of the Secret.
    pub namespace: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Bundles {
    /// The bundle at the moment; nothing while the Secret is empty.
    ///
    /// # Errors
    /// When the Secret can't be read, or holds no usable root.
    pub async fn read(&self) -> Result<Option<String>, OwnCertificateError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = secrets.get(names::WEBHOOK_ROOT_SECRET).await.map_err(OwnCertificateError::Secret)?;
        Ok(State::read(&secret, self.clock.now())?.map(|state| state.bundle()))
    }
}

#[cfg(test)]
mod tests;
