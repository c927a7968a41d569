//! Where the issuer's own AWS identity comes from, other than the SDK's default chain.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_sts::Client;
use exeat_crds::reason::Reason;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroize;

use super::error::{Doing, Step, explain, failure};
use crate::ProviderError;

const ACCESS_KEY: &str = "accessKeyID";
const SECRET_KEY: &str = "secretAccessKey";
const SESSION_TOKEN: &str = "sessionToken";
/// How long keys are used before the Secret is read again.
const REREAD: Duration = Duration::from_secs(60);
/// The same after STS refused them.
const REREAD_AFTER_REFUSAL: Duration = Duration::from_secs(2);
/// Role session name of the issuer itself.
const ISSUER_SESSION: &str = "exeat-issuer";

/// Keys from a Secret in our own namespace. It is read again from time to time: keys are rotated.
pub(super) struct SecretSource {
    api: Api<Secret>,
    namespace: String,
    name: String,
    held: Mutex<Option<Held>>,
}

struct Held {
    keys: Credentials,
    read_at: Instant,
}

impl SecretSource {
    pub(super) fn new(client: kube::Client, namespace: &str, name: &str) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, namespace: namespace.to_owned(), name: name.to_owned(), held: Mutex::new(None) }
    }

    /// The keys.
    ///
    /// # Errors
    /// `BaseIdentityInvalid` where the Secret is not as it must be, `IssuerForbidden` where it can't be read.
    pub(super) async fn keys(&self) -> Result<Credentials, ProviderError> {
        self.younger_than(REREAD).await.map(|(keys, _)| keys)
    }

    /// Reads the Secret again after STS refused its keys. Whether there are others now.
    ///
    /// # Errors
    /// As for [`SecretSource::keys`].
    pub(super) async fn refused(&self) -> Result<bool, ProviderError> {
        self.younger_than(REREAD_AFTER_REFUSAL).await.map(|(_, changed)| changed)
    }

    async fn younger_than(&self, age: Duration) -> Result<(Credentials, bool), ProviderError> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| held.read_at.elapsed() < age) {
            return Ok((held.keys.clone(), false));
        }
        match (self.read().await, held.as_ref()) {
            (Ok(keys), before) => {
                let same = before.is_some_and(|before| {
                    before.keys.access_key_id() == keys.access_key_id()
                        && before.keys.secret_access_key() == keys.secret_access_key()
                        && before.keys.session_token() == keys.session_token()
                });
                *held = Some(Held { keys: keys.clone(), read_at: Instant::now() });
                Ok((keys, !same))
            }
            (Err(error), Some(before)) if error.retryable => {
                tracing::warn!(secret = self.name, %error, "the Secret can't be read just now: going on with the keys read before");
                Ok((before.keys.clone(), false))
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn read(&self) -> Result<Credentials, ProviderError> {
        let (name, namespace) = (&self.name, &self.namespace);
        match self.api.get_opt(name).await {
            Ok(Some(mut secret)) => {
                let keys = keys_of(&secret, namespace, name);
                secret.data.iter_mut().flat_map(|data| data.values_mut()).for_each(|bytes| bytes.0.zeroize());
                keys
            }
            Ok(None) => Err(ProviderError::lasting(
                Reason::BaseIdentityInvalid,
                format!(
                    "spec.aws.secretRef.name: there is no Secret {name} in namespace {namespace}; create it with the keys {ACCESS_KEY} \
                     and {SECRET_KEY}"
                ),
            )),
            Err(kube::Error::Api(status)) if status.code == 403 => Err(ProviderError::lasting(
                Reason::IssuerForbidden,
                format!(
                    "spec.aws.secretRef.name: the issuer may not read the Secret {name} in namespace {namespace}; name it in issuer.providerSecrets \
                     of the chart's values (without Helm: in the Role exeat-issuer)"
                ),
            )),
            Err(error) => Err(ProviderError::passing(
                Reason::ProviderUnreachable,
                format!("the Secret {name} in namespace {namespace} can't be read: {error}"),
            )),
        }
    }
}

fn keys_of(secret: &Secret, namespace: &str, name: &str) -> Result<Credentials, ProviderError> {
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key))?;
        std::str::from_utf8(&bytes.0).ok().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let needed = |key: &str| {
        text(key).ok_or_else(|| {
            ProviderError::lasting(
                Reason::BaseIdentityInvalid,
                format!(
                    "spec.aws.secretRef.name: the Secret {name} in namespace {namespace} has no text under the key {key}; it needs \
                     {ACCESS_KEY} and {SECRET_KEY}, and {SESSION_TOKEN} for temporary keys"
                ),
            )
        })
    };
    Ok(Credentials::from_keys(needed(ACCESS_KEY)?, needed(SECRET_KEY)?, text(SESSION_TOKEN)))
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretSource").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Hands the keys of a shared [`SecretSource`] to the SDK.
#[derive(Clone, Debug)]
pub(super) struct SharedSecret(pub(super) std::sync::Arc<SecretSource>);

