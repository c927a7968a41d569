//! Access tokens of Entra ID. A token is the principal's own, for one resource: nothing narrower than the principal's role assignments can be
//! enforced, so a grant says which principal and which resources, and a session holds one token for each of them. All come of one mint, so
//! that they are recorded, renewed and withheld together, and the sidecar answers from memory whichever an SDK asks for.
//!
//! Entra alone decides how long a token lives, and can't take it back. One that lives longer than `maxTokenLifetime` is not handed out: the
//! promise of when access has ended counts with it.

mod api;
mod error;
mod proof;

use std::time::Duration;

use async_trait::async_trait;
use exeat_crds::authority::azure::{longest_token, resources};
use exeat_crds::duration;
use exeat_crds::reason::Reason;
use exeat_crds::rules::{Grant, Kind};
use exeat_crds::v1alpha1::AzureProvider;
use exeat_wire::{AzureCredential, AzureToken, Credential, Secret};
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};

use crate::{Context, GrantProbe, Identity, MintRequest, Minted, Provider, ProviderError, SessionId};
use api::Api;
use error::{Doing, failure};
use proof::{Proof, Shown, claims};

/// Longest time for one mint or probe.
const DEADLINE: Duration = Duration::from_secs(12);
/// Longest name of a token: those of eight are recorded in 256 characters.
const MAX_ID: usize = 31;

/// The provider.
pub struct Azure {
    tenant: String,
    api: Api,
    proof: Proof,
    longest: SignedDuration,
}

/// A token as Entra gave it.
struct Given {
    resource: String,
    token: Secret,
    life: SignedDuration,
}

impl Azure {
    /// Reads the settings. Calls nobody.
    ///
    /// # Errors
    /// `ProviderRejected` where the roots can't be used, `DurationInvalid`, `BaseIdentityInvalid` without a Secret to use.
    pub fn new(spec: &AzureProvider, context: &Context) -> Result<Self, ProviderError> {
        Ok(Self {
            tenant: spec.tenant_id.clone(),
            api: Api::new(spec, context.resolver.clone())?,
            proof: Proof::new(spec, context)?,
            longest: longest_token(spec)?,
        })
    }

    async fn tokens(&self, request: &MintRequest<'_>) -> Result<Vec<Given>, ProviderError> {
        validate(request.grant)?;
        let shown = self.proof.show().await?;
        try_join_all(resources(request.grant).into_iter().map(|resource| self.token(&shown, request, resource))).await
    }

    async fn token(&self, shown: &Shown, request: &MintRequest<'_>, resource: &str) -> Result<Given, ProviderError> {
        let principal = request.grant.principal.as_str();
        let scope = format!("{resource}/.default");
        // By the session's UID the sign-in log of the tenant leads to the session.
        let answer = self.api.token(&shown.form(principal, &scope)?, &request.session.uid).await?;
        match (answer.status.is_success(), answer.body.life(), answer.body.access_token.clone()) {
            (true, Some(life), Some(token)) => self.given(resource, token, SignedDuration::from_secs(life)),
            _ => Err(failure(&answer, Doing::Token { principal, resource })),
        }
    }

    fn given(&self, resource: &str, token: Secret, life: SignedDuration) -> Result<Given, ProviderError> {
        if life <= self.longest {
            return Ok(Given { resource: resource.to_owned(), token, life });
        }
        Err(ProviderError::lasting(
            Reason::ProviderRejected,
            format!(
                "spec.azure.maxTokenLifetime: a token for {resource} lives {}, and at most {} is taken, since it can't be called back; raise it, or \
                 give the principal a token lifetime policy in Entra",
                duration::format(life),
                duration::format(self.longest)
            ),
        ))
    }

    async fn mint_now(&self, request: &MintRequest<'_>) -> Result<Minted, ProviderError> {
        let tokens = self.tokens(request).await?;
        let after = |life| request.now.saturating_add(life).unwrap_or(Timestamp::MAX);
        let lives = || tokens.iter().map(|given| given.life);
        let ids: Vec<String> = tokens.iter().filter_map(|given| id(&given.token)).collect();
        Ok(Minted {
            credential_id: ids.join(","),
            expires_at: after(lives().max().unwrap_or_default()),
            serve_until: Some(after(lives().min().unwrap_or_default().min(request.ttl))),
            handle: None,
            further: false,
            packed_policy_percent: None,
            credential: Credential::Azure(AzureCredential {
                tenant_id: self.tenant.clone(),
                client_id: request.grant.principal.clone(),
                tokens: tokens.into_iter().map(|g| AzureToken { resource: g.resource, token: g.token }).collect(),
            }),
        })
    }

    /// Whether there is such a tenant, and what the issuer will prove itself by. A principal is tried with its policy.
    async fn probe_identity_now(&self) -> Result<Identity, ProviderError> {
        let shown = self.proof.show().await?;
        let answer = self.api.discover().await?;
        if !answer.status.is_success() {
            return Err(failure(&answer, Doing::Discover { tenant: &self.tenant }));
        }
        Ok(Identity { identity: shown.identity(), chained: false })
    }
}

/// What names the token in Entra's sign-in log (the unique token identifier), where the token says.
fn id(token: &Secret) -> Option<String> {
    let plain =
        |id: &&str| id.len() <= MAX_ID && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    claims(token)?["uti"].as_str().filter(plain).map(str::to_owned)
}

/// Checks what can be known of a grant without asking Entra.
///
/// # Errors
/// A grant of another kind, or one without any resource.
pub fn validate(grant: &Grant) -> Result<(), ProviderError> {
    if grant.kind == Kind::Azure && !resources(grant).is_empty() {
        return Ok(());
    }
    Err(ProviderError::lasting(Reason::InternalError, "the grant names no resource of Azure"))
}

#[async_trait]
impl Provider for Azure {
    async fn probe_identity(&self) -> Result<Identity, ProviderError> {
        within(self.probe_identity_now()).await
    }

    /// Asks for a token for each resource, and drops them.
    async fn probe_grant(&self, request: &MintRequest<'_>) -> Result<GrantProbe, ProviderError> {
        within(self.tokens(request)).await.map(|_| GrantProbe::default())
    }

    async fn mint(&self, request: &MintRequest<'_>) -> Result<Minted, ProviderError> {
        within(self.mint_now(request)).await
    }

    /// Entra takes no token back.
    async fn revoke(&self, _: &SessionId, _: Option<&str>) -> Result<(), ProviderError> {
        Ok(())
    }
}

async fn within<T>(call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    crate::within("Entra", DEADLINE, call).await
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn a_token_is_named_as_the_sign_in_log_names_it() {
        let token = |claims: &str| Secret::new(format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims)));
        assert_eq!(id(&token(r#"{"uti":"abc-DEF_1"}"#)).as_deref(), Some("abc-DEF_1"));
        for other in [r#"{"uti":"a b"}"#, r#"{"uti":1}"#, "{}", "no json"] {
            assert_eq!(id(&token(other)), None, "{other}");
        }
        assert_eq!(id(&Secret::new("opaque")), None);
    }
}
