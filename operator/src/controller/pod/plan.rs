//! Which session a pod should have next. Pure.

use crate::controller::session::decide::expiry;
use exeat_crds::approval::is_person;
use exeat_crds::authority::{self, Authority, PodAsk};
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{
    Agent, AgentCredentialPolicy, CredentialSession, CredentialSessionSpec, NameRef, ObjectRef, OnExpiry, Phase,
    Requester, SessionRequest,
};
use exeat_crds::{duration, names, pod_policies};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use std::sync::Arc;

/// Stands for what a session's policy can't tell while it can't be resolved, its UID and authority hash among it: it never equals one that can.
pub const UNRESOLVED: &str = "unresolved";

/// What to do for a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Open this session.
    Open(Box<CredentialSession>),
    /// Nothing now; look again then, where time alone changes something.
    Wait(Option<Timestamp>),
}

/// What a pod's next session is planned from.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The pod: alive and injected.
    pub pod: &'a Pod,
    /// The policy that is planned for: a pod that names several has sessions of each, which know nothing of each other.
    pub name: &'a str,
    /// The sessions that the pod has or had, of whatever policy.
    pub sessions: &'a [Arc<CredentialSession>],
    /// The policy of that name.
    pub policy: Option<&'a AgentCredentialPolicy>,
    /// What that policy may hand out now.
    pub authority: Option<&'a Authority>,
}

/// Plans. The newest session of the policy alone decides: a person's revocation and a finished agent are final, an expiry is renewed as the policy
/// says, and a change of authority opens a session that is decided afresh.
pub fn plan(facts: &Facts<'_>, now: Timestamp) -> Plan {
    let own = facts.sessions.iter().filter(|s| s.spec.request.policy_ref.name == facts.name);
    let Some(newest) = own.max_by_key(|s| s.spec.request.number) else {
        return open(facts, 1, None);
    };
    let request = &newest.spec.request;
    let status = newest.status.clone().unwrap_or_default();
    let next = || open(facts, request.number.saturating_add(1), Some(&request.agent));
    let new_authority = || facts.authority.is_some_and(|a| a.hash != request.authority_hash);
    match status.phase {
        None | Some(Phase::Pending | Phase::AwaitingApproval) => Plan::Wait(None),
        Some(Phase::Active) => match renewal(&status, facts.authority) {
            Some(at) if at <= now => next(),
            at => Plan::Wait(at),
        },
        Some(Phase::Expired) => match facts.authority {
            Some(a) if a.on_expiry == OnExpiry::Renew => next(),
            _ => Plan::Wait(None),
        },
        Some(Phase::Revoked) if status.reason.as_deref() == Some(Reason::SessionRevoked.as_str()) => Plan::Wait(None),
        Some(Phase::Revoked | Phase::Denied) if new_authority() => next(),
        // What was revoked for a provider that was away has the same authority when it is back.
        Some(Phase::Revoked) if facts.authority.is_some() => next(),
        Some(_) => Plan::Wait(None),
    }
}

/// When the next session is opened ahead of the end of this one, so that no credential is missing in between: the provider's shortest
/// credential before the end, at most a quarter of the session.
fn renewal(status: &exeat_crds::v1alpha1::CredentialSessionStatus, authority: Option<&Authority>) -> Option<Timestamp> {
    let authority = authority.filter(|a| a.on_expiry == OnExpiry::Renew)?;
    let end = expiry(status)?;
    let start: Timestamp = status.started_at.as_ref()?.parse().ok()?;
    let quarter = SignedDuration::from_secs(end.duration_since(start).as_secs() / 4);
    end.checked_sub(authority::bounds(authority.kind).0.min(quarter)).ok()
}

/// `before`: of the session before this one. What stands above the pod is found out with its first session, and nothing that is written on it
/// since changes that.
fn open(facts: &Facts<'_>, number: i32, before: Option<&Agent>) -> Plan {
    let pod = facts.pod;
    let annotations = pod.annotations();
    let (Some(pod_uid), Some(namespace)) = (pod.uid(), pod.namespace()) else { return Plan::Wait(None) };
    let ask = facts.authority.and_then(|a| authority::ask_of_pod(a, annotations).ok()).unwrap_or_default();
    let PodAsk { allow, duration: asked, justification } = ask;
    let request = SessionRequest {
        policy_ref: ObjectRef {
            name: facts.name.to_owned(),
            uid: facts.policy.and_then(ResourceExt::uid).unwrap_or_else(|| UNRESOLVED.to_owned()),
        },
        provider_ref: NameRef {
            name: facts.policy.map_or_else(|| UNRESOLVED.to_owned(), |p| p.spec.provider_ref.name.clone()),
        },
        authority_hash: facts.authority.map_or_else(|| UNRESOLVED.to_owned(), |a| a.hash.clone()),
        agent: Agent {
            service_account: service_account(pod).to_owned(),
            pod: ObjectRef { name: pod.name_any(), uid: pod_uid.clone() },
            workload: before.and_then(|agent| agent.workload.clone()),
        },
        number,
        primary: pod_policies::primary(annotations),
        requester: requester(pod),
        holder_key: None,
        allow,
        duration: asked.map(duration::format),
        justification,
    };
    let mut session = CredentialSession::new(
        &names::session_name(&pod.name_any(), &pod_uid, facts.name, number),
        CredentialSessionSpec { request, revoke: None },
    );
    session.metadata = ObjectMeta {
        name: session.metadata.name,
        namespace: Some(namespace),
        labels: Some([(names::POD_UID_LABEL.to_owned(), pod_uid)].into()),
        ..ObjectMeta::default()
    };
    Plan::Open(Box::new(session))
}

/// The account that a pod runs as.
pub fn service_account(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref()).unwrap_or("default")
}

/// The person who created a pod, as stamped at its admission.
pub fn requester(pod: &Pod) -> Option<Requester> {
    let name = pod.annotations().get(names::REQUESTER).filter(|n| is_person(n))?;
    Some(Requester { username: name.clone() })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
