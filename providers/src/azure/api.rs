//! HTTP calls to Entra. The crate `azure_identity` would bring a second HTTP client and can be given no roots, its retries hide what Entra said,
//! and of all that it does one documented call is needed: `POST {authority}/{tenant}/oauth2/v2.0/token`.

use bytes::Bytes;
use exeat_crds::v1alpha1::AzureProvider;
use exeat_runtime::dns::Resolver;
use exeat_wire::Secret;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::Value;

use crate::ProviderError;
use crate::form::encoded;
use crate::http::{Client, Plain, json, own_roots, system_roots, unanswered, unusable};

const PUBLIC_CLOUD: &str = "https://login.microsoftonline.com";
/// Entra writes it into its sign-in log as the correlation id.
const REQUEST_ID: &str = "client-request-id";

/// A client of one tenant at one authority.
pub(super) struct Api {
    client: Client,
    authority: String,
    tenant: String,
}

pub(super) type Answer = crate::http::Answer<Body>;

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
        let roots = match &spec.ca_cert {
            Some(pem) => own_roots("spec.azure.caCert", pem)?,
            None => system_roots(),
        };
        let authority = spec.authority.as_deref().unwrap_or(PUBLIC_CLOUD);
        Ok(Self {
            client: Client::new(roots, Plain::Refused, resolver)?,
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
        let answer = self.client.send(request, json).await;
        answer.map_err(|cause| unanswered(&format!("Entra at {}", self.authority), &cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
