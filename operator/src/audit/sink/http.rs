//! POST of newline-delimited JSON to an https URL. Each batch is sent until it is answered with 2xx, in the order of the chain: a record
//! arrives at least once, and its writer, boot and sequence tell a repetition.

use super::{Entry, Sink, SinkError};
use async_trait::async_trait;
use bytes::Bytes;
use exeat_runtime::dns::Resolver;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Time for a connection to stand.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for a whole batch.
const CALL: Duration = Duration::from_secs(15);

/// What an HTTP sink is told.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Where batches are posted to.
    pub url: Uri,
    /// File with the bearer token, read for each batch; none: no `Authorization` is sent.
    pub token_file: Option<PathBuf>,
    /// PEM file with the only roots that are trusted; none: the system's.
    pub ca_file: Option<PathBuf>,
}

/// Why a batch was not taken, or none can be sent. Never holds the token.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is none that tokens and records may go to. It is not repeated: it may hold a password.
    #[error("--audit-url (EXEAT_AUDIT_URL) must be an https URL with a host, without user name and password")]
    Url,
    /// The roots can't be used.
    #[error("--audit-ca (EXEAT_AUDIT_CA): {0}; it must hold one or more PEM certificates")]
    Roots(String),
    /// The TLS library refuses its settings.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The token can't be read.
    #[error("--audit-token-file {}: {cause}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// There was no answer.
    #[error("{url}: {cause}")]
    Failed {
        /// Where to, without the query.
        url: String,
        /// What happened.
        cause: String,
    },
    /// The answer was no.
    #[error("{url} answered {status}")]
    Refused {
        /// Where to, without the query.
        url: String,
        /// With what.
        status: StatusCode,
    },
}

/// The sink.
pub struct HttpSink {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    settings: HttpSettings,
}

impl HttpSink {
    /// A sink that looks names up with `resolver`.
    ///
    /// # Errors
    /// When the address or the roots can't be used.
    pub fn new(settings: HttpSettings, resolver: Resolver) -> Result<Self, HttpError> {
        let plain = settings.url.authority().is_some_and(|a| !a.host().is_empty() && !a.as_str().contains('@'));
        if settings.url.scheme_str() != Some("https") || !plain {
            return Err(HttpError::Url);
        }
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT));
        let tls = tls(settings.ca_file.as_deref())?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().wrap_connector(http);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), settings })
    }

    async fn post(&self, body: Vec<u8>) -> Result<(), HttpError> {
        let url = &self.settings.url;
        let shown = || format!("https://{}{}", url.authority().map_or("", |a| a.as_str()), url.path());
        let failed = |cause: String| HttpError::Failed { url: shown(), cause };
        let mut request = Request::post(url.clone())
            .header(CONTENT_TYPE, "application/x-ndjson")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| failed(error.to_string()))?;
        if let Some(path) = &self.settings.token_file {
            request.headers_mut().insert(AUTHORIZATION, bearer(path)?);
        }
        let answer = timeout(CALL, self.client.request(request)).await;
        let answer = answer.map_err(|_| failed(format!("no answer within {} s", CALL.as_secs())))?;
        let answer = answer.map_err(|error| failed(causes(&error)))?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(HttpError::Refused { url: shown(), status: answer.status() })
    }
}

#[async_trait]
impl Sink for HttpSink {
    fn is_local(&self) -> bool {
        false
    }

    async fn deliver(&mut self, batch: Vec<Entry>) -> Result<(), SinkError> {
        let body = batch.iter().flat_map(|entry| entry.line.iter().copied()).collect();
        Ok(self.post(body).await?)
    }
}

fn bearer(path: &Path) -> Result<HeaderValue, HttpError> {
    let failed = |cause: String| HttpError::Token { path: path.to_owned(), cause };
    let token = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?);
    let text = Zeroizing::new(format!("Bearer {}", token.trim()));
    let mut value = HeaderValue::from_str(&text).map_err(|_| failed("holds no token".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, HttpError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let Some(path) = ca_file else {
        let system =
            builder.with_native_roots().map_err(|error| HttpError::Roots(format!("the system's roots: {error}")))?;
        return Ok(system.with_no_client_auth());
    };
    let unusable = |cause: &dyn std::fmt::Display| HttpError::Roots(format!("{}: {cause}", path.display()));
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
#[path = "http_tests.rs"]
mod tests;
