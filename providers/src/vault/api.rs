//! HTTP calls to one Vault. The crate `vaultrs` would bring a second HTTP client, strips leases from answers and lacks the calls by accessor.

use bytes::Bytes;
use exeat_crds::v1alpha1::VaultProvider;
use exeat_runtime::dns::Resolver;
use exeat_wire::Secret;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
use http_body_util::Full;
use rustls::RootCertStore;
use serde_json::Value;

use crate::ProviderError;
use crate::http::{Client, Plain, json, json_body, own_roots, token_header, unanswered, unusable};

/// A client of one server and namespace.
pub(super) struct Api {
    client: Client,
    address: String,
    namespace: Option<HeaderValue>,
}

pub(super) type Answer = crate::http::Answer<Value>;

impl Api {
    /// # Errors
    /// `ProviderRejected` where the roots or the namespace can't be used.
    pub(super) fn new(spec: &VaultProvider, resolver: Resolver) -> Result<Self, ProviderError> {
        let roots = match spec.ca_cert.as_deref().unwrap_or_default() {
            // Nothing but plain http is of use.
            "" => RootCertStore::empty(),
            pem => own_roots("spec.vault.caCert", pem)?,
        };
        let namespace = spec.namespace.as_deref().map(HeaderValue::from_str).transpose();
        Ok(Self {
            client: Client::new(roots, Plain::Allowed, resolver)?,
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
        let answer = self.client.send(self.request(method, path, token, body)?, json).await;
        answer.map_err(|cause| {
            let fix = if cause.contains("certificate") {
                "; spec.vault.caCert must hold the authority of its certificate, and the address a name that it is for"
            } else {
                ""
            };
            unanswered(&format!("Vault at {}", self.address), &format!("{cause}{fix}"))
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
            request = request.header("x-vault-token", token_header(token.expose(), "Vault")?);
        }
        let bytes = body.map(json_body).transpose()?.map_or_else(Bytes::new, Bytes::from_owner);
        request.body(Full::new(bytes)).map_err(|error| unusable(&format!("spec.vault.address: {error}")))
    }
}
