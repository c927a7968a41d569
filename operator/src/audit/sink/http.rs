//! POST of newline-delimited JSON to an https URL. Each batch is sent until it is answered with 2xx, in the order of the chain: a record
//! arrives at least once, and its writer, boot and sequence tell a repetition.

use super::{Entry, Sink, SinkError};
use crate::https::{HttpsClient, Plain};
use async_trait::async_trait;
use bytes::Bytes;
use exeat_runtime::dns::Resolver;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

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
    /// The roots can't be used, or none can be.
    #[error("--audit-ca (EXEAT_AUDIT_CA): {0}")]
    Tls(String),
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
    client: HttpsClient,
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
        let client = HttpsClient::new(settings.ca_file.as_deref(), Plain::Refused, resolver);
        let client = client.map_err(|error| HttpError::Tls(error.to_string()))?;
        Ok(Self { client, settings })
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
        let status = self.client.send(request).await.map_err(failed)?;
        if status.is_success() {
            return Ok(());
        }
        Err(HttpError::Refused { url: shown(), status })
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

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
