//! Tries every provider and every policy, since the issuer alone has the identity to do so. One replica does it: the one with the Lease.

use super::mint::Desk;
use super::soon::Soon;
use super::status::write_probe;
use exeat_crds::authority::{self, Authority, provider_hash};
use exeat_crds::reason::Reason;
use exeat_crds::text;
use exeat_crds::v1alpha1::Probe;
use exeat_crds::{AgentCredentialPolicy, CredentialProvider};
use exeat_providers::{MintRequest, ProviderError, SessionId};
use exeat_runtime::lease::WriteGate;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// A probe that worked is repeated after this long: trust can be withdrawn at any time.
const AGAIN_OK: SignedDuration = SignedDuration::from_mins(10);
/// One that did not, after this long; what was refused and is new, [sooner](super::soon).
const AGAIN_FAILED: SignedDuration = SignedDuration::from_secs(15);
/// Longest time for one probe.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Probes at once.
const CONCURRENCY: usize = 8;
/// Longest message, bytes: conditions hold 1,024.
const MAX_MESSAGE: usize = 1000;
/// Time alone makes probes due.
const PERIOD: Duration = Duration::from_secs(3);

struct Prober {
    desk: Arc<Desk>,
    gate: WriteGate,
    soon: Mutex<Soon>,
}

/// Probes for as long as the gate is open to this replica.
pub(super) async fn run(desk: Arc<Desk>, gate: WriteGate) {
    let prober = &Prober { desk, gate, soon: Mutex::default() };
    let view = &prober.desk.view;
    loop {
        let changed = view.changed.notified();
        let now = prober.now();
        let providers = view.providers.state().into_iter().filter(|p| prober.provider_due(p, now));
        stream::iter(providers).for_each_concurrent(CONCURRENCY, |p| prober.provider(p)).await;
        let policies = view.policies.state().into_iter().filter_map(|p| prober.policy_due(p, now));
        stream::iter(policies).for_each_concurrent(CONCURRENCY, |(p, hash)| prober.policy(p, hash)).await;
        let next = prober.soon(|soon| soon.next(now)).map(|at| at.duration_since(prober.now()));
        let next = next.map_or(PERIOD, |left| Duration::try_from(left).unwrap_or_default().min(PERIOD));
        // An error is that of the time that has passed.
        let _ = timeout(next, changed).await;
    }
}

/// Whether something must be tried (again).
fn is_due(probe: Option<&Probe>, hash: &str, now: Timestamp) -> bool {
    let Some(probe) = probe.filter(|p| p.hash == hash) else { return true };
    let again = if probe.ok { AGAIN_OK } else { AGAIN_FAILED };
    probe.time.parse::<Timestamp>().map_or(true, |at| now.duration_since(at) >= again)
}

fn probe_of_provider(provider: &CredentialProvider) -> Option<&Probe> {
    provider.status.as_ref()?.probe.as_ref()
}

fn probe_of_policy(policy: &AgentCredentialPolicy) -> Option<&Probe> {
    policy.status.as_ref()?.probe.as_ref()
}

impl Prober {
    fn now(&self) -> Timestamp {
        self.desk.clock.now()
    }

