//! Calls to the issuer: HTTP/1.1 over TLS, trusting the injected roots alone.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exeat_runtime::dns::Resolver;
use exeat_wire::{
    CREDENTIAL_PATH, CredentialRequest, CredentialResponse, HOLDER_HEADER, OBSERVED_PATH, ObservedReport,
    POLICIES_HEADER, Refusal, STREAM_PATH,
};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::secret::random_hex;

/// Time for a connection to stand.
const CONNECT: Duration = Duration::from_secs(3);
/// Time for a whole call for a credential: longer than an issuer waits for a slow provider.
const CALL: Duration = Duration::from_secs(20);
/// Time for the stream to open.
const OPEN: Duration = Duration::from_secs(10);
/// Interval of TCP keep-alive on the stream.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Largest answer.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Longest cause that is repeated to SDKs.
const MAX_CAUSE_CHARS: usize = 300;

/// Why no call can be made at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The roots are no PEM, or none of them is usable.
    #[error("--issuer-ca (EXEAT_ISSUER_CA): {0}; it must hold one or more PEM certificates")]
    Roots(String),
    /// The TLS library refuses its settings.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The address can't be completed by a path.
    #[error("--issuer-url: {0}")]
    Url(#[from] http::Error),
}

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The issuer says no.
    #[error("{}: {}", .0.code, .0.message)]
    Refused(Refusal),
    /// There was no answer of an issuer. Holds the cause, without secrets.
    #[error("{0}")]
    Failed(String),
}

/// A client for one issuer, or for the Service in front of several.
pub struct Issuer {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    credential: Uri,
    observed: Uri,
    stream: Uri,
    token_file: PathBuf,
    holder: HeaderValue,
    /// The policies that this sidecar serves, where there are several.
    policies: Option<HeaderValue>,
}

