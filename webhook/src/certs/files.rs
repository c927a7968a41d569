//! A certificate from files that something else renews, for instance a cert-manager Secret mounted as a volume.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use exeat_runtime::ca::{self, CaError};
use exeat_runtime::readiness::Latch;
use exeat_runtime::shutdown::Shutdown;
use exeat_runtime::tls::{CertResolver, CertificateError};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::sleep;

use crate::metrics::Metrics;

/// How often the files are read. kubelet swaps a volume's `..data` link as a whole, which no file watch sees reliably.
const PERIOD: Duration = Duration::from_secs(10);

/// Why the files are not served.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The files are no certificate with its key; a swap may be under way.
    #[error("--tls-cert-file and --tls-key-file: {0}")]
    Certificate(#[from] CertificateError),
    /// The certificate can't be read for its expiry.
    #[error("--tls-cert-file: {0}")]
    Expiry(#[from] CaError),
}

impl FileError {
    /// The stable reason code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "CertificateFileUnreadable",
            Self::Certificate(error) => error.code(),
            Self::Expiry(error) => error.code(),
        }
    }
}

/// A certificate and its key in files.
pub struct FileCertificate {
    /// The certificate chain, leaf first, PEM.
    pub cert_file: PathBuf,
    /// The private key, PEM.
    pub key_file: PathBuf,
    /// Where the certificate is served from.
    pub resolver: Arc<CertResolver>,
    /// Tells when the certificate expires.
    pub metrics: Metrics,
}

/// What was read last.
#[derive(Default)]
pub struct Seen(Option<(String, SecretString)>);

impl FileCertificate {
    /// Runs until `shutdown`. Releases `served` with the first certificate.
    pub async fn run(self, served: Latch, shutdown: Shutdown) {
        let mut served = Some(served);
        let mut seen = Seen::default();
        loop {
            match self.step(&mut seen) {
                Ok(changed) => {
                    drop(served.take());
                    if changed {
                        tracing::info!(file = %self.cert_file.display(), "certificate read");
                    }
                }
                Err(error) => tracing::warn!(code = error.code(), %error, "certificate not read; the former one stays"),
            }
            tokio::select! {
                () = shutdown.wait() => return,
                () = sleep(PERIOD) => {}
            }
        }
    }

    /// Reads the files and serves them when they have changed. Returns whether they had.
    ///
    /// # Errors
    /// With what is wrong; the former certificate is then still served.
    pub fn step(&self, seen: &mut Seen) -> Result<bool, FileError> {
        let read =
            |path: &PathBuf| fs::read_to_string(path).map_err(|source| FileError::Read { path: path.clone(), source });
        let certificate = read(&self.cert_file)?;
        let key = SecretString::from(read(&self.key_file)?);
        if seen
            .0
            .as_ref()
            .is_some_and(|(old, old_key)| *old == certificate && old_key.expose_secret() == key.expose_secret())
        {
            return Ok(false);
        }
        let expires = ca::validity(&certificate)?.not_after;
        self.resolver.set_pem(&certificate, key.expose_secret())?;
        self.metrics.certificate_expires(expires);
        seen.0 = Some((certificate, key));
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
