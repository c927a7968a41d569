//! How the issuer logs in at Vault.

use std::path::PathBuf;
use std::time::Duration;

use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{VaultAuth, VaultProvider};
use exeat_wire::Secret;
use http::Method;
use serde_json::{Value, json};
use zeroize::Zeroize;

use super::api::Api;
use super::error::{Doing, failure, refused};
use crate::own_token::{Fetched, OwnToken, mounted};
use crate::{Context, ProviderError, secrets};

const ROLE_ID: &str = "roleID";
const SECRET_ID: &str = "secretID";
const TOKEN: &str = "token";
const KUBERNETES_MOUNT: &str = "kubernetes";
const APPROLE_MOUNT: &str = "approle";
/// How long a token from a Secret is used before the Secret is read again.
const REREAD: Duration = Duration::from_secs(60);

/// How the issuer logs in, and the token that came of it.
pub(super) struct Login {
    auth: VaultAuth,
    client: kube::Client,
    namespace: String,
    token_file: PathBuf,
    own: OwnToken,
}

impl Login {
    pub(super) fn new(spec: &VaultProvider, context: &Context) -> Self {
        Self {
            auth: spec.auth.clone(),
            client: context.client.clone(),
            namespace: context.namespace.clone(),
            token_file: context.vault_token_file.clone(),
            own: OwnToken::new("Vault"),
        }
    }

    /// The issuer's token.
    ///
    /// # Errors
    /// `BaseIdentityInvalid` where Vault or the Secret gives none.
    pub(super) async fn token(&self, api: &Api) -> Result<Secret, ProviderError> {
        self.own.get(self.log_in(api)).await
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
        self.own.refused(token, self.log_in(api)).await
    }

    async fn log_in(&self, api: &Api) -> Result<Fetched, ProviderError> {
        let (mount, body) = match (&self.auth.kubernetes, &self.auth.app_role, &self.auth.token) {
            (Some(auth), _, _) => {
                let jwt = mounted(&self.token_file, "Vault")?;
                (auth.mount.as_deref().unwrap_or(KUBERNETES_MOUNT), json!({"role": auth.role, "jwt": jwt.expose()}))
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
                return Ok(Fetched { token, identity: None, use_for: REREAD });
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
        let answer = answer?.or(|answer| refused(answer, doing))?;
        let auth = &answer.body["auth"];
        let token =
            auth["client_token"].as_str().ok_or_else(|| failure(answer.status, "no token came of it", doing))?;
        let life = Duration::from_secs(auth["lease_duration"].as_u64().unwrap_or_default());
        // Without an end it is looked at anew as often as one of a Secret.
        let fetched = Fetched::ending(Secret::new(token), life);
        Ok(if life.is_zero() { Fetched { use_for: REREAD, ..fetched } } else { fetched })
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
