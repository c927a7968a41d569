//! What agents use under policies in mode Observe: told by their sidecars, put together in memory, and written to `status.suggested` of the
//! policy now and then. Whatever is told changes nothing else: no decision and no mint reads it.

use super::authorities::key_of;
use super::hold::Caller;
use super::mint::{Desk, refusal};
use super::status::write_suggested;
use exeat_crds::authority;
use exeat_crds::observed::{Delta, Told, Use, aws};
use exeat_crds::reason::Reason;
use exeat_crds::rules::Kind;
use exeat_crds::v1alpha1::Mode;
use exeat_crds::{AgentCredentialPolicy, CredentialSession};
use exeat_wire::{MAX_OBSERVED, ObservedCall, ObservedReport, Operation, Refusal};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// A policy is written at most once in this time by each replica, however much is told.
const EVERY: Duration = Duration::from_secs(10);
/// Most time for what is left at the end.
const LAST: Duration = Duration::from_secs(5);
/// Writes that are tried: each one that fails means that somebody else's has passed.
const ATTEMPTS: usize = 5;

/// Namespace, name and UID of a policy.
type Key = (String, String, String);

/// What was told and is not written yet.
#[derive(Default)]
pub(super) struct Learning {
    pending: Mutex<HashMap<Key, Delta>>,
}

impl Learning {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Delta>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes for ever.
pub(super) async fn run(desk: Arc<Desk>) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        desk.write_suggestions().await;
    }
}

/// Writes what is left, if that can be done soon.
pub(super) async fn finish(desk: &Desk) {
    let _ = timeout(LAST, desk.write_suggestions()).await;
}

impl Desk {
    /// Takes a report of the sidecar that holds its pod's credentials. `key` is the fingerprint of its holder key.
    ///
    /// # Errors
    /// As for a stream; [`Reason::NotObserving`] where the session is not the pod's, or its policy does not look on.
    pub(super) async fn learn(&self, token: &str, key: String, report: ObservedReport) -> Result<(), Refusal> {
        let (pod, _turn) = self.admit_report(token).await?;
        let sessions = self.view.of_pod(&pod.pod_uid);
        let session = sessions.iter().find(|s| s.name_any() == report.session);
        let session = session.ok_or_else(|| uninterested("the session is none of this pod's"))?;
        let policies = vec![session.spec.request.policy_ref.name.clone()];
        let caller = Caller { pod, key, held: None, policies };
        self.may_stream(&caller).await?;
        let (policy, kind) = self.looking_on(session)?;
        let key = (caller.pod.namespace, policy.name_any(), policy.uid().unwrap_or_default());
        let now = self.clock.now();
        let mut pending = self.learning.lock();
        let delta = pending.entry(key).or_default();
        delta.session(&workload(session), report.first, now);
        delta.omit(report.dropped);
        for (i, call) in report.calls.iter().enumerate() {
            match uses(kind, &call.what).filter(|_| i < MAX_OBSERVED) {
                Some(needed) => needed.into_iter().for_each(|(what, unsure)| delta.used(what, told(call, unsure), now)),
                None => delta.omit(u64::from(call.calls)),
            }
        }
        Ok(())
    }

    /// The policy of a session that rests on it still, if it looks on.
    fn looking_on(&self, session: &CredentialSession) -> Result<(Arc<AgentCredentialPolicy>, Kind), Refusal> {
        self.view.stands(session, self.clock.now()).map_err(|refused| uninterested(&refused.message))?;
        let (namespace, name) = key_of(session);
        let policy = self.view.policies.get(&ObjectRef::new(&name).within(&namespace));
        let policy = policy.filter(|p| p.spec.mode == Mode::Observe);
        let policy = policy.ok_or_else(|| uninterested("the session's policy is not in mode Observe"))?;
        let provider = self.view.providers.get(&ObjectRef::new(&policy.spec.provider_ref.name));
        let kind = provider.and_then(|provider| authority::kind_of(&provider).ok());
        Ok((policy, kind.ok_or_else(|| uninterested("the policy's provider is gone"))?))
    }

    /// Writes all that was told since the last time. What can't be written is kept.
    pub(super) async fn write_suggestions(&self) {
        let pending = std::mem::take(&mut *self.learning.lock());
        for (key, mut delta) in pending {
            if let Err(error) = self.write_suggestion(&key, &delta).await {
                tracing::warn!(%error, namespace = key.0, policy = key.1, "what agents used could not be written yet");
                let mut pending = self.learning.lock();
                delta.join(pending.remove(&key).unwrap_or_default());
                pending.insert(key, delta);
            }
        }
    }

    async fn write_suggestion(&self, (namespace, name, uid): &Key, delta: &Delta) -> kube::Result<()> {
        let api: Api<AgentCredentialPolicy> = Api::namespaced(self.client.clone(), namespace);
        let mut attempt = 1;
        loop {
            let Some(policy) = api.get_opt(name).await? else { return Ok(()) };
            // Another policy of the name, or one that has begun to enforce: nobody wants it any more.
            if policy.uid().as_ref() != Some(uid) || policy.spec.mode != Mode::Observe {
                return Ok(());
            }
            let old = policy.status.as_ref().and_then(|s| s.suggested.as_ref());
            let new = delta.onto(old, &policy.spec.provider_ref.name, &policy.spec.principal);
            match write_suggested(&api, &policy, &new).await {
                Err(kube::Error::Api(status)) if status.code == 409 && attempt < ATTEMPTS => attempt += 1,
                written => return written,
            }
        }
    }
}

fn uninterested(why: &str) -> Refusal {
    refusal(Reason::NotObserving, why, None)
}

fn workload(session: &CredentialSession) -> String {
    let agent = &session.spec.request.agent;
    match &agent.workload {
        Some(workload) => format!("{}/{}", workload.kind, workload.name),
        None => format!("Pod/{}", agent.pod.name),
    }
}

fn told(call: &ObservedCall, unsure: bool) -> Told {
    Told { calls: call.calls, denied: call.denied, first: call.first, unsure }
}

/// What a policy of this kind must allow for an operation, and whether that is but assumed. `None` for what can't be read.
fn uses(kind: Kind, what: &Operation) -> Option<Vec<(Use, bool)>> {
    match (kind, what) {
        (Kind::Aws, Operation::Aws { service, operation }) => {
            let needed = aws::needed(service, operation)?;
            let of = |action| (Use { action, resource: None }, needed.unsure);
            Some(needed.actions.into_iter().map(of).collect())
        }
        (Kind::Vault, Operation::Vault { verb, path }) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@=,~/".contains(c);
            let known = ["read", "list", "write", "patch", "delete"].contains(&verb.as_str());
            let used = Use { action: verb.clone(), resource: Some(path.clone()) };
            (known && !path.is_empty() && path.chars().all(plain)).then(|| vec![(used, false)])
        }
        _ => None,
    }
}
