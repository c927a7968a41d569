//! Makes the agent's calls to Vault with the session's token.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use exeat_runtime::dns::Resolver;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::time::timeout;

use super::Token;
use crate::guard::MAX_BODY_BYTES;
use crate::protocol::{Answer, vault};

const CONNECT: Duration = Duration::from_secs(5);
/// Time until an answer begins.
const CALL: Duration = Duration::from_secs(30);
/// Time for the agent to send its body.
const BODY: Duration = Duration::from_secs(10);

/// What goes on to Vault, and nothing else: neither a token nor a namespace of the agent's.
static TO_VAULT: [HeaderName; 2] = [CONTENT_TYPE, ACCEPT];
/// What comes back.
static FROM_VAULT: [HeaderName; 3] = [CONTENT_TYPE, CACHE_CONTROL, RETRY_AFTER];

type Caller = Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>;

/// Calls Vault; connections are kept as long as the roots stay the same.
pub struct Forward {
    resolver: Resolver,
    client: Mutex<Option<(Option<Arc<str>>, Caller)>>,
}

impl Forward {
    /// Looks names up with `resolver`.
    pub fn new(resolver: Resolver) -> Self {
        Self { resolver, client: Mutex::new(None) }
    }

    /// Makes a call that was judged.
    pub async fn call(&self, token: &Token, request: Request) -> Response {
        let asked = match prepare(token, request).await {
            Ok(asked) => asked,
            Err(answer) => return answer.to_response(),
        };
        let client = match self.client(token.certificate_authority.as_ref()) {
            Ok(client) => client,
            Err(problem) => return unreachable(&format!("the provider's caCert can't be used: {problem}")),
        };
        let answered = match timeout(CALL, client.request(asked)).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(error)) => return unreachable(&causes(&error)),
            Err(_) => return unreachable(&format!("no answer within {} s", CALL.as_secs())),
        };
        if answered.status().is_redirection() {
            // Followed, it would lead the agent past the sidecar.
            return unreachable("it names another server: a standby that does not pass requests on");
        }
        let (head, body) = answered.into_parts();
        let mut response = Response::new(Body::new(body));
        *response.status_mut() = head.status;
        copy(&FROM_VAULT, &head.headers, response.headers_mut());
        response
    }

    fn client(&self, roots: Option<&Arc<str>>) -> Result<Caller, String> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, client)) = kept.as_ref().filter(|(known, _)| known.as_ref() == roots) {
            let _ = known;
            return Ok(client.clone());
        }
        let mut http = HttpConnector::new_with_resolver(self.resolver.clone());
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT));
        let tls = tls(roots.map(|roots| &**roots).unwrap_or_default())?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        let client: Caller = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(2).build(connector);
        *kept = Some((roots.cloned(), client.clone()));
        Ok(client)
    }
}

impl std::fmt::Debug for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Forward")
    }
}

/// The call as Vault gets it: the target as it was judged, byte for byte, and headers of ours.
async fn prepare(token: &Token, request: Request) -> Result<http::Request<Full<Bytes>>, Answer> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let limit = usize::try_from(MAX_BODY_BYTES).unwrap_or(usize::MAX);
    let body = timeout(BODY, Limited::new(body, limit).collect()).await;
    let Ok(Ok(body)) = body else {
        let message = format!("the body broke off, is too slow or larger than {MAX_BODY_BYTES} bytes");
        return Err(vault::error(StatusCode::PAYLOAD_TOO_LARGE, None, "BodyTooLarge", &message));
    };
    let wrong = |what: &str| vault::error(StatusCode::BAD_GATEWAY, None, "ProviderRejected", what);
    let mut asked = http::Request::builder()
        .method(head.method)
        .uri(format!("{}{target}", token.address))
        .body(Full::new(body.to_bytes()))
        .map_err(|_| wrong("the provider's address can't be called"))?;
    let headers = asked.headers_mut();
    copy(&TO_VAULT, &head.headers, headers);
    headers.insert("x-vault-request", HeaderValue::from_static("true"));
    let mut secret = HeaderValue::from_str(token.token.expose()).map_err(|_| wrong("the token can't be sent"))?;
    secret.set_sensitive(true);
    headers.insert("x-vault-token", secret);
    if let Some(namespace) = &token.namespace {
        let value = HeaderValue::from_str(namespace).map_err(|_| wrong("the provider's namespace can't be sent"))?;
        headers.insert("x-vault-namespace", value);
    }
    Ok(asked)
}

fn copy(names: &[HeaderName], from: &HeaderMap, to: &mut HeaderMap) {
    for name in names {
        if let Some(value) = from.get(name) {
            to.insert(name.clone(), value.clone());
        }
    }
}

fn unreachable(cause: &str) -> Response {
    tracing::warn!(cause, "Vault can't be reached");
    let message = format!("Vault can't be reached from this pod: {cause}");
    vault::error(StatusCode::BAD_GATEWAY, Some(1), "ProviderUnreachable", &message).to_response()
}

/// These roots and no others.
fn tls(roots: &str) -> Result<ClientConfig, String> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        store.add(certificate).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder.map_err(|error| error.to_string())?.with_root_certificates(store).with_no_client_auth())
}

fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let part = cause.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        source = cause.source();
    }
    text.chars().take(300).collect()
}
