//! HTTP calls to one Vault. The crate `vaultrs` would bring a second HTTP client, strips leases from answers and lacks the calls by accessor.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::VaultProvider;
use exeat_runtime::dns::Resolver;
use exeat_wire::Secret;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::error::{Doing, failure};
use crate::ProviderError;
use crate::error::causes;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(6);
/// Largest answer that is read.
const MAX_ANSWER: usize = 256 * 1024;

/// A client of one server and namespace.
pub(super) struct Api {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    address: String,
    namespace: Option<HeaderValue>,
}

/// An answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    retry_after: Option<Duration>,
}

impl Answer {
    /// The answer where it is a success.
    pub(super) fn or_failure(self, doing: Doing<'_>) -> Result<Self, ProviderError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let said: Vec<&str> = self.body["errors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let error = failure(self.status, &said.join("; "), doing);
        Err(match self.retry_after {
            Some(wait) if error.retryable => error.after(wait),
            _ => error,
        })
    }
}

impl Api {
    /// # Errors
    /// `ProviderRejected` where the roots or the namespace can't be used.
    pub(super) fn new(spec: &VaultProvider, resolver: Resolver) -> Result<Self, ProviderError> {
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = tls(spec.ca_cert.as_deref().unwrap_or_default())
            .map_err(|problem| unusable(&format!("spec.vault.caCert: {problem}; write PEM certificates")))?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        let namespace = spec.namespace.as_deref().map(HeaderValue::from_str).transpose();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            address: spec.address.trim_end_matches('/').to_owned(),
            namespace: namespace.map_err(|error| unusable(&format!("spec.vault.namespace: {error}")))?,
        })
    }

    /// Calls `path` below `/v1/`.
    ///
    /// # Errors
    /// `ProviderUnreachable` where there is no answer.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&Secret>,
        body: Option<&Value>,
    ) -> Result<Answer, ProviderError> {
        let request = self.request(method, path, token, body)?;
        let call = async {
            let response = self.client.request(request).await.map_err(|error| causes(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| causes(error.as_ref()))?;
            let retry_after = head.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
            let body = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
            Ok(Answer { status: head.status, body, retry_after: retry_after.map(Duration::from_secs) })
        };
        let late = || Err(format!("no answer within {} s", CALL_TIMEOUT.as_secs()));
        let answer: Result<Answer, String> = timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| late());
        answer.map_err(|cause| {
            let fix = if cause.contains("certificate") {
                "; spec.vault.caCert must hold the authority of its certificate, and the address a name that it is for"
            } else {
                ""
            };
            let message = format!("Vault at {} does not answer: {cause}{fix}", self.address);
            ProviderError::passing(Reason::ProviderUnreachable, message)
        })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&Secret>,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, ProviderError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.address))
            .header("x-vault-request", "true")
            .header(CONTENT_TYPE, "application/json");
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace.clone());
        }
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose()).map_err(|_| {
                ProviderError::lasting(Reason::BaseIdentityInvalid, "the issuer's own token at Vault is not a token")
            })?;
            value.set_sensitive(true);
            request = request.header("x-vault-token", value);
        }
        // It may hold a secret: the login of an AppRole.
        let bytes = body.map(serde_json::to_vec).transpose().map_err(|error| unusable(&error.to_string()))?;
        let bytes = bytes.map_or_else(Bytes::new, |bytes| Bytes::from_owner(Zeroizing::new(bytes)));
        request.body(Full::new(bytes)).map_err(|error| unusable(&format!("spec.vault.address: {error}")))
    }
}

fn unusable(problem: &str) -> ProviderError {
    ProviderError::lasting(Reason::ProviderRejected, problem)
}

/// These roots and no others. Without any, nothing but plain http is of use.
fn tls(roots: &str) -> Result<ClientConfig, String> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        store.add(certificate).map_err(|error| error.to_string())?;
    }
    if store.is_empty() && !roots.is_empty() {
        return Err("no certificate found".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder.map_err(|error| error.to_string())?.with_root_certificates(store).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_that_are_none_are_refused() {
        assert!(tls("").is_ok());
        assert!(tls("no pem").unwrap_err().contains("no certificate"));
        assert!(tls("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
    }
}
