//! Grants at Vault and OpenBao: for each session an orphan token of the token role that the policy names as its principal. The sidecar keeps
//! the token and makes the agent's calls with it, so a secret that is leased (a database login) hangs on the session's token and ends with
//! it. A renewal prolongs the token in place, by its accessor; the issuer holds no token of an agent after it has handed it out.
//!
//! Tokens are orphans, so that none of them ends with the issuer's own: a replica that is replaced takes nobody's access away.

mod api;
mod auth;
mod error;
mod handle;
mod rules;

use std::time::Duration;

use async_trait::async_trait;
use exeat_crds::reason::Reason;
use exeat_crds::rules::Grant;
use exeat_crds::v1alpha1::VaultProvider;
use exeat_wire::{Credential, Secret, VaultCredential};
use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::{Context, GrantProbe, Identity, MintRequest, Minted, Provider, ProviderError, SessionId};
use api::{Answer, Api};
use auth::Login;
use error::{Doing, failure, refused};
use handle::Handle;
pub(crate) use handle::{is_handle, joined};

/// Longest time for one mint, probe or revocation.
const DEADLINE: Duration = Duration::from_secs(12);
/// A token that Vault gives longer than was asked for by more than this has a period.
const SLACK: SignedDuration = SignedDuration::from_secs(5);

/// The provider.
pub struct Vault {
    spec: VaultProvider,
    api: Api,
    login: Login,
    handle: Handle,
}

/// A token as Vault gave or prolonged it.
struct Given {
    accessor: String,
    token: Option<Secret>,
    life: SignedDuration,
}

impl Vault {
    /// Reads the settings. Calls nobody.
    ///
    /// # Errors
    /// `ProviderRejected` where the address or the roots can't be used.
    pub fn new(spec: &VaultProvider, context: &Context) -> Result<Self, ProviderError> {
        let api = Api::new(spec, context.resolver.clone())?;
        let login = Login::new(spec, context);
        let handle = Handle::of(&spec.address, spec.namespace.as_deref());
        Ok(Self { spec: spec.clone(), api, login, handle })
    }