    fn soon<T>(&self, with: impl FnOnce(&mut Soon) -> T) -> T {
        with(&mut self.soon.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_due(&self, uid: Option<String>, probe: Option<&Probe>, hash: &str, now: Timestamp) -> bool {
        let again = self.soon(|soon| soon.again(&uid.unwrap_or_default(), hash));
        again.map_or_else(|| is_due(probe, hash, now), |again| again <= now)
    }

    fn note(&self, uid: Option<String>, before: Option<&Probe>, hash: &str, error: Option<&ProviderError>) {
        let new = before.is_none_or(|probe| probe.hash != hash);
        // Who does not answer is not asked sooner.
        let refused = error.is_some_and(|error| !error.retryable);
        self.soon(|soon| soon.note(&uid.unwrap_or_default(), hash, new, refused, self.now()));
    }

    fn provider_due(&self, provider: &CredentialProvider, now: Timestamp) -> bool {
        let probe = probe_of_provider(provider);
        authority::kind_of(provider).is_ok() && self.is_due(provider.uid(), probe, &provider_hash(provider), now)
    }

    fn policy_due(
        &self,
        policy: Arc<AgentCredentialPolicy>,
        now: Timestamp,
    ) -> Option<(Arc<AgentCredentialPolicy>, String)> {
        let reference = kube::runtime::reflector::ObjectRef::new(&policy.spec.provider_ref.name);
        let provider = self.desk.view.providers.get(&reference);
        let hash = authority::resolve(&policy, provider.as_deref()).ok()?.hash;
        self.is_due(policy.uid(), probe_of_policy(&policy), &hash, now).then_some((policy, hash))
    }

    async fn provider(&self, provider: Arc<CredentialProvider>) {
        let (desk, hash) = (&self.desk, provider_hash(&provider));
        let tried = async { desk.providers.get(&provider).await?.probe_identity().await };
        let result = in_time(tried).await;
        self.note(provider.uid(), probe_of_provider(&provider), &hash, result.as_ref().err());
        let mut probe = probe_of(&hash, result.as_ref().err(), "the provider answers", self.now());
        if let Ok(identity) = result {
            probe.identity = identity.identity;
            probe.chained = Some(identity.chained);
        }
        let api: Api<CredentialProvider> = Api::all(desk.client.clone());
        if self.gate.check().is_ok()
            && let Err(error) = write_probe(&api, "CredentialProvider", provider.as_ref(), &probe).await
        {
            tracing::warn!(%error, provider = %provider.name_any(), "a probe could not be written");
        }
    }

    async fn policy(&self, policy: Arc<AgentCredentialPolicy>, hash: String) {
        let desk = &self.desk;
        let result = try_policy(desk, &policy).await;
        self.note(policy.uid(), probe_of_policy(&policy), &hash, result.as_ref().err());
        let fine = "the principal was assumed with this policy";
        let mut probe = probe_of(&hash, result.as_ref().err(), fine, self.now());
        if let Ok(packed) = result {
            probe.packed_policy_percent = packed;
        }
        let namespace = policy.namespace().unwrap_or_default();
        let api: Api<AgentCredentialPolicy> = Api::namespaced(desk.client.clone(), &namespace);
        if self.gate.check().is_ok()
            && let Err(error) = write_probe(&api, "AgentCredentialPolicy", policy.as_ref(), &probe).await
        {
            tracing::warn!(%error, policy = %policy.name_any(), "a probe could not be written");
        }
    }
}

/// Tries each principal of the policy once, one after the other: 64 at most, and not all at once at the provider. What is told of a policy
/// with several names the service account.
async fn try_policy(desk: &Desk, policy: &AgentCredentialPolicy) -> Result<Option<i32>, ProviderError> {
    let reference = kube::runtime::reflector::ObjectRef::new(&policy.spec.provider_ref.name);
    let object = desk.view.providers.get(&reference);
    let authority = authority::resolve(policy, object.as_deref())?;
    let object = object.ok_or_else(|| ProviderError::passing(Reason::ProviderNotFound, "the provider is gone"))?;
    let principals = authority.principals.distinct();
    let several = principals.len() > 1;
    let mut packed = None;
    for (account, _) in principals {
        let tried = in_time(try_account(desk, policy, &object, &authority, account)).await;
        packed = packed.max(tried.map_err(|error| if several { of_account(error, account) } else { error })?);
    }
    Ok(packed)
}

fn of_account(error: ProviderError, account: &str) -> ProviderError {
    let message = format!("service account {account}: {}", error.message);
    ProviderError { message: text::cut(&message, MAX_MESSAGE).to_owned(), ..error }
}

async fn try_account(
    desk: &Desk,
    policy: &AgentCredentialPolicy,
    provider: &CredentialProvider,
    authority: &Authority,
    account: &str,
) -> Result<Option<i32>, ProviderError> {
    let grant = authority.grant(account, None)?;
    let uid = policy.uid().unwrap_or_default();
    let session = SessionId {
        name: format!("probe-{}", text::cut(&exeat_crds::digest::sha256_hex(uid.as_bytes()), 16)),
        uid,
        namespace: policy.namespace().unwrap_or_default(),
        service_account: account.to_owned(),
        policy: policy.name_any(),
    };
    let ttl = authority::bounds(authority.kind).0;
    let request = MintRequest {
        session: &session,
        cluster: desk.providers.cluster(),
        grant: &grant,
        ttl,
        now: desk.clock.now(),
        handle: None,
        held: None,
    };
    Ok(desk.providers.get(provider).await?.probe_grant(&request).await?.packed_policy_percent)
}

async fn in_time<T>(tried: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    timeout(TIMEOUT, tried).await.unwrap_or_else(|_| {
        Err(ProviderError::passing(Reason::ProviderUnreachable, "the provider did not answer in time"))
    })
}

fn probe_of(hash: &str, error: Option<&ProviderError>, fine: &str, now: Timestamp) -> Probe {
    Probe {
        hash: hash.to_owned(),
        ok: error.is_none(),
        reason: error.map_or(Reason::Ready, |e| e.reason).as_str().to_owned(),
        message: error.map_or(fine, |e| e.message.as_str()).to_owned(),
        time: exeat_crds::condition::whole_seconds(now).to_string(),
        ..Probe::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_due_when_it_is_of_something_else_or_old() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let at = |minutes: i64, ok| Probe {
            hash: "h".into(),
            ok,
            time: now.checked_sub(SignedDuration::from_mins(minutes)).unwrap().to_string(),
            ..Probe::default()
        };
        assert!(is_due(None, "h", now));
        assert!(is_due(Some(&at(0, true)), "other", now));
        assert!(!is_due(Some(&at(9, true)), "h", now));
        assert!(is_due(Some(&at(10, true)), "h", now));
        assert!(!is_due(Some(&at(0, false)), "h", now));
        assert!(is_due(Some(&at(1, false)), "h", now));
    }
}
