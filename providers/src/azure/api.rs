//! HTTP calls to Entra. The crate `azure_identity` would bring a second HTTP client and can be given no roots, its retries hide what Entra said,
//! and of all that it does one documented call is needed: `POST {authority}/{tenant}/oauth2/v2.0/token`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::AzureProvider;
use exeat_runtime::dns::Resolver;
use exeat_wire::Secret;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use crate::ProviderError;
use crate::error::causes;
use crate::form::encoded;

const PUBLIC_CLOUD: &str = "https://login.microsoftonline.com";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(6);
/// Largest answer that is read.
const MAX_ANSWER: usize = 256 * 1024;
/// Entra writes it into its sign-in log as the correlation id.
const REQUEST_ID: &str = "client-request-id";

/// A client of one tenant at one authority.
pub(super) struct Api {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    authority: String,
    tenant: String,
}

/// An answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Body,
}

/// What Entra says: a token, or why there is none.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Body {
    pub(super) access_token: Option<Secret>,
    /// Seconds; a number, or the same as text.
    pub(super) expires_in: Value,
    pub(super) error: String,
    pub(super) error_description: String,
    pub(super) error_codes: Vec<u32>,
}

impl Body {
    /// How long the token lives.
    pub(super) fn life(&self) -> Option<i64> {
        self.expires_in.as_i64().or_else(|| self.expires_in.as_str()?.parse().ok()).filter(|seconds| *seconds > 0)
    }
}

impl Api {
    /// # Errors
    /// `ProviderRejected` where the roots can't be used.
    pub(super) fn new(spec: &AzureProvider, resolver: Resolver) -> Result<Self, ProviderError> {
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let roots = match &spec.ca_cert {
            Some(pem) => own_roots(pem)
                .map_err(|problem| unusable(&format!("spec.azure.caCert: {problem}; write PEM certificates")))?,
            None => system_roots(),
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(roots).map_err(|error| unusable(&error.to_string()))?)
            .https_only()
            .enable_http1()
            .wrap_connector(http);
        let authority = spec.authority.as_deref().unwrap_or(PUBLIC_CLOUD);
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            authority: authority.trim_end_matches('/').to_owned(),
            tenant: spec.tenant_id.clone(),
        })
    }

    /// Asks for a token. `id` is what the sign-in log of the tenant shows.
    ///
    /// # Errors
    /// `ProviderUnreachable` where there is no answer.
    pub(super) async fn token(&self, form: &[(&str, &str)], id: &str) -> Result<Answer, ProviderError> {
        let url = format!("{}/{}/oauth2/v2.0/token", self.authority, self.tenant);
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header(REQUEST_ID, id)
            .body(Full::new(Bytes::from_owner(encoded(form))));
        self.send(request).await
    }

    /// Asks what is public of the tenant.
    ///
    /// # Errors
    /// As [`Api::token`].
    pub(super) async fn discover(&self) -> Result<Answer, ProviderError> {
        let url = format!("{}/{}/v2.0/.well-known/openid-configuration", self.authority, self.tenant);
        self.send(Request::builder().uri(url).header(ACCEPT, "application/json").body(Full::default())).await
    }

    async fn send(&self, request: Result<Request<Full<Bytes>>, http::Error>) -> Result<Answer, ProviderError> {
        let request = request.map_err(|error| unusable(&format!("spec.azure.authority: {error}")))?;
        let call = async {
            let response = self.client.request(request).await.map_err(|error| causes(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| causes(error.as_ref()))?;
            let retry_after = head.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
            // A page of a proxy is no word of Entra: it is left empty.
            let body = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
            Ok(Answer { status: head.status, retry_after: retry_after.map(Duration::from_secs), body })
        };
        let late = || Err(format!("no answer within {} s", CALL_TIMEOUT.as_secs()));
        let answer: Result<Answer, String> = timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| late());
        answer.map_err(|cause| {
            let message = format!("Entra at {} does not answer: {cause}", self.authority);
            ProviderError::passing(Reason::ProviderUnreachable, message)
        })
    }
}

fn unusable(problem: &str) -> ProviderError {
    ProviderError::lasting(Reason::ProviderRejected, problem)
}

fn own_roots(pem: &str) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        store.add(certificate).map_err(|error| error.to_string())?;
    }
    if store.is_empty() { Err("no certificate found".to_owned()) } else { Ok(store) }
}

/// Those of the issuer's image, or the file that `SSL_CERT_FILE` names. Without any no server is trusted, and the call says so.
fn system_roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    store
}

fn tls(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_that_are_none_are_refused() {
        assert!(own_roots("no pem").unwrap_err().contains("no certificate"));
        assert!(own_roots("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
    }

    #[test]
    fn a_life_is_a_number_or_the_same_as_text() {
        for (text, life) in
            [("3599", Some(3599)), ("\"3599\"", Some(3599)), ("0", None), ("\"soon\"", None), ("null", None)]
        {
            let body: Body =
                serde_json::from_str(&format!(r#"{{"expires_in": {text}, "token_type": "Bearer"}}"#)).unwrap();
            assert_eq!(body.life(), life, "{text}");
        }
    }
}
