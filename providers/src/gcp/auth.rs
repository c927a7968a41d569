//! The issuer's own identity at Google.

use std::path::PathBuf;
use std::time::Duration;

use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{GcpProvider, GcpSource};
use exeat_runtime::clock::{Clock, SystemClock};
use exeat_wire::Secret;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::api::{Answer, Api, Body};
use super::endpoints::Endpoints;
use super::error::{Doing, failure};
use crate::own_token::{Fetched, OwnToken, mounted};
use crate::{Context, ProviderError, secrets};

/// Scope of the issuer's own token: with it service accounts are impersonated.
pub(super) const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
/// Key of the Secret.
const KEY_FILE: &str = "key.json";
const FIELD: &str = "spec.gcp.secretRef.name";
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
    own: OwnToken,
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
            own: OwnToken::new("Google"),
        }
    }

    /// The issuer's token.
    ///
    /// # Errors
    /// `BaseIdentityInvalid` where there is none.
    pub(super) async fn token(&self, api: &Api, at: &Endpoints) -> Result<Secret, ProviderError> {
        self.own.get(self.fetch(api, at)).await
    }

    /// Google refused this token. Whether there is another now.
    ///
    /// # Errors
    /// As for [`Base::token`].
    pub(super) async fn refused(&self, api: &Api, at: &Endpoints, token: &Secret) -> Result<bool, ProviderError> {
        self.own.refused(token, self.fetch(api, at)).await
    }

    /// Who the issuer is, as far as that is known.
    pub(super) async fn identity(&self) -> Option<String> {
        self.own.identity().await
    }

    async fn fetch(&self, api: &Api, at: &Endpoints) -> Result<Fetched, ProviderError> {
        let (answer, identity) = match self.source {
            GcpSource::Ambient => ambient(api, at).await?,
            GcpSource::Secret => self.by_key_file(api, at).await?,
            GcpSource::WorkloadIdentity => self.by_own_token(api, at).await?,
        };
        let token = answer.body["access_token"].as_str().filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| failure(&answer, Doing::Answer(self.source)))?;
        let life = Duration::from_secs(answer.body["expires_in"].as_u64().unwrap_or_default());
        tracing::debug!(source = ?self.source, life = life.as_secs(), "the issuer has a token of its own at Google");
        Ok(Fetched { identity, ..Fetched::ending(Secret::new(token), life) })
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
        Ok((logged_in(self.source, api.call(&url, None, Body::Form(&pairs)).await?)?, Some(email)))
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
        let own = mounted(&self.token_file, "Google")?;
        let audience = format!("//iam.{}/{}", at.universe(), self.provider);
        let pairs = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", audience.as_str()),
            ("scope", CLOUD_PLATFORM),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
            ("subject_token", own.expose()),
        ];
        let answer = logged_in(self.source, api.call(&at.sts_token(), None, Body::Form(&pairs)).await?)?;
        Ok((answer, Some(self.provider.clone())))
    }

    async fn key_file(&self) -> Result<KeyFile, ProviderError> {
        let (name, namespace) = (&self.secret_name, &self.namespace);
        let [file] = secrets::read(&self.client, namespace, FIELD, name, [KEY_FILE]).await?;
        // What a parser says of a key file could repeat a part of it.
        serde_json::from_str(file.expose()).map_err(|_| {
            let message = format!(
                "{FIELD}: {KEY_FILE} in the Secret {name} in namespace {namespace} is no key file of a service account; it needs client_email and \
                 private_key"
            );
            ProviderError::lasting(Reason::BaseIdentityInvalid, message)
        })
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        self.private_key.zeroize();
    }
}

/// What the metadata server gives to whoever runs there.
async fn ambient(api: &Api, at: &Endpoints) -> Result<(Answer, Option<String>), ProviderError> {
    let email = logged_in(GcpSource::Ambient, api.call(&at.metadata("email"), None, Body::None).await?)?;
    let answer = logged_in(GcpSource::Ambient, api.call(&at.metadata("token"), None, Body::None).await?)?;
    let email = email.body.as_str().map(|email| email.trim().to_owned()).filter(|email| !email.is_empty());
    Ok((answer, email))
}

fn logged_in(source: GcpSource, answer: Answer) -> Result<Answer, ProviderError> {
    answer.or(|answer| failure(answer, Doing::Login(source)))
}
