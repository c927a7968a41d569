//! The issuer's own identity at Google: asked for once, kept in memory, and replaced before it ends.

use std::path::PathBuf;
use std::time::Duration;

use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{GcpProvider, GcpSource};
use exeat_runtime::clock::{Clock, SystemClock};
use exeat_wire::Secret;
use k8s_openapi::api::core::v1::Secret as SecretObject;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::{Zeroize, Zeroizing};

use super::api::{Answer, Api, Body};
use super::endpoints::Endpoints;
use super::error::{Doing, failure};
use crate::{Context, ProviderError};

/// Scope of the issuer's own token: with it service accounts are impersonated.
pub(super) const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Key of the Secret.
const KEY_FILE: &str = "key.json";
const FIELD: &str = "spec.gcp.secretRef.name";
/// No token is asked for sooner because the one before was refused.
const AGAIN: Duration = Duration::from_secs(2);
/// Life of a signature that becomes a token.
const SIGNATURE_SECONDS: i64 = 600;

/// Where the issuer's identity comes from, and the token that came of it.
pub(super) struct Base {
    source: GcpSource,
    secret_name: String,
    provider: String,
    client: kube::Client,
    namespace: String,
    token_file: PathBuf,
    held: Mutex<Option<Held>>,
}

struct Held {
    token: Secret,
    identity: Option<String>,
    since: Instant,
    /// Two thirds of its life.
    until: Instant,
}

/// A service account's key file, as far as it is used.
#[derive(Deserialize)]
struct KeyFile {
    client_email: String,
    #[serde(default)]
    private_key_id: Option<String>,
    private_key: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

impl Base {
    pub(super) fn new(spec: &GcpProvider, context: &Context) -> Self {
        Self {
            source: spec.source,
            secret_name: spec.secret_ref.as_ref().map(|secret| secret.name.clone()).unwrap_or_default(),
            provider: spec.workload_identity_provider.clone().unwrap_or_default(),
            client: context.client.clone(),
            namespace: context.namespace.clone(),
            token_file: context.gcp_token_file.clone(),
            held: Mutex::new(None),
        }
    }

