//! How long the history of sessions is kept. Pure.

use super::caches::Caches;
use exeat_crds::CredentialSession;
use exeat_crds::v1alpha1::Phase;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

/// How long, and how many for each policy.
#[derive(Clone, Debug)]
pub struct Retention {
    /// A session is removed this long after its end.
    pub age: SignedDuration,
    /// Ended sessions that are kept for each policy; the oldest go first.
    pub count: usize,
}

/// Whether an ended session may be removed. The sessions of a pod that lives stay: without them it would look new, and a revocation
/// would be forgotten.
pub fn is_over(session: &CredentialSession, caches: &Caches, retention: &Retention, now: Timestamp) -> bool {
    let Some(end) = ended_at(session) else { return false };
    let agent = &session.spec.request.agent.pod;
    let pod = ObjectRef::<Pod>::new(&agent.name).within(&session.namespace().unwrap_or_default());
    if caches.pods.get(&pod).is_some_and(|p| p.uid().as_deref() == Some(agent.uid.as_str())) {
        return false;
    }
    if now.duration_since(end) >= retention.age {
        return true;
    }
    let key = (session.namespace(), &session.spec.request.policy_ref.name);
    let newer = caches.sessions.state_filter(|s| {
        (s.namespace(), &s.spec.request.policy_ref.name) == key && ended_at(s).is_some_and(|e| e > end)
    });
    newer.len() >= retention.count
}

/// When a session ended, if it has.
pub fn ended_at(session: &CredentialSession) -> Option<Timestamp> {
    let status = session.status.as_ref()?;
    status.phase.filter(|p: &Phase| p.is_terminal())?;
    status.ended_at.as_ref()?.parse().ok()
}
