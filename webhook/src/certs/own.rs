//! Keeps a certificate of our own served: one root in a Secret for all replicas, one short leaf in memory for each.

use std::sync::Arc;
use std::time::Duration;

use exeat_crds::names;
use exeat_runtime::ca::{CaError, LEAF_VALIDITY, Leaf, Root};
use exeat_runtime::clock::Clock;
use exeat_runtime::readiness::Latch;
use exeat_runtime::shutdown::Shutdown;
use exeat_runtime::tls::{CertResolver, CertificateError};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::sleep;

use super::root::{Found, RootError, filled, judge};
use crate::metrics::Metrics;

/// How often the Secret is looked at: long against its rate of change, short against what a person waits.
const PERIOD: Duration = Duration::from_secs(30);
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum OwnCertificateError {
    /// The Secret can't be read or written.
    #[error("Secret {name}: {0}; the chart ships it empty", name = names::WEBHOOK_ROOT_SECRET)]
    Secret(#[from] kube::Error),
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
    root: Option<Root>,
    leaf: Option<Leaf>,
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
                    PERIOD
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
        let found = self.shared_root(current.root.as_ref()).await?;
        self.bundle.send_if_modified(|bundle| {
            let changed = bundle.as_ref() != Some(&found.bundle);
            *bundle = Some(found.bundle.clone());
            changed
        });
        let former = current.root.replace(found.root.clone());
        let same = former.is_none_or(|former| former.cert_pem().trim() == found.root.cert_pem().trim());
        if current.leaf.as_ref().is_none_or(|leaf| leaf.is_due(self.clock.now())) {
            current.leaf = Some(self.serve(&found.root)?);
        } else if !same {
            // The next step issues: until then the API server learns of the new root, and the old leaf is served.
            current.leaf = None;
        }
        Ok(())
    }

    /// The root that all replicas share, written first where there is none.
    async fn shared_root(&self, mine: Option<&Root>) -> Result<Found, OwnCertificateError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = secrets.get(names::WEBHOOK_ROOT_SECRET).await?;
        let found = judge(&secret, mine, &self.host, self.clock.now())?;
        if !found.write {
            return Ok(found);
        }
        let params = PostParams { field_manager: Some(names::WEBHOOK.to_owned()), ..PostParams::default() };
        match secrets.replace(names::WEBHOOK_ROOT_SECRET, &params, &filled(secret, &found)).await {
            Ok(_) => tracing::info!(secret = names::WEBHOOK_ROOT_SECRET, "root written"),
            // Another replica was first: its root is the one.
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                let secret = secrets.get(names::WEBHOOK_ROOT_SECRET).await?;
                let found = judge(&secret, mine, &self.host, self.clock.now())?;
                return if found.write { Err(OwnCertificateError::Contended) } else { Ok(found) };
            }
            Err(error) => return Err(error.into()),
        }
        Ok(found)
    }

    fn serve(&self, root: &Root) -> Result<Leaf, OwnCertificateError> {
        let leaf = root.issue(&[&self.host], LEAF_VALIDITY, self.clock.now())?;
        self.resolver.set(leaf.certified_key()?);
        self.metrics.certificate_expires(leaf.validity.not_after);
        tracing::info!(host = %self.host, expires = %leaf.validity.not_after, "certificate issued");
        Ok(leaf)
    }
}

#[cfg(test)]
mod tests;