    /// The issuer's token.
    ///
    /// # Errors
    /// `BaseIdentityInvalid` where there is none.
    pub(super) async fn token(&self, api: &Api, at: &Endpoints) -> Result<Secret, ProviderError> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| Instant::now() < held.until) {
            return Ok(held.token.clone());
        }
        match self.fetch(api, at).await {
            Ok(new) => {
                let token = new.token.clone();
                *held = Some(new);
                Ok(token)
            }
            // Two thirds are over, not all of it.
            Err(error) => match held.as_ref() {
                Some(before) if error.retryable => {
                    tracing::warn!(%error, "the issuer can't renew its own token at Google just now: going on with the one before");
                    Ok(before.token.clone())
                }
                _ => Err(error),
            },
        }
    }

    /// Google refused this token. Whether there is another now.
    ///
    /// # Errors
    /// As for [`Base::token`].
    pub(super) async fn refused(&self, api: &Api, at: &Endpoints, token: &Secret) -> Result<bool, ProviderError> {
        let mut held = self.held.lock().await;
        match held.as_ref() {
            Some(held) if held.token.expose() != token.expose() => return Ok(true),
            Some(held) if held.since.elapsed() < AGAIN => return Ok(false),
            _ => *held = None,
        }
        drop(held);
        self.token(api, at).await.map(|new| new.expose() != token.expose())
    }

    /// Who the issuer is, as far as that is known.
    pub(super) async fn identity(&self) -> Option<String> {
        self.held.lock().await.as_ref().and_then(|held| held.identity.clone())
    }

    async fn fetch(&self, api: &Api, at: &Endpoints) -> Result<Held, ProviderError> {
        let (answer, identity) = match self.source {
            GcpSource::Ambient => ambient(api, at).await?,
            GcpSource::Secret => self.by_key_file(api, at).await?,
            GcpSource::WorkloadIdentity => self.by_own_token(api, at).await?,
        };
        let doing = Doing::Login(self.source);
        let token = answer.body["access_token"].as_str().filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| failure(&answer, Doing::Answer(self.source)))?;
        let life = Duration::from_secs(answer.body["expires_in"].as_u64().unwrap_or_default());
        tracing::debug!(?doing, life = life.as_secs(), "the issuer has a token of its own at Google");
        let now = Instant::now();
        Ok(Held { token: Secret::new(token), identity, since: now, until: now + life * 2 / 3 })
    }

    /// The signature of a key file becomes a token (RFC 7523).
    async fn by_key_file(&self, api: &Api, at: &Endpoints) -> Result<(Answer, Option<String>), ProviderError> {
        let key = self.key_file().await?;
        let url = at.oauth2_token();
        let now = SystemClock.now().as_second();
        let claims =
            Claims { iss: &key.client_email, scope: CLOUD_PLATFORM, aud: &url, iat: now, exp: now + SIGNATURE_SECONDS };
        let signature = Zeroizing::new(self.signed(&key, &claims)?);
        let email = key.client_email.clone();
        let pairs = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", signature.as_str())];
        let answer = api.call(&url, None, Body::Form(&pairs)).await?.or_failure(Doing::Login(self.source))?;
        Ok((answer, Some(email)))
    }

    fn signed(&self, key: &KeyFile, claims: &Claims<'_>) -> Result<String, ProviderError> {
        let wrong = |problem: &str| {
            let (name, namespace) = (&self.secret_name, &self.namespace);
            let message = format!("{FIELD}: the private key in the Secret {name} in namespace {namespace} {problem}");
            ProviderError::lasting(Reason::BaseIdentityInvalid, message)
        };
        let signer = jsonwebtoken::EncodingKey::from_rsa_pem(key.private_key.as_bytes())
            .map_err(|_| wrong("is no RSA key in PEM; download the key file anew"))?;
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
        header.kid.clone_from(&key.private_key_id);
        jsonwebtoken::encode(&header, claims, &signer).map_err(|_| wrong("can't sign"))
    }

    /// The issuer's own token, trusted by a workload identity pool, becomes one of Google (RFC 8693).
    async fn by_own_token(&self, api: &Api, at: &Endpoints) -> Result<(Answer, Option<String>), ProviderError> {
        let own = std::fs::read_to_string(&self.token_file).map(Zeroizing::new).map_err(|error| {
            ProviderError::lasting(
                Reason::BaseIdentityInvalid,
                format!(
                    "the issuer's own token for Google can't be read ({}): {error}; the chart mounts it",
                    self.token_file.display()
                ),
            )
        })?;
        let audience = format!("//iam.{}/{}", at.universe(), self.provider);
        let pairs = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", audience.as_str()),
            ("scope", CLOUD_PLATFORM),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
            ("subject_token", own.trim()),
        ];
        let answer =
            api.call(&at.sts_token(), None, Body::Form(&pairs)).await?.or_failure(Doing::Login(self.source))?;
        Ok((answer, Some(self.provider.clone())))
    }

    async fn key_file(&self) -> Result<KeyFile, ProviderError> {
        let (name, namespace) = (&self.secret_name, &self.namespace);
        let wrong =
            |problem: String| ProviderError::lasting(Reason::BaseIdentityInvalid, format!("{FIELD}: {problem}"));
        let secrets: kube::Api<SecretObject> = kube::Api::namespaced(self.client.clone(), namespace);
        let mut found = match secrets.get_opt(name).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                let problem = format!("there is no Secret {name} in namespace {namespace}; create it with {KEY_FILE}");
                return Err(wrong(problem));
            }
            Err(kube::Error::Api(status)) if status.code == 403 => {
                return Err(ProviderError::lasting(
                    Reason::IssuerForbidden,
                    format!(
                        "{FIELD}: the issuer may not read the Secret {name} in namespace {namespace}; name it in issuer.providerSecrets of \
                         the chart's values (without Helm: in the Role exeat-issuer)"
                    ),
                ));
            }
            Err(error) => {
                let message = format!("the Secret {name} in namespace {namespace} can't be read: {error}");
                return Err(ProviderError::passing(Reason::ProviderUnreachable, message));
            }
        };
        let read =
            found.data.as_ref().and_then(|data| data.get(KEY_FILE)).map(|bytes| serde_json::from_slice(&bytes.0));
        found.data.iter_mut().flat_map(|data| data.values_mut()).for_each(|bytes| bytes.0.zeroize());
        match read {
            Some(Ok(key)) => Ok(key),
            // What a parser says of a key file could repeat a part of it.
            Some(Err(_)) => Err(wrong(format!(
                "{KEY_FILE} in the Secret {name} in namespace {namespace} is no key file of a service account; it needs client_email and private_key"
            ))),
            None => Err(wrong(format!("the Secret {name} in namespace {namespace} has no key {KEY_FILE}"))),
        }
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        self.private_key.zeroize();
    }
}

/// What the metadata server gives to whoever runs there.
async fn ambient(api: &Api, at: &Endpoints) -> Result<(Answer, Option<String>), ProviderError> {
    let doing = Doing::Login(GcpSource::Ambient);
    let email = api.call(&at.metadata("email"), None, Body::None).await?.or_failure(doing)?;
    let answer = api.call(&at.metadata("token"), None, Body::None).await?.or_failure(doing)?;
    let email = Some(email.text.trim().to_owned()).filter(|email| !email.is_empty());
    Ok((answer, email))
}
