//! The issuer, called as a sidecar calls it.

use exeat_crds::names;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{Api, PostParams};
use kube::client::Body;
use kube::{Client, Config, ResourceExt};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use crate::{Failure, Result, Scope, system, system_namespace};

const SERVICE: &str = "exeat-issuer";
const PORT: u16 = 8443;
/// Shortest life of a token that the API server makes, seconds.
const TOKEN_SECONDS: i64 = 600;

/// What the issuer said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After`, where there was one.
    pub retry_after: Option<String>,
    /// The body; none of a stream that was opened.
    pub body: Value,
}

impl Answer {
    /// The reason code of a refusal.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

/// Calls one replica of the issuer, trusting the root that sidecars are given. Addresses of Services lead somewhere from pods alone.
pub struct Issuer {
    client: Client,
}

impl Issuer {
    /// Finds one.
    ///
    /// # Errors
    /// When none is ready.
    pub async fn find(client: &Client) -> Result<Self> {
        Self::all(client).await?.into_iter().next().ok_or_else(|| Failure::new("no replica is ready"))
    }

    /// Finds each replica that is ready and stays.
    ///
    /// # Errors
    /// When it is not installed.
    pub async fn all(client: &Client) -> Result<Vec<Self>> {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), system_namespace());
        let roots = maps.get(names::ISSUER_ROOT_CONFIG_MAP).await?.data.unwrap_or_default();
        let roots = roots.get("ca.crt").ok_or_else(|| Failure::new("the ConfigMap with the root has no ca.crt"))?;
        let pods = system::pods(client, "issuer").await?;
        let ready = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).filter_map(address);
        ready.map(|address| Self::at(address, roots)).collect()
    }

    fn at(address: &str, roots: &str) -> Result<Self> {
        let url = format!("https://{address}:{PORT}").parse().map_err(|e| Failure::new(format!("{address}: {e}")))?;
        let mut config = Config::new(url);
        // A refusal that may be tried again is an answer here.
        config.default_retry = false;
        config.tls_server_name = Some(format!("{SERVICE}.{}.svc", system_namespace()));
        let parsed: std::result::Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(roots.as_bytes()).map(|c| c.map(|c| c.to_vec())).collect();
        config.root_cert = Some(parsed.map_err(|e| Failure::new(format!("ca.crt: {e}")))?);
        Ok(Self { client: Client::try_from(config)? })
    }

    /// Asks for a credential.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn credential(&self, token: &str, key: Option<&str>) -> Result<Answer> {
        self.call(http::Method::POST, "/v1/credential", token, key).await
    }

    /// Asks for a stream; one that opens is closed at once.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn stream(&self, token: &str, key: Option<&str>) -> Result<Answer> {
        self.call(http::Method::GET, "/v1/stream", token, key).await
    }

    async fn call(&self, method: http::Method, path: &str, token: &str, key: Option<&str>) -> Result<Answer> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("x-exeat-holder", key);
        }
        let response = self.client.send(request.body(Body::from(b"{}".to_vec()))?).await?;
        let (head, body) = response.into_parts();
        let retry_after = head.headers.get("retry-after").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let status = head.status.as_u16();
        let body = if status == 200 && path.ends_with("stream") {
            Value::Null
        } else {
            serde_json::from_slice(&body.collect_bytes().await?)?
        };
        Ok(Answer { status, retry_after, body })
    }
}

/// The address of a pod that is ready.
fn address(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    status.pod_ip.as_deref().filter(|_| ready)
}

impl Scope {
    /// A token of the account `agent`, bound to a pod or to nothing, as whoever may create tokens in the namespace makes one.
    ///
    /// # Errors
    /// The API server's.
    pub async fn token(&self, pod: Option<&Pod>, audience: &str) -> Result<String> {
        let bound = pod.map(|pod| BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            uid: pod.uid(),
        });
        let spec = TokenRequestSpec {
            audiences: vec![audience.to_owned()],
            bound_object_ref: bound,
            expiration_seconds: Some(TOKEN_SECONDS),
        };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let accounts = self.api::<ServiceAccount>();
        let made = accounts.create_token_request("agent", &PostParams::default(), &request).await?;
        made.status.map(|s| s.token).ok_or_else(|| Failure::new("the API server made no token"))
    }
}
