//! Grants at Google Cloud: an access token of the service account that the policy names as its principal, held to a Credential Access Boundary
//! where the grant is for Cloud Storage, and an identity token for each audience that the policy grants. Google can't take any of them back.

mod api;
mod auth;
mod endpoints;
mod error;

use std::time::Duration;

use async_trait::async_trait;
use exeat_crds::reason::Reason;
use exeat_crds::rules::gcp_boundary::{self, Order};
use exeat_crds::rules::{Grant, Kind};
use exeat_crds::v1alpha1::GcpProvider;
use exeat_wire::{Credential, GcpCredential, GcpIdentityToken, Secret};
use futures::future::{try_join, try_join_all};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{Context, GrantProbe, Identity, MintRequest, Minted, Provider, ProviderError, SessionId};
use api::{Answer, Api, Body};
use auth::{Base, CLOUD_PLATFORM};
use endpoints::Endpoints;
use error::{Doing, failure};

/// Longest time for one mint or probe.
const DEADLINE: Duration = Duration::from_secs(12);
/// Longest life that Google gives an access token of a service account.
const CEILING: SignedDuration = SignedDuration::from_hours(1);
/// How far Google's clock may be from ours.
const SKEW: SignedDuration = SignedDuration::from_secs(300);
/// How much later than asked a token's end may be claimed: the time the answer took.
const SLACK: SignedDuration = SignedDuration::from_secs(60);

/// The provider.
pub struct Gcp {
    spec: GcpProvider,
    scopes: Vec<String>,
    api: Api,
    at: Endpoints,
    base: Base,
}

/// An access token with its end.
struct Access {
    token: Secret,
    until: Timestamp,
}

impl Gcp {
    /// Reads the settings. Calls nobody.
    ///
    /// # Errors
    /// `ProviderRejected` where no TLS is possible.
    pub fn new(spec: &GcpProvider, context: &Context) -> Result<Self, ProviderError> {
        let scopes = if spec.scopes.is_empty() { vec![CLOUD_PLATFORM.to_owned()] } else { spec.scopes.clone() };
        Ok(Self {
            api: Api::new(context.resolver.clone())?,
            at: Endpoints::new(spec),
            base: Base::new(spec, context),
            spec: spec.clone(),
            scopes,
        })
    }

    /// A call about one service account by the issuer's own token; once more with a fresh one where Google does not take it any more.
    async fn impersonate(&self, email: &str, method: &str, body: &Value) -> Result<Answer, ProviderError> {
        let url = self.at.service_account(email, method);
        let failed = |answer: &Answer| failure(answer, Doing::Impersonate(email));
        let token = self.base.token(&self.api, &self.at).await?;
        let answer = self.api.call(&url, Some(&token), Body::Json(body)).await?;
        if answer.status.as_u16() != 401 || !self.base.refused(&self.api, &self.at, &token).await? {
            return answer.or(failed);
        }
        let token = self.base.token(&self.api, &self.at).await?;
        self.api.call(&url, Some(&token), Body::Json(body)).await?.or(failed)
    }

    fn delegates(&self) -> Vec<String> {
        self.spec.delegates.iter().map(|email| format!("projects/-/serviceAccounts/{email}")).collect()
    }

    async fn access(&self, request: &MintRequest<'_>, order: &Order) -> Result<Option<Access>, ProviderError> {
        if !order.access {
            return Ok(None);
        }
        let email = &request.grant.principal;
        let asked = request.ttl.min(CEILING).max(SignedDuration::from_secs(1));
        let body = json!({
            "scope": self.scopes, "lifetime": format!("{}s", asked.as_secs()), "delegates": self.delegates(),
        });
        let answer = self.impersonate(email, "generateAccessToken", &body).await?;
        let (token, end) = (answer.body["accessToken"].as_str(), answer.body["expireTime"].as_str());
        let (Some(token), Some(said)) = (token, end.and_then(|end| end.parse::<Timestamp>().ok())) else {
            return Err(rejected("Google gave no access token with an end"));
        };
        let until = ends(request.now, asked, said)?;
        let access = Access { token: Secret::new(token), until };
        match &order.boundary {
            None => Ok(Some(access)),
            Some(boundary) => self.narrow(request.now, access, boundary).await.map(Some),
        }
    }

