//! One request of one sidecar: admit, prove, recompute, intent to audit, mint, record, still active?, release. A step that fails ends it, and
//! nothing that was minted leaves.

use super::admit::Shares;
use super::authn::{AuthError, Authenticator, PodIdentity, UNDECIDED_SECONDS};
use super::hold::Caller;
use super::holder::Reports;
use super::learn::Learning;
use super::providers::Providers;
use super::recompute::{Order, confirm, recompute};
use super::sessions::View;
use super::streams::Streams;
use super::{status, view};
use crate::audit::{Audit, AuditEvent, EventName};
use crate::events::Events;
use crate::metrics::IssuerMetrics;
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{Holder, Issuance, RevocationMode};
use exeat_crds::{AgentCredentialPolicy, Approval, CredentialProvider, CredentialSession};
use exeat_providers::{MintRequest, Minted, Provider, ProviderError, SessionId};
use exeat_runtime::clock::Clock;
use exeat_wire::{CredentialResponse, Refusal};
use jiff::Timestamp;
use kube::{Api, Client, ResourceExt};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Longest time at a provider.
const MINT_TIMEOUT: Duration = Duration::from_secs(15);

/// What requests share.
pub(super) struct Desk {
    pub(super) client: Client,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) authenticator: Authenticator,
    pub(super) view: Arc<View>,
    pub(super) providers: Providers,
    pub(super) audit: Audit,
    pub(super) events: Events,
    pub(super) metrics: IssuerMetrics,
    pub(super) shares: Shares,
    pub(super) reports: Mutex<Reports>,
    pub(super) streams: Streams,
    pub(super) learning: Learning,
    pub(super) flights: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

/// All that one mint is about, read afresh.
struct Fresh {
    session: CredentialSession,
    provider: Option<CredentialProvider>,
    order: Order,
}

/// What a session rests on, by name.
#[derive(PartialEq)]
struct Rests {
    policy: String,
    provider: String,
    approval: Option<String>,
}

impl Rests {
    fn of(session: &CredentialSession) -> Self {
        let request = &session.spec.request;
        Self {
            policy: request.policy_ref.name.clone(),
            provider: request.provider_ref.name.clone(),
            approval: session.status.as_ref().and_then(|s| s.approval_ref.as_ref()).map(|r| r.name.clone()),
        }
    }
}

type Ground = (Option<AgentCredentialPolicy>, Option<CredentialProvider>, Option<Approval>);

pub(super) fn refusal(reason: Reason, message: impl Into<String>, retry_after: Option<u64>) -> Refusal {
    Refusal {
        code: reason.as_str().to_owned(),
        message: message.into(),
        retryable: retry_after.is_some(),
        retry_after_seconds: retry_after,
        session: None,
    }
}

pub(super) fn unavailable(error: impl std::fmt::Display) -> Refusal {
    refusal(Reason::InternalError, format!("the issuer could not ask the API server: {error}"), Some(2))
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Refused(refused) => refusal(refused.reason, refused.message, None),
            AuthError::Undecided(error) => {
                refusal(Reason::TokenInvalid, format!("{error} yet; try again"), Some(UNDECIDED_SECONDS))
            }
            AuthError::Unavailable(error) => unavailable(error),
        }
    }
}

impl Desk {
    /// Serves one request for a credential. `key` is the fingerprint of the caller's holder key, `held` names the
    /// credential that it holds, `policy` the one that it means where its pod names several.
    pub(super) async fn serve(
        &self,
        token: &str,
        key: String,
        held: Option<String>,
        policy: Option<String>,
    ) -> Result<CredentialResponse, Refusal> {
        let (identity, _turn) = self.admit_request(token, policy.as_deref()).await?;
        let now = self.clock.now();
        let known = view::of_policy(self.view.of_pod(&identity.pod_uid), policy.as_deref());
        let name = view::current(&known, now).map(|s| s.name_any()).ok_or_else(|| {
            refusal(Reason::SessionNotFound, "the controller has not opened a session for this pod yet", Some(1))
        })?;
        self.serve_session(&Caller { pod: identity, key, held, policies: policy.into_iter().collect() }, &name).await
    }

    /// Serves a proved caller from the session of this name.
    pub(super) async fn serve_session(&self, caller: &Caller, name: &str) -> Result<CredentialResponse, Refusal> {
        let flight = self.flight(&caller.pod.namespace, name);
        let _alone = flight.lock().await;
        let fresh = self.read(&caller.pod, name).await?;
        let holder = self.hold(caller, &fresh.session).await?;
        self.admit_mint(&caller.pod)?;
        self.issue(caller, &holder, &fresh).await
    }