impl ProvideCredentials for SharedSecret {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { self.0.keys().await.map_err(CredentialsError::provider_error) })
    }
}

/// The issuer's own token, read anew each time: the kubelet replaces it.
///
/// # Errors
/// `BaseIdentityInvalid` where there is none.
pub(super) fn web_identity_token(file: &PathBuf) -> Result<String, ProviderError> {
    let wrong = |problem: String| {
        ProviderError::lasting(
            Reason::BaseIdentityInvalid,
            format!(
                "the issuer's own token for AWS in {} {problem}; set a projected token with the audience sts.amazonaws.com in the \
                 chart's values",
                file.display()
            ),
        )
    };
    let token = std::fs::read_to_string(file).map_err(|e| wrong(format!("can't be read ({e})")))?;
    let token = token.trim();
    if token.is_empty() { Err(wrong("is empty".to_owned())) } else { Ok(token.to_owned()) }
}

/// A role that the issuer's own token assumes, and that then assumes the principals.
pub(super) struct BaseRole {
    /// A client that signs nothing.
    pub(super) sts: Client,
    pub(super) endpoint: String,
    pub(super) role_arn: String,
    pub(super) token_file: PathBuf,
}

impl BaseRole {
    async fn assume(&self) -> Result<Credentials, ProviderError> {
        let token = web_identity_token(&self.token_file)?;
        let doing = Doing { endpoint: &self.endpoint, step: Step::Base(&self.role_arn) };
        let answer = self
            .sts
            .assume_role_with_web_identity()
            .role_arn(&self.role_arn)
            .role_session_name(ISSUER_SESSION)
            .web_identity_token(token)
            .send()
            .await
            .map_err(|e| explain(failure(&e), doing))?;
        let empty = || {
            ProviderError::passing(
                Reason::ProviderRejected,
                "STS answered to AssumeRoleWithWebIdentity without credentials",
            )
        };
        let given = answer.credentials().ok_or_else(empty)?;
        let expires = SystemTime::try_from(*given.expiration()).map_err(|_| empty())?;
        let (id, secret, token) = (given.access_key_id(), given.secret_access_key(), given.session_token());
        Ok(Credentials::new(id, secret, Some(token.to_owned()), Some(expires), "exeat-web-identity"))
    }
}

impl fmt::Debug for BaseRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BaseRole").field("role_arn", &self.role_arn).finish_non_exhaustive()
    }
}

impl ProvideCredentials for BaseRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let assumed = async { self.assume().await.map_err(CredentialsError::provider_error) };
        future::ProvideCredentials::new(assumed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn secret(entries: &[(&str, &str)]) -> Secret {
        let data = entries.iter().map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec()))).collect();
        Secret { data: Some(data), ..Secret::default() }
    }

    #[test]
    fn keys_are_read_without_the_line_breaks_that_files_end_with() {
        let keys =
            keys_of(&secret(&[(ACCESS_KEY, "AKIA1\n"), (SECRET_KEY, " s3cr3t\n")]), "exeat-system", "aws").unwrap();
        assert_eq!((keys.access_key_id(), keys.secret_access_key(), keys.session_token()), ("AKIA1", "s3cr3t", None));
        let keys = keys_of(&secret(&[(ACCESS_KEY, "A"), (SECRET_KEY, "s"), (SESSION_TOKEN, "t")]), "n", "aws").unwrap();
        assert_eq!(keys.session_token(), Some("t"));
    }

    #[test]
    fn a_key_that_is_missing_is_named() {
        for (entries, missing) in [
            (vec![(ACCESS_KEY, "A")], SECRET_KEY),
            (vec![(SECRET_KEY, "s")], ACCESS_KEY),
            (vec![(ACCESS_KEY, " "), (SECRET_KEY, "s")], ACCESS_KEY),
        ] {
            let error = keys_of(&secret(&entries), "exeat-system", "aws").unwrap_err();
            assert_eq!(error.reason, Reason::BaseIdentityInvalid);
            assert!(
                error.message.contains(&format!("under the key {missing}")) && error.message.contains("secretRef"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_token_file_that_is_missing_or_empty_is_named() {
        let file = std::env::temp_dir().join(format!("exeat-token-{}", std::process::id()));
        let error = web_identity_token(&file).unwrap_err();
        assert_eq!(error.reason, Reason::BaseIdentityInvalid);
        assert!(error.message.contains(&*file.to_string_lossy()), "{error}");
        std::fs::write(&file, "\n").unwrap();
        assert!(web_identity_token(&file).unwrap_err().message.contains("is empty"));
        std::fs::write(&file, "abc\n").unwrap();
        assert_eq!(web_identity_token(&file).unwrap(), "abc");
        std::fs::remove_file(&file).unwrap();
    }
}