    /// The same token, held to a boundary. It ends when the wide one ends.
    async fn narrow(&self, now: Timestamp, wide: Access, boundary: &str) -> Result<Access, ProviderError> {
        let access_token = "urn:ietf:params:oauth:token-type:access_token";
        let pairs = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", access_token),
            ("subject_token_type", access_token),
            ("subject_token", wide.token.expose()),
            ("options", boundary),
        ];
        let answer = self.api.call(&self.at.sts_token(), None, Body::Form(&pairs)).await?;
        let answer = answer.or(|answer| failure(answer, Doing::Narrow))?;
        let Some(token) = answer.body["access_token"].as_str().filter(|token| *token != wide.token.expose()) else {
            return Err(rejected("Google gave no narrowed access token"));
        };
        let left = answer.body["expires_in"].as_i64().map(SignedDuration::from_secs);
        let until = left.and_then(|left| now.saturating_add(left).ok()).map_or(wide.until, |said| said.min(wide.until));
        Ok(Access { token: Secret::new(token), until })
    }

    async fn identity(&self, email: &str, audience: &str) -> Result<GcpIdentityToken, ProviderError> {
        let body = json!({"audience": audience, "includeEmail": true, "delegates": self.delegates()});
        let answer = self.impersonate(email, "generateIdToken", &body).await?;
        match answer.body["token"].as_str() {
            Some(token) => Ok(GcpIdentityToken { audience: audience.to_owned(), token: Secret::new(token) }),
            None => Err(rejected("Google gave no identity token")),
        }
    }

    async fn mint_now(&self, request: &MintRequest<'_>) -> Result<Minted, ProviderError> {
        let order = order_of(request.grant)?;
        let email = &request.grant.principal;
        let identities = try_join_all(order.audiences.iter().map(|audience| self.identity(email, audience)));
        let (access, identity_tokens) = try_join(self.access(request, &order), identities).await?;
        let served = request.now.saturating_add(request.ttl.min(CEILING)).unwrap_or(request.now);
        let (access_token, until) = access.map_or((None, served), |access| (Some(access.token), access.until));
        Ok(Minted {
            credential: Credential::Gcp(GcpCredential {
                email: email.clone(),
                project: self.spec.project.clone(),
                project_number: self.spec.project_number.clone(),
                universe_domain: self.at.universe().to_owned(),
                scopes: self.scopes.clone(),
                access_token,
                identity_tokens,
            }),
            // Google names its tokens nowhere.
            credential_id: String::new(),
            expires_at: until,
            serve_until: None,
            handle: None,
            further: false,
            packed_policy_percent: order.boundary.as_deref().map(share_of_boundary),
        })
    }

    async fn probe_identity_now(&self) -> Result<Identity, ProviderError> {
        self.base.token(&self.api, &self.at).await?;
        Ok(Identity { identity: self.base.identity().await, chained: false })
    }
}

/// When a token ends, given what Google says: never later than was asked for.
fn ends(now: Timestamp, asked: SignedDuration, said: Timestamp) -> Result<Timestamp, ProviderError> {
    let after = |more: SignedDuration| now.saturating_add(asked.saturating_add(more));
    let (Ok(latest), Ok(plausible)) = (after(SLACK), after(SKEW)) else {
        return Err(rejected(&format!("{asked:#} from {now} is no time")));
    };
    if said > plausible {
        return Err(rejected(&format!(
            "Google was asked for {} s at {now} and gave a token until {said}; check the clock of the issuer's node",
            asked.as_secs()
        )));
    }
    Ok(said.min(latest))
}

fn share_of_boundary(boundary: &str) -> i32 {
    i32::try_from(boundary.len() * 100 / gcp_boundary::MAX_BOUNDARY).unwrap_or(100)
}

fn order_of(grant: &Grant) -> Result<Order, ProviderError> {
    if grant.kind != Kind::Gcp {
        return Err(ProviderError::lasting(Reason::InternalError, "the grant is for another kind of provider"));
    }
    gcp_boundary::order(grant, &grant.deny).map_err(|e| ProviderError::lasting(e.reason(), e.to_string()))
}

fn rejected(message: &str) -> ProviderError {
    ProviderError::lasting(Reason::ProviderRejected, message)
}

/// Checks what can be known of a grant without asking Google.
///
/// # Errors
/// What no boundary can say, and the fix.
pub fn validate(grant: &Grant) -> Result<(), ProviderError> {
    order_of(grant).map(drop)
}

#[async_trait]
impl Provider for Gcp {
    async fn probe_identity(&self) -> Result<Identity, ProviderError> {
        within(self.probe_identity_now()).await
    }

    /// Mints once with this very boundary, and forgets what came: Google can't take it back, and nobody has it.
    async fn probe_grant(&self, request: &MintRequest<'_>) -> Result<GrantProbe, ProviderError> {
        let minted = within(self.mint_now(request)).await?;
        Ok(GrantProbe { packed_policy_percent: minted.packed_policy_percent })
    }

    async fn mint(&self, request: &MintRequest<'_>) -> Result<Minted, ProviderError> {
        within(self.mint_now(request)).await
    }

    /// Nothing to do: Google can't take a token back.
    async fn revoke(&self, _: &SessionId, _: Option<&str>) -> Result<(), ProviderError> {
        Ok(())
    }
}

async fn within<T>(call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    crate::within("Google", DEADLINE, call).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_when_google_says_and_never_later_than_asked() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let asked = SignedDuration::from_mins(30);
        for (said, ended) in [
            ("2026-01-01T00:30:01Z", Some("2026-01-01T00:30:01Z")),
            ("2026-01-01T00:10:00Z", Some("2026-01-01T00:10:00Z")),
            ("2026-01-01T00:33:00Z", Some("2026-01-01T00:31:00Z")),
            ("2026-01-01T01:30:00Z", None),
        ] {
            let got = ends(now, asked, said.parse().unwrap());
            assert_eq!(got.as_ref().ok().map(ToString::to_string).as_deref(), ended, "{said}");
            assert!(ended.is_some() || got.unwrap_err().message.contains("clock"), "{said}");
        }
    }
}
