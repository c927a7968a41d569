//! The certificate of the moment.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Why a certificate can't be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The certificate chain is no PEM, or holds no certificate.
    #[error("the certificate chain is no usable PEM: {0}")]
    Chain(String),
    /// The private key is no PEM, or of an unknown kind. The cause is left out: it could hold the key.
    #[error("the private key is no usable PEM")]
    Key,
    /// The key is not the certificate's.
    #[error("the private key does not belong to the certificate: {0}")]
    Mismatch(#[source] rustls::Error),
}

impl CertificateError {
    /// The stable reason code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Chain(_) => "CertificateUnreadable",
            Self::Key => "PrivateKeyUnreadable",
            Self::Mismatch(_) => "PrivateKeyMismatch",
        }
    }
}

/// Reads a certificate chain (leaf first) and its private key, both PEM, and checks that they belong together.
///
/// # Errors
/// When either is unreadable or they do not match.
pub fn certified_key(chain_pem: &str, key_pem: &str) -> Result<CertifiedKey, CertificateError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| CertificateError::Chain(error.to_string()))?;
    if chain.is_empty() {
        return Err(CertificateError::Chain("no certificate in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| CertificateError::Key)?;
    let signer = ring::sign::any_supported_type(&key).map_err(|_| CertificateError::Key)?;
    let certified = CertifiedKey::new(chain, signer);
    certified.keys_match().map_err(CertificateError::Mismatch)?;
    Ok(certified)
}

/// Serves the certificate that was set last. Handshakes fail while none is set; open connections keep theirs.
#[derive(Debug, Default)]
pub struct CertResolver {
    current: ArcSwapOption<CertifiedKey>,
}

impl CertResolver {
    /// A resolver without a certificate yet.
    pub fn empty() -> Arc<Self> {
        Arc::default()
    }

    /// From now on new connections see `certificate`.
    pub fn set(&self, certificate: CertifiedKey) {
        self.current.store(Some(Arc::new(certificate)));
    }

    /// As [`CertResolver::set`], from PEM. On an error the former certificate stays.
    ///
    /// # Errors
    /// As [`certified_key`].
    pub fn set_pem(&self, chain_pem: &str, key_pem: &str) -> Result<(), CertificateError> {
        self.set(certified_key(chain_pem, key_pem)?);
        Ok(())
    }

    /// Whether there is a certificate to serve.
    pub fn is_set(&self) -> bool {
        self.current.load().is_some()
    }
}

impl ResolvesServerCert for CertResolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}
