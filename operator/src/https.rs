//! The one HTTP client by which the programs send what people or their systems should have: audit records and notifications.

use bytes::Bytes;
use exeat_runtime::dns::Resolver;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Time for a connection to stand.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for a whole call.
const CALL: Duration = Duration::from_secs(15);

/// Whether connections without TLS are made at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// https alone.
    Refused,
    /// http too.
    Allowed,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The roots can't be used.
    #[error("{0}; it must hold one or more PEM certificates")]
    Roots(String),
    /// The TLS library refuses its settings.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Follows no redirect, reads no answer's body, and has its own time limits.
pub(crate) struct HttpsClient(Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>);

impl HttpsClient {
    /// A client that looks names up with `resolver` and trusts the roots in `ca_file` alone; none: the system's.
    ///
    /// # Errors
    /// When the roots can't be used.
    pub(crate) fn new(ca_file: Option<&Path>, plain: Plain, resolver: Resolver) -> Result<Self, TlsError> {
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT));
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls(ca_file)?);
        let connector = match plain {
            Plain::Refused => builder.https_only().enable_http1().wrap_connector(http),
            Plain::Allowed => builder.https_or_http().enable_http1().wrap_connector(http),
        };
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// The status of the answer.
    ///
    /// # Errors
    /// Why there was none, in one line that holds neither path nor query of the address.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, String> {
        let answer = timeout(CALL, self.0.request(request)).await;
        let answer = answer.map_err(|_| format!("no answer within {} s", CALL.as_secs()))?;
        answer.map(|answer| answer.status()).map_err(|error| causes(&error))
    }
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let Some(path) = ca_file else {
        let system =
            builder.with_native_roots().map_err(|error| TlsError::Roots(format!("the system's roots: {error}")))?;
        return Ok(system.with_no_client_auth());
    };
    let unusable = |cause: &dyn std::fmt::Display| TlsError::Roots(format!("{}: {cause}", path.display()));
    let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        store.add(certificate.map_err(|error| unusable(&error))?).map_err(|error| unusable(&error))?;
    }
    if store.is_empty() {
        return Err(unusable(&"no certificate found"));
    }
    Ok(builder.with_root_certificates(store).with_no_client_auth())
}

/// The whole chain of causes in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
#[path = "https_receiver.rs"]
pub(crate) mod receiver;