    /// A call by the issuer's own token; once more with a fresh one where Vault does not know it any more.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        doing: Doing<'_>,
    ) -> Result<Answer, ProviderError> {
        let failed = |answer: &Answer| refused(answer, doing);
        let token = self.login.token(&self.api).await?;
        let answer = self.api.call(method.clone(), path, Some(&token), body).await?;
        if answer.status.as_u16() != 403 || !self.login.refused(&self.api, &token).await? {
            return answer.or(failed);
        }
        let token = self.login.token(&self.api).await?;
        self.api.call(method, path, Some(&token), body).await?.or(failed)
    }

    async fn create(&self, request: &MintRequest<'_>) -> Result<Given, ProviderError> {
        let (role, session) = (&request.grant.principal, request.session);
        let mut body = json!({
            "ttl": format!("{}s", request.ttl.as_secs().max(1)),
            "renewable": true,
            "display_name": format!("exeat-{}", session.name),
            "meta": {
                "exeat_cluster": request.cluster,
                "exeat_namespace": session.namespace,
                "exeat_service_account": session.service_account,
                "exeat_policy": session.policy,
                "exeat_session": session.name,
            },
        });
        if let Some(uses) = self.spec.token_uses {
            body["num_uses"] = uses.into();
        }
        let path = format!("auth/token/create/{role}");
        let answer = self.call(Method::POST, &path, Some(&body), Doing::Create(role)).await?;
        let given = Given::read(&answer)?;
        let problem = if answer.body["auth"]["orphan"] != json!(true) {
            Some("it makes tokens that end with the issuer's own; set orphan=true on it")
        } else if answer.body["auth"]["renewable"] != json!(true) {
            Some("it makes tokens that can't be renewed; set renewable=true on it, and token_type=service")
        } else if given.life > request.ttl.saturating_add(SLACK) {
            Some("it makes tokens that live longer than is asked for; remove its token_period")
        } else {
            None
        };
        let Some(problem) = problem else { return Ok(given) };
        self.end(&given.accessor).await?;
        Err(ProviderError::lasting(
            Reason::ProviderRejected,
            format!("the token role {role} can't be used: {problem}: vault write auth/token/roles/{role} …"),
        ))
    }

    /// Prolongs a token that was handed out. `None`: it is gone, or near the end that its role sets it.
    async fn renew(&self, accessor: &str, request: &MintRequest<'_>) -> Result<Option<Given>, ProviderError> {
        let body = json!({"accessor": accessor, "increment": format!("{}s", request.ttl.as_secs().max(1))});
        let answer = self.call(Method::POST, "auth/token/renew-accessor", Some(&body), Doing::Renew).await;
        let answer = match answer {
            Err(error) if error.reason == Reason::SessionNotFound => return Ok(None),
            answer => answer?,
        };
        let life = SignedDuration::from_secs(answer.body["auth"]["lease_duration"].as_i64().unwrap_or_default());
        let enough = life.saturating_mul(2) >= request.ttl;
        Ok(enough.then(|| Given { accessor: accessor.to_owned(), token: None, life }))
    }

    /// Ends a token with all that is leased under it. One that is gone is success.
    async fn end(&self, accessor: &str) -> Result<(), ProviderError> {
        let body = json!({"accessor": accessor});
        match self.call(Method::POST, "auth/token/revoke-accessor", Some(&body), Doing::Revoke).await {
            Err(error) if error.reason == Reason::SessionNotFound => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// One more token. What its accessor leaves no room for on record is ended first: nobody could end it later.
    async fn add(&self, request: &MintRequest<'_>) -> Result<Given, ProviderError> {
        let given = self.create(request).await?;
        let handle = self.handle.with(&given.accessor);
        let (pushed_out, _) = handle::split(request.handle, &handle);
        if let Err(error) = self.revoke_now(Some(&pushed_out.join(" "))).await {
            self.end(&given.accessor).await?;
            return Err(error);
        }
        Ok(given)
    }

    async fn mint_now(&self, request: &MintRequest<'_>) -> Result<Minted, ProviderError> {
        let (allow, deny) = rules::of(request.grant)?;
        let known = request.held.filter(|held| self.handle.holds(request.handle, held));
        let renewed = match known {
            Some(accessor) => self.renew(accessor, request).await?,
            None => None,
        };
        let given = match renewed {
            Some(given) => given,
            None => self.add(request).await?,
        };
        let now = request.now;
        let life = given.life.min(request.ttl);
        let is_new = given.token.is_some();
        Ok(Minted {
            credential_id: given.accessor.clone(),
            expires_at: now.saturating_add(life).unwrap_or(now),
            handle: is_new.then(|| self.handle.with(&given.accessor)),
            further: is_new,
            credential: Credential::Vault(VaultCredential {
                address: self.spec.address.clone(),
                certificate_authority: self.spec.ca_cert.clone(),
                namespace: self.spec.namespace.clone(),
                accessor: given.accessor,
                token: given.token,
                allow,
                deny,
                require_request_header: self.spec.require_request_header,
            }),
            serve_until: None,
            packed_policy_percent: None,
        })
    }

    async fn probe_identity_now(&self) -> Result<Identity, ProviderError> {
        let answer = self.call(Method::GET, "auth/token/lookup-self", None, Doing::Identity).await?;
        let data = &answer.body["data"];
        if self.spec.auth.token.is_some() && data["renewable"] == json!(true) {
            // Whoever made it may have other plans for it: no renewal, no failure.
            let renewed = self.call(Method::POST, "auth/token/renew-self", Some(&json!({})), Doing::Identity).await;
            if let Err(error) = renewed {
                tracing::warn!(%error, "the issuer's own token at Vault could not be renewed");
            }
        }
        let needed = ["auth/token/renew-accessor", "auth/token/revoke-accessor"];
        let token = self.login.token(&self.api).await?;
        for (path, capabilities) in self.capabilities(&token, &needed).await?.into_iter().flatten() {
            if !rules::suffices("write", &capabilities) {
                return Err(ProviderError::lasting(
                    Reason::IssuerForbidden,
                    format!(
                        "the issuer may not update {path}; give its own policy: path \"{path}\" {{ capabilities = [\"update\"] }}"
                    ),
                ));
            }
        }
        Ok(Identity { identity: data["display_name"].as_str().map(str::to_owned), chained: false })
    }

    /// Makes a token, looks at what it may do, and ends it.
    async fn probe_grant_now(&self, request: &MintRequest<'_>) -> Result<GrantProbe, ProviderError> {
        rules::of(request.grant)?;
        let given = self.create(request).await?;
        let judged = self.judge(request.grant, given.token.as_ref()).await;
        self.end(&given.accessor).await?;
        judged.map(|()| GrantProbe::default())
    }

    async fn judge(&self, grant: &Grant, token: Option<&Secret>) -> Result<(), ProviderError> {
        // In mode Observe what the role lets is taken as it is.
        let Some(token) = token.filter(|_| !grant.observe) else { return Ok(()) };
        for statement in &grant.allow {
            let asked = rules::asked(statement);
            let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
            let Some(told) = self.capabilities(token, &asked).await? else { return Ok(()) };
            if let Some((verb, path, may)) = rules::lacking(statement, &told) {
                return Err(ProviderError::lasting(
                    Reason::AssumeRoleDenied,
                    format!(
                        "spec.allow: the policies of token role {} do not let its tokens {verb} {path} (they may: {}); let a policy \
                         of the role do so, or allow less",
                        grant.principal,
                        may.join(", ")
                    ),
                ));
            }
        }
        Ok(())
    }

    /// What a token may do on these paths. `None` where it may not ask: its role leaves out the policy `default`.
    async fn capabilities(
        &self,
        token: &Secret,
        paths: &[&str],
    ) -> Result<Option<Vec<(String, Vec<String>)>>, ProviderError> {
        let body = json!({"paths": paths});
        let answer = self.api.call(Method::POST, "sys/capabilities-self", Some(token), Some(&body)).await?;
        if answer.status.as_u16() == 403 {
            return Ok(None);
        }
        let answer = answer.or(|answer| refused(answer, Doing::Identity))?;
        let words = |value: &Value| {
            value.as_array().into_iter().flatten().filter_map(|w| Some(w.as_str()?.to_owned())).collect()
        };
        let of = |path: &&str| ((*path).to_owned(), words(&answer.body["data"][*path]));
        Ok(Some(paths.iter().map(of).collect()))
    }

    async fn revoke_now(&self, handle: Option<&str>) -> Result<(), ProviderError> {
        for accessor in self.handle.accessors(handle)? {
            self.end(&accessor).await?;
        }
        Ok(())
    }
}

impl Given {
    fn read(answer: &Answer) -> Result<Self, ProviderError> {
        let auth = &answer.body["auth"];
        match (auth["client_token"].as_str(), auth["accessor"].as_str(), auth["lease_duration"].as_i64()) {
            (Some(token), Some(accessor), Some(life)) if life > 0 => Ok(Self {
                accessor: accessor.to_owned(),
                token: Some(Secret::new(token)),
                life: SignedDuration::from_secs(life),
            }),
            _ => Err(failure(answer.status, "it answered without a token that has an end", Doing::Answer)),
        }
    }
}

#[async_trait]
impl Provider for Vault {
    async fn probe_identity(&self) -> Result<Identity, ProviderError> {
        within(self.probe_identity_now()).await
    }

    async fn probe_grant(&self, request: &MintRequest<'_>) -> Result<GrantProbe, ProviderError> {
        within(self.probe_grant_now(request)).await
    }

    async fn mint(&self, request: &MintRequest<'_>) -> Result<Minted, ProviderError> {
        within(self.mint_now(request)).await
    }

    /// By the accessors on record: without them there is nothing to end that anybody was given.
    async fn revoke(&self, _: &SessionId, handle: Option<&str>) -> Result<(), ProviderError> {
        within(self.revoke_now(handle)).await
    }
}

/// Checks what can be known of a grant without asking Vault.
///
/// # Errors
/// What can't be read.
pub fn validate(grant: &Grant) -> Result<(), ProviderError> {
    rules::of(grant).map(drop)
}

async fn within<T>(call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    crate::within("Vault", DEADLINE, call).await
}
