//! The issuer's own token at Vault: logged in for, kept in memory, and replaced before it ends.

use std::path::PathBuf;
use std::time::Duration;

use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{VaultAuth, VaultProvider};
use exeat_wire::Secret;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroize;

use super::api::Api;
use super::error::{Doing, failure};
use crate::{Context, ProviderError, secrets};

const ROLE_ID: &str = "roleID";
const SECRET_ID: &str = "secretID";
const TOKEN: &str = "token";
const KUBERNETES_MOUNT: &str = "kubernetes";
const APPROLE_MOUNT: &str = "approle";
/// How long a token from a Secret is used before the Secret is read again.
const REREAD: Duration = Duration::from_secs(60);
/// No login is repeated sooner because its token was refused.
const AGAIN: Duration = Duration::from_secs(2);

/// How the issuer logs in, and the token that came of it.
pub(super) struct Login {
    auth: VaultAuth,
    client: kube::Client,
    namespace: String,
    token_file: PathBuf,
    held: Mutex<Option<Held>>,
}

struct Held {
    token: Secret,
    since: Instant,
    /// Two thirds of its life.
    until: Instant,
}

impl Login {
    pub(super) fn new(spec: &VaultProvider, context: &Context) -> Self {
        Self {
            auth: spec.auth.clone(),
            client: context.client.clone(),
            namespace: context.namespace.clone(),
            token_file: context.vault_token_file.clone(),
            held: Mutex::new(None),
        }
    }

    /// The issuer's token.
    ///
    /// # Errors
    /// `BaseIdentityInvalid` where Vault or the Secret gives none.
    pub(super) async fn token(&self, api: &Api) -> Result<Secret, ProviderError> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| Instant::now() < held.until) {
            return Ok(held.token.clone());
        }
        match self.log_in(api).await {
            Ok(new) => {
                let token = new.token.clone();
                *held = Some(new);
                Ok(token)
            }
            // Two thirds are over, not all of it.
            Err(error) => match held.as_ref() {
                Some(before) if error.retryable => {
                    tracing::warn!(%error, "the issuer can't log in at Vault just now: going on with its token");
                    Ok(before.token.clone())
                }
                _ => Err(error),
            },
        }
    }

    /// A call with this token was refused: by a policy, or because Vault does not know the token any more. Whether there is another now.
    ///
    /// # Errors
    /// As for [`Login::token`].
    pub(super) async fn refused(&self, api: &Api, token: &Secret) -> Result<bool, ProviderError> {
        let known = api.call(Method::GET, "auth/token/lookup-self", Some(token), None).await?;
        if known.status.is_success() {
            return Ok(false);
        }
        let mut held = self.held.lock().await;
        match held.as_ref() {
            Some(held) if held.token.expose() != token.expose() => return Ok(true),
            Some(held) if held.since.elapsed() < AGAIN => return Ok(false),
            _ => *held = None,
        }
        drop(held);
        self.token(api).await.map(|new| new.expose() != token.expose())
    }

    async fn log_in(&self, api: &Api) -> Result<Held, ProviderError> {
        let (mount, body) = match (&self.auth.kubernetes, &self.auth.app_role, &self.auth.token) {
            (Some(auth), _, _) => {
                let jwt = self.own_token()?;
                (auth.mount.as_deref().unwrap_or(KUBERNETES_MOUNT), json!({"role": auth.role, "jwt": jwt}))
            }
            (None, Some(auth), _) => {
                let field = "spec.vault.auth.appRole.secretRef.name";
                let [role, secret] = self.read(field, &auth.secret_ref.name, [ROLE_ID, SECRET_ID]).await?;
                let body = json!({"role_id": role.expose(), "secret_id": secret.expose()});
                (auth.mount.as_deref().unwrap_or(APPROLE_MOUNT), body)
            }
            (None, None, Some(auth)) => {
                let field = "spec.vault.auth.token.secretRef.name";
                let [token] = self.read(field, &auth.secret_ref.name, [TOKEN]).await?;
                return Ok(Held { token, since: Instant::now(), until: Instant::now() + REREAD });
            }
            (None, None, None) => {
                let message = "spec.vault.auth: it names no way to log in; set kubernetes, appRole or token";
                return Err(ProviderError::lasting(Reason::BaseIdentityInvalid, message));
            }
        };
        let mut body = body;
        let doing = Doing::Login(mount);
        let answer = api.call(Method::POST, &format!("auth/{mount}/login"), None, Some(&body)).await;
        wipe(&mut body);
        let answer = answer?.or_failure(doing)?;
        let auth = &answer.body["auth"];
        let token =
            auth["client_token"].as_str().ok_or_else(|| failure(answer.status, "no token came of it", doing))?;
        let life = Duration::from_secs(auth["lease_duration"].as_u64().unwrap_or_default());
        // Without an end it is looked at anew as often as one of a Secret.
        let use_for = if life.is_zero() { REREAD } else { life * 2 / 3 };
        Ok(Held { token: Secret::new(token), since: Instant::now(), until: Instant::now() + use_for })
    }

    fn own_token(&self) -> Result<String, ProviderError> {
        let text = std::fs::read_to_string(&self.token_file).map_err(|error| {
            ProviderError::lasting(
                Reason::BaseIdentityInvalid,
                format!(
                    "the issuer's own token for Vault can't be read ({}): {error}; the chart mounts it",
                    self.token_file.display()
                ),
            )
        })?;
        Ok(text.trim().to_owned())
    }

    async fn read<const N: usize>(
        &self,
        field: &str,
        name: &str,
        keys: [&str; N],
    ) -> Result<[Secret; N], ProviderError> {
        secrets::read(&self.client, &self.namespace, field, name, keys).await
    }
}

fn wipe(body: &mut Value) {
    for value in body.as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
        if let Value::String(text) = value {
            text.zeroize();
        }
    }
}