    /// One mint at a time for each session.
    fn flight(&self, namespace: &str, session: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| flight.strong_count() > 0);
        let key = format!("{namespace}/{session}");
        if let Some(flight) = flights.get(&key).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::new(tokio::sync::Mutex::new(()));
        flights.insert(key, Arc::downgrade(&flight));
        flight
    }

    /// Quorum reads: a cache may be behind a revocation. It only tells what can be read beside the session.
    async fn read(&self, identity: &PodIdentity, name: &str) -> Result<Fresh, Refusal> {
        let seen = self.view.of_pod(&identity.pod_uid).into_iter().find(|s| s.name_any() == name);
        let supposed = seen.map(|s| Rests::of(&s));
        let beside = async {
            match &supposed {
                Some(rests) => self.ground(&identity.namespace, rests).await.map(Some),
                None => Ok(None),
            }
        };
        let (session, ground) = futures::try_join!(self.session(identity, name), beside)?;
        let rests = Rests::of(&session);
        let (policy, provider, approval) = match ground {
            Some(ground) if supposed.as_ref() == Some(&rests) => ground,
            _ => self.ground(&identity.namespace, &rests).await?,
        };
        let order = recompute(&session, policy.as_ref(), provider.as_ref(), approval.as_ref(), self.clock.now())?;
        Ok(Fresh { session, provider, order })
    }

    async fn session(&self, identity: &PodIdentity, name: &str) -> Result<CredentialSession, Refusal> {
        let sessions: Api<CredentialSession> = Api::namespaced(self.client.clone(), &identity.namespace);
        let session = sessions.get_opt(name).await.map_err(unavailable)?;
        let session =
            session.ok_or_else(|| refusal(Reason::SessionNotFound, format!("session {name} is gone"), Some(2)))?;
        let agent = &session.spec.request.agent;
        if agent.pod.uid != identity.pod_uid || agent.service_account != identity.service_account {
            return Err(refusal(Reason::TokenInvalid, format!("session {name} is another pod's"), None));
        }
        Ok(session)
    }

    /// Policy, provider and approval as they are now, all at once.
    async fn ground(&self, namespace: &str, rests: &Rests) -> Result<Ground, Refusal> {
        let policies: Api<AgentCredentialPolicy> = Api::namespaced(self.client.clone(), namespace);
        let providers: Api<CredentialProvider> = Api::all(self.client.clone());
        let approvals: Api<Approval> = Api::namespaced(self.client.clone(), namespace);
        let approval = async {
            match &rests.approval {
                Some(name) => approvals.get_opt(name).await,
                None => Ok(None),
            }
        };
        let (policy, provider) = (policies.get_opt(&rests.policy), providers.get_opt(&rests.provider));
        let (policy, provider, approval) = futures::try_join!(policy, provider, approval).map_err(unavailable)?;
        // The policy may name another one by now.
        let named = policy.as_ref().map(|p| &p.spec.provider_ref.name);
        let provider = match named {
            Some(name) if *name != rests.provider => providers.get_opt(name).await.map_err(unavailable)?,
            _ => provider,
        };
        Ok((policy, provider, approval))
    }

    async fn issue(&self, caller: &Caller, holder: &Holder, fresh: &Fresh) -> Result<CredentialResponse, Refusal> {
        let session = &fresh.session;
        let first = issuance_of(session).is_none_or(|i| i.credential_id.is_none());
        let intent = AuditEvent::of(
            session,
            EventName::CredentialsIntended,
            Reason::Active.as_str(),
            "a credential is about to be minted",
        );
        if let Err(error) = self.audit.intend(&intent, self.clock.now()).await {
            let message = format!("nothing is minted, since it can't be recorded: {error}");
            return Err(refusal(Reason::AuditUnavailable, message, Some(5)));
        }
        let (provider, minted) = match self.mint(caller, fresh).await {
            Ok(minted) => minted,
            Err(error) => return Err(self.failed(session, &error).await),
        };
        let mut event = AuditEvent::of(
            session,
            if first { EventName::CredentialsIssued } else { EventName::CredentialsRenewed },
            Reason::Active.as_str(),
            &format!("until {}", minted.expires_at),
        );
        event.credential_id = Some(minted.credential_id.clone()).filter(|id| !id.is_empty());
        event.credential_expires_at = Some(minted.expires_at.to_string());
        if (first || minted.further)
            && let Err(error) = self.record(session, holder, &minted).await
        {
            self.take_back(provider.as_ref(), fresh, &minted).await;
            return Err(unavailable(error));
        }
        if let Err(refusal) = self.still_so(caller, fresh).await {
            self.take_back(provider.as_ref(), fresh, &minted).await;
            return Err(refusal);
        }
        self.audit.record(&event, self.clock.now());
        if first {
            self.events.publish(session, &event, self.clock.now()).await;
        }
        self.metrics.issued(fresh.order.grant.kind.as_str(), first);
        let until = minted.serve_until.unwrap_or(minted.expires_at).min(fresh.order.session_expires_at);
        self.was_given(session, until);
        Ok(response(fresh, minted, until))
    }

    async fn mint(&self, caller: &Caller, fresh: &Fresh) -> Result<(Arc<dyn Provider>, Minted), ProviderError> {
        let object = fresh
            .provider
            .as_ref()
            .ok_or_else(|| ProviderError::passing(Reason::ProviderNotFound, "the provider is gone"))?;
        let provider = self.providers.get(object).await?;
        let session = session_id(&fresh.session);
        let request = MintRequest {
            session: &session,
            cluster: self.providers.cluster(),
            grant: &fresh.order.grant,
            ttl: fresh.order.ttl,
            now: self.clock.now(),
            handle: issuance_of(&fresh.session).and_then(|i| i.handle.as_deref()),
            held: caller.held.as_deref(),
        };
        let started = Instant::now();
        let minted = timeout(MINT_TIMEOUT, provider.mint(&request)).await.unwrap_or_else(|_| {
            Err(ProviderError::passing(Reason::ProviderUnreachable, "the provider did not answer in time"))
        });
        let outcome = minted.as_ref().map_or_else(|e| e.reason.as_str(), |_| "ok");
        self.metrics.minted(fresh.order.grant.kind.as_str(), outcome, started.elapsed().as_secs_f64());
        minted.map(|minted| (provider, minted))
    }

    async fn failed(&self, session: &CredentialSession, error: &ProviderError) -> Refusal {
        let event = AuditEvent::of(session, EventName::CredentialsRefused, error.reason.as_str(), &error.message);
        self.audit.record(&event, self.clock.now());
        self.events.publish(session, &event, self.clock.now()).await;
        let wait = error.retry_after.map_or(5, |d| d.as_secs().max(1));
        Refusal {
            session: Some(session.name_any()),
            ..refusal(error.reason, error.message.clone(), error.retryable.then_some(wait))
        }
    }

    /// Before the first credential leaves, and each that is revoked by itself: what is needed to revoke it must be on record.
    async fn record(&self, session: &CredentialSession, holder: &Holder, minted: &Minted) -> kube::Result<()> {
        let issued = |old: &Issuance| {
            Some(Issuance {
                credential_id: Some(minted.credential_id.clone()),
                expires_at: Some(minted.expires_at.to_string()),
                handle: minted.recorded(old.handle.as_deref()),
                revoked_at: None,
                // On the pod's first session it stands already, and may have changed since.
                holder: old.holder.clone().or_else(|| Some(holder.clone())),
                stream: old.stream.clone(),
            })
        };
        status::change_issuance(&self.client, session, issued).await
    }

    /// The last look before release: whatever was revoked or changed while the provider was minting is seen by it.
    async fn still_so(&self, caller: &Caller, fresh: &Fresh) -> Result<(), Refusal> {
        let again = self.read(&caller.pod, &fresh.session.name_any()).await?;
        confirm((&fresh.session, &fresh.order), (&again.session, &again.order))?;
        self.still_holds(caller, &again.session).await
    }

    async fn take_back(&self, provider: &dyn Provider, fresh: &Fresh, minted: &Minted) {
        if fresh.order.revocation != RevocationMode::Immediate {
            return;
        }
        if let Err(error) = provider.revoke(&session_id(&fresh.session), minted.handle.as_deref()).await {
            tracing::warn!(%error, session = %fresh.session.name_any(), "a credential that was not handed out could not be taken back; it expires by itself");
        }
    }
}

fn issuance_of(session: &CredentialSession) -> Option<&Issuance> {
    session.status.as_ref()?.issuance.as_ref()
}

fn response(fresh: &Fresh, minted: Minted, until: Timestamp) -> CredentialResponse {
    let order = &fresh.order;
    // Without a setting of its own a sidecar serves a credential for its whole life.
    let grace = order.offline_grace.unwrap_or(order.ttl).as_secs();
    CredentialResponse {
        session: fresh.session.name_any(),
        policy: fresh.session.spec.request.policy_ref.name.clone(),
        expires_at: until.to_string(),
        session_expires_at: order.session_expires_at.to_string(),
        offline_grace_seconds: u64::try_from(grace).unwrap_or_default(),
        digest: order.grant.digest(),
        observe: order.grant.observe,
        credential: minted.credential,
    }
}

/// The session as providers know it.
pub(super) fn session_id(session: &CredentialSession) -> SessionId {
    let request = &session.spec.request;
    SessionId {
        name: session.name_any(),
        uid: session.uid().unwrap_or_default(),
        namespace: session.namespace().unwrap_or_default(),
        service_account: request.agent.service_account.clone(),
        policy: request.policy_ref.name.clone(),
    }
}