impl Issuer {
    /// A client for the issuer at `url` that trusts the PEM certificates in `roots` and shows the token in `token_file`.
    ///
    /// # Errors
    /// When the roots or the address can't be used.
    pub fn new(url: &Uri, roots: &str, token_file: PathBuf, resolver: Resolver) -> Result<Self, SetupError> {
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT));
        http.set_keepalive(Some(KEEPALIVE));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls(roots)?).https_only().enable_http1().wrap_connector(http);
        let mut holder = HeaderValue::from_str(&random_hex()).map_err(http::Error::from)?;
        holder.set_sensitive(true);
        Ok(Self {
            // One call in a quarter of an hour: a kept connection would only cost the issuer memory.
            client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector),
            credential: join(url, CREDENTIAL_PATH)?,
            observed: join(url, OBSERVED_PATH)?,
            stream: join(url, STREAM_PATH)?,
            token_file,
            holder,
            policies: None,
        })
    }

    /// The same for a sidecar that serves these policies.
    ///
    /// # Errors
    /// When one of them can be no name.
    pub fn serving(self, policies: &[&str]) -> Result<Self, SetupError> {
        let policies = HeaderValue::from_str(&policies.join(",")).map_err(http::Error::from)?;
        Ok(Self { policies: Some(policies), ..self })
    }

    /// Asks for the credential of this pod's session, of `policy` where it has several; `held` names the one that may be prolonged.
    ///
    /// # Errors
    /// When the issuer refuses, or none answers within 20 seconds.
    pub async fn fetch(&self, held: Option<String>, policy: Option<String>) -> Result<CredentialResponse, CallError> {
        let asked = CredentialRequest { sidecar_version: env!("CARGO_PKG_VERSION").into(), held, policy };
        let body = serde_json::to_vec(&asked).map_err(|error| CallError::Failed(error.to_string()))?;
        let call = async {
            let (status, headers, body) = self.call(Method::POST, &self.credential, body).await?;
            let body = collect(body).await?;
            if status != StatusCode::OK {
                return Err(read_refusal(status, &headers, &body));
            }
            serde_json::from_slice(&body)
                .map_err(|error| CallError::Failed(format!("the issuer's answer can't be read: {error}")))
        };
        within(CALL, call).await
    }

    /// Opens the stream; its lines come in the returned body.
    ///
    /// # Errors
    /// When the issuer refuses, or none answers within ten seconds.
    pub async fn open_stream(&self) -> Result<Incoming, CallError> {
        let call = async {
            let (status, headers, body) = self.call(Method::GET, &self.stream, Vec::new()).await?;
            if status == StatusCode::OK {
                return Ok(body);
            }
            let body = collect(body).await?;
            Err(read_refusal(status, &headers, &body))
        };
        within(OPEN, call).await
    }

    /// Tells what the agent used.
    ///
    /// # Errors
    /// When the issuer refuses it, or none answers within 20 seconds.
    pub async fn report(&self, report: &ObservedReport) -> Result<(), CallError> {
        let body = serde_json::to_vec(report).map_err(|error| CallError::Failed(error.to_string()))?;
        let call = async {
            let (status, headers, body) = self.call(Method::POST, &self.observed, body).await?;
            let body = collect(body).await?;
            if status.is_success() { Ok(()) } else { Err(read_refusal(status, &headers, &body)) }
        };
        within(CALL, call).await
    }

    async fn call(
        &self,
        method: Method,
        uri: &Uri,
        body: Vec<u8>,
    ) -> Result<(StatusCode, HeaderMap, Incoming), CallError> {
        let mut request = Request::builder();
        if let Some(policies) = &self.policies {
            request = request.header(POLICIES_HEADER, policies.clone());
        }
        let request = request
            .method(method)
            .uri(uri.clone())
            .header(AUTHORIZATION, self.bearer()?)
            .header(HOLDER_HEADER, self.holder.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, application/x-ndjson")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| CallError::Failed(error.to_string()))?;
        let response: Response<Incoming> =
            self.client.request(request).await.map_err(|error| CallError::Failed(causes(&error)))?;
        let (head, body) = response.into_parts();
        Ok((head.status, head.headers, body))
    }

    /// The token is read at each call: kubelet renews the file.
    fn bearer(&self) -> Result<HeaderValue, CallError> {
        let failed = |cause: String| CallError::Failed(format!("token file {}: {cause}", self.token_file.display()));
        let token = std::fs::read_to_string(&self.token_file).map_err(|error| failed(error.to_string()))?;
        let token = Zeroizing::new(token);
        let text = Zeroizing::new(format!("Bearer {}", token.trim()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| failed("holds no token".into()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("credential", &self.credential).finish_non_exhaustive()
    }
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    let late = || Err(CallError::Failed(format!("no answer within {} s", limit.as_secs())));
    timeout(limit, call).await.unwrap_or_else(|_| late())
}

fn tls(roots: &str) -> Result<ClientConfig, SetupError> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        let certificate = certificate.map_err(|error| SetupError::Roots(error.to_string()))?;
        store.add(certificate).map_err(|error| SetupError::Roots(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(SetupError::Roots("no certificate found".into()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(store)
        .with_no_client_auth())
}

fn join(url: &Uri, path: &'static str) -> Result<Uri, http::Error> {
    let mut parts = url.clone().into_parts();
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static(path));
    Ok(Uri::from_parts(parts)?)
}

async fn collect(body: Incoming) -> Result<Bytes, CallError> {
    let collected = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
    let failed =
        |error: Box<dyn Error + Send + Sync>| CallError::Failed(format!("the issuer's answer broke off: {error}"));
    collected.map(http_body_util::Collected::to_bytes).map_err(failed)
}

/// An issuer's refusal; any other answer, as a proxy's error page, is no word of an issuer.
fn read_refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> CallError {
    match serde_json::from_slice::<Refusal>(body) {
        Ok(mut refusal) => {
            refusal.retry_after_seconds = refusal.retry_after_seconds.or_else(|| retry_after(headers));
            CallError::Refused(refusal)
        }
        Err(_) => CallError::Failed(format!("{status} without a reason: not the issuer's own answer")),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<u64> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// The whole chain of causes in one short line.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text.chars().take(MAX_CAUSE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, retry_after: Option<&'static str>, body: &str) -> CallError {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
        }
        read_refusal(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())
    }

    #[test]
    fn the_bodys_retry_after_wins_over_the_headers() {
        for (body, expected) in [
            (r#"{"code":"RateLimited","message":"m","retryable":true,"retryAfterSeconds":7}"#, Some(7)),
            (r#"{"code":"RateLimited","message":"m","retryable":true}"#, Some(3)),
        ] {
            let CallError::Refused(refusal) = refusal(429, Some("3"), body) else { panic!("no refusal") };
            assert_eq!(refusal.retry_after_seconds, expected);
        }
    }

    #[test]
    fn a_proxys_error_page_is_no_word_of_an_issuer() {
        for body in ["<html>", "", "{}", r#"{"message":"Unauthorized"}"#] {
            let CallError::Failed(cause) = refusal(403, None, body) else { panic!("taken for a refusal: {body}") };
            assert!(cause.contains("403"), "{cause}");
        }
    }

    #[test]
    fn roots_that_are_none_are_refused_with_the_flags_name() {
        for roots in ["", "no pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = tls(roots).unwrap_err().to_string();
            assert!(error.contains("--issuer-ca") && error.contains("PEM"), "{error}");
        }
    }
}
