//! Our own certificates: a root in a Secret of ours, its public half in a ConfigMap for the webhook to inject, and a short leaf in memory for
//! each replica. The Secret and the ConfigMap come empty with the chart; the replica whose write passes first makes the root.

use exeat_crds::names;
use exeat_runtime::ca::{CaError, LEAF_VALIDITY, Leaf, Root};
use exeat_runtime::clock::Clock;
use exeat_runtime::tls::{CertResolver, CertificateError};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use std::time::Duration;

const CERT_KEY: &str = "ca.crt";
const KEY_KEY: &str = "ca.key";
/// How often leaf and ConfigMap are looked at.
const PERIOD: Duration = Duration::from_secs(60);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum RootError {
    /// The API server refused or did not answer.
    #[error("Secret or ConfigMap exeat-issuer-root can't be read or written: {0}")]
    Kube(#[from] kube::Error),
    /// What is in the Secret is no root of ours.
    #[error(
        "Secret exeat-issuer-root: {0}; delete its data to have a new root made (running pods then need a restart)"
    )]
    Ca(#[from] CaError),
    /// The leaf can't be used.
    #[error("{0}")]
    Leaf(#[from] CertificateError),
}

pub(super) struct Certificates {
    client: Client,
    namespace: String,
    service: String,
    clock: Arc<dyn Clock>,
    resolver: Arc<CertResolver>,
}

impl Certificates {
    pub(super) fn new(
        client: Client,
        namespace: &str,
        service: &str,
        clock: Arc<dyn Clock>,
        resolver: Arc<CertResolver>,
    ) -> Self {
        Self { client, namespace: namespace.to_owned(), service: service.to_owned(), clock, resolver }
    }

    /// Name of the Service inside the cluster: the one name that the root may vouch for.
    fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// Makes or reads the root, publishes it, and sets a first leaf.
    pub(super) async fn start(&self) -> Result<Leaf, RootError> {
        let root = self.root().await?;
        self.publish(&root).await?;
        self.renew(&root)
    }

    /// Keeps leaf and ConfigMap as they should be, for good.
    pub(super) async fn keep(&self, mut leaf: Leaf) {
        loop {
            tokio::time::sleep(PERIOD).await;
            let kept = async {
                let root = self.root().await?;
                self.publish(&root).await?;
                if leaf.is_due(self.clock.now()) {
                    leaf = self.renew(&root)?;
                }
                Ok::<(), RootError>(())
            };
            if let Err(error) = kept.await {
                tracing::warn!(%error, "certificates could not be looked after; it is tried again");
            }
        }
    }

    fn renew(&self, root: &Root) -> Result<Leaf, RootError> {
        let leaf = root.issue(&[self.host()], LEAF_VALIDITY, self.clock.now())?;
        self.resolver.set(leaf.certified_key()?);
        tracing::info!(until = %leaf.validity.not_after, "serving a new certificate");
        Ok(leaf)
    }

    async fn root(&self) -> Result<Root, RootError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        loop {
            let mut secret = api.get(names::ISSUER_ROOT_SECRET).await?;
            let value = |key: &str| {
                let bytes = secret.data.as_ref().and_then(|d| d.get(key))?;
                String::from_utf8(bytes.0.clone()).ok().filter(|t| !t.is_empty())
            };
            if let (Some(certificate), Some(key)) = (value(CERT_KEY), value(KEY_KEY)) {
                return Ok(Root::from_pem(&certificate, &SecretString::from(key), self.clock.now())?);
            }
            let root = Root::create("exeat issuer root", &[self.host()], self.clock.now())?;
            let data = secret.data.get_or_insert_default();
            data.insert(CERT_KEY.to_owned(), ByteString(root.cert_pem().as_bytes().to_vec()));
            data.insert(KEY_KEY.to_owned(), ByteString(root.key_pem().expose_secret().as_bytes().to_vec()));
            match api.replace(&secret.name_any(), &PostParams::default(), &secret).await {
                Ok(_) => return Ok(root),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn publish(&self, root: &Root) -> Result<(), RootError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut map = api.get(names::ISSUER_ROOT_CONFIG_MAP).await?;
        let data = map.data.get_or_insert_default();
        if data.get(CERT_KEY).map(String::as_str) == Some(root.cert_pem()) {
            return Ok(());
        }
        data.insert(CERT_KEY.to_owned(), root.cert_pem().to_owned());
        match api.replace(&map.name_any(), &PostParams::default(), &map).await {
            Ok(_) => Ok(()),
            // Another replica wrote the same root.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
