//! HTTP calls to Google's services. The crate `gcp_auth` knows neither impersonation nor the token exchange, looks names up by the C library,
//! which static binaries do not have, and takes no other address of the metadata server: what is left of it is two calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exeat_crds::reason::Reason;
use exeat_runtime::dns::Resolver;
use exeat_wire::Secret;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::ProviderError;
use crate::error::causes;
use crate::form::encoded;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(6);
/// Largest answer that is read.
const MAX_ANSWER: usize = 256 * 1024;

/// A client that trusts the system's roots and follows no redirect.
pub(super) struct Api {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
}

/// What is sent.
pub(super) enum Body<'a> {
    /// Nothing, by GET.
    None,
    /// JSON, by POST.
    Json(&'a Value),
    /// A form, by POST.
    Form(&'a [(&'a str, &'a str)]),
}

/// An answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    /// The body as it came, where it is no JSON.
    pub(super) text: String,
    pub(super) retry_after: Option<Duration>,
}

impl Api {
    /// # Errors
    /// `ProviderRejected` where the system has no roots.
    pub(super) fn new(resolver: Resolver) -> Result<Self, ProviderError> {
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = tls().map_err(|problem| unusable(&format!("no TLS to Google is possible: {problem}")))?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// Calls `url`, by a token where there is one.
    ///
    /// # Errors
    /// `ProviderUnreachable` where there is no answer.
    pub(super) async fn call(
        &self,
        url: &str,
        token: Option<&Secret>,
        body: Body<'_>,
    ) -> Result<Answer, ProviderError> {
        let request = request(url, token, body)?;
        let call = async {
            let response = self.client.request(request).await.map_err(|error| causes(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| causes(error.as_ref()))?;
            let retry_after = head.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
            let body = body.to_bytes();
            let json: Option<Value> = serde_json::from_slice(&body).ok();
            let text = if json.is_some() { String::new() } else { String::from_utf8_lossy(&body).into_owned() };
            let retry_after = retry_after.map(Duration::from_secs);
            Ok(Answer { status: head.status, body: json.unwrap_or_default(), text, retry_after })
        };
        let late = || Err(format!("no answer within {} s", CALL_TIMEOUT.as_secs()));
        let answer: Result<Answer, String> = timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| late());
        answer.map_err(|cause| {
            let host = url.split('/').take(3).collect::<Vec<_>>().join("/");
            ProviderError::passing(Reason::ProviderUnreachable, format!("{host} does not answer: {cause}"))
        })
    }
}

fn request(url: &str, token: Option<&Secret>, body: Body<'_>) -> Result<Request<Full<Bytes>>, ProviderError> {
    let mut request = Request::builder().uri(url).header("metadata-flavor", "Google");
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| {
            ProviderError::lasting(Reason::BaseIdentityInvalid, "the issuer's own token at Google is not a token")
        })?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    // It may hold a secret.
    let (method, kind, bytes) = match body {
        Body::None => (Method::GET, None, Zeroizing::default()),
        Body::Json(value) => {
            let bytes = serde_json::to_vec(value).map_err(|error| unusable(&error.to_string()))?;
            (Method::POST, Some("application/json"), Zeroizing::new(bytes))
        }
        Body::Form(pairs) => (Method::POST, Some("application/x-www-form-urlencoded"), encoded(pairs)),
    };
    if let Some(kind) = kind {
        request = request.header(CONTENT_TYPE, kind);
    }
    let bytes = Bytes::from_owner(bytes);
    request.method(method).body(Full::new(bytes)).map_err(|error| unusable(&format!("spec.gcp.endpoints: {error}")))
}

fn unusable(problem: &str) -> ProviderError {
    ProviderError::lasting(Reason::ProviderRejected, problem)
}

fn tls() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder.with_native_roots().map_err(|error| error.to_string())?.with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_none_is_told_without_it() {
        let error = request("http://x", Some(&Secret::new("bad\nsecret")), Body::None).unwrap_err();
        assert_eq!(error.reason, Reason::BaseIdentityInvalid);
        assert!(!error.message.contains("secret"), "{error}");
    }
}
