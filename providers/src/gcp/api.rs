//! HTTP calls to Google's services. The crate `gcp_auth` knows neither impersonation nor the token exchange, looks names up by the C library,
//! which static binaries do not have, and takes no other address of the metadata server: what is left of it is two calls.

use bytes::Bytes;
use exeat_runtime::dns::Resolver;
use exeat_wire::Secret;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::ProviderError;
use crate::form::encoded;
use crate::http::{Client, Plain, json_body, system_roots, token_header, unanswered, unusable};

/// A client that trusts the system's roots.
pub(super) struct Api(Client);

/// What is sent.
pub(super) enum Body<'a> {
    /// Nothing, by GET.
    None,
    /// JSON, by POST.
    Json(&'a Value),
    /// A form, by POST.
    Form(&'a [(&'a str, &'a str)]),
}

/// The body is a text where it is no JSON.
pub(super) type Answer = crate::http::Answer<Value>;

impl Api {
    /// # Errors
    /// `ProviderRejected` where the system has no roots.
    pub(super) fn new(resolver: Resolver) -> Result<Self, ProviderError> {
        let roots = system_roots();
        if roots.is_empty() {
            return Err(unusable("no TLS to Google is possible: the system has no root certificates"));
        }
        Client::new(roots, Plain::Allowed, resolver).map(Self)
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
        let answer = self.0.send(request(url, token, body)?, json_or_text).await;
        answer.map_err(|cause| unanswered(&url.split('/').take(3).collect::<Vec<_>>().join("/"), &cause))
    }
}

fn json_or_text(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into())
}

fn request(url: &str, token: Option<&Secret>, body: Body<'_>) -> Result<Request<Full<Bytes>>, ProviderError> {
    let mut request = Request::builder().uri(url).header("metadata-flavor", "Google");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token_header(&format!("Bearer {}", token.expose()), "Google")?);
    }
    let (method, kind, bytes) = match body {
        Body::None => (Method::GET, None, Zeroizing::default()),
        Body::Json(value) => (Method::POST, Some("application/json"), json_body(value)?),
        Body::Form(pairs) => (Method::POST, Some("application/x-www-form-urlencoded"), encoded(pairs)),
    };
    if let Some(kind) = kind {
        request = request.header(CONTENT_TYPE, kind);
    }
    let bytes = Bytes::from_owner(bytes);
    request.method(method).body(Full::new(bytes)).map_err(|error| unusable(&format!("spec.gcp.endpoints: {error}")))
}
