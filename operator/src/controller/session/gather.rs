use super::decide::expiry;
use super::end::{AgentEnd, End, of_pod};
use super::judge::{judge, judge_again};
use crate::controller::context::Context;
use crate::controller::error::Error;
use exeat_crds::authority::Authority;
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::v1alpha1::Phase;
use exeat_crds::{
    AgentCredentialPolicy, Approval, CredentialHold, CredentialProvider, CredentialSession, approval, authority,
};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use std::sync::Arc;

/// What a decision needs, owned.
pub(super) struct Gathered {
    pub(super) policy: Option<Arc<AgentCredentialPolicy>>,
    pub(super) provider: Option<Arc<CredentialProvider>>,
    pub(super) agent: AgentEnd,
    pub(super) pod: Option<Result<(), Refused>>,
    pub(super) hold: Option<Arc<CredentialHold>>,
    pub(super) approvals: Vec<Arc<Approval>>,
    pub(super) room: bool,
}

/// Reads everything from the caches, but the pod of a session that is not active yet: that one is read whole from the API server.
pub(super) async fn gather(session: &CredentialSession, context: &Context) -> Result<Gathered, Error> {
    let request = &session.spec.request;
    let namespace = session.namespace().unwrap_or_default();
    let policy = context.caches.policy(&namespace, &request.policy_ref.name);
    let provider = policy.as_ref().and_then(|p| context.caches.provider(&p.spec.provider_ref.name));
    let phase = session.status.as_ref().and_then(|s| s.phase);
    let authority = || authority::resolve(policy.as_deref()?, provider.as_deref()).ok();
    let (agent, pod) = match phase {
        Some(phase) if phase.is_terminal() => (AgentEnd::Alive, None),
        Some(Phase::Active) => {
            let (agent, pod) = find_agent(session, context).await?;
            let verdict = policy.as_deref().zip(authority()).zip(pod);
            (agent, verdict.map(|((policy, authority), pod)| judge_again(&pod, request, policy, &authority)))
        }
        _ => match (find_agent(session, context).await?.0, policy.as_deref().zip(authority())) {
            (AgentEnd::Alive, Some((policy, authority))) => {
                (AgentEnd::Alive, Some(judge_pod(session, policy, &authority, context).await?))
            }
            (agent, _) => (agent, None),
        },
    };
    let undecided = matches!(phase, None | Some(Phase::Pending | Phase::AwaitingApproval));
    let hold = if undecided { context.caches.hold(&namespace, request) } else { None };
    let approvals = approvals(session, context).await?;
    let room = !undecided || context.caches.has_room(&namespace, context.max_open_approvals, context.clock.now());
    Ok(Gathered { policy, provider, agent, pod, hold, approvals, room })
}

/// What people were asked under the session's policy. The use that opened a session is written before the session says so, but their
/// watches are not in step: one that is not seen yet is read from the API server.
async fn approvals(session: &CredentialSession, context: &Context) -> Result<Vec<Arc<Approval>>, Error> {
    let namespace = session.namespace().unwrap_or_default();
    let mut known = context.caches.approvals_of(&namespace, &session.spec.request.policy_ref.name);
    if let Some(name) = unseen(session, &known) {
        let api: Api<Approval> = Api::namespaced(context.client.clone(), &namespace);
        let fresh = api.get_opt(&name).await?;
        known.retain(|a| a.name_any() != name);
        known.extend(fresh.map(Arc::new));
    }
    Ok(known)
}

/// The approval that an active session names, where what is known of it does not show that it opened this session.
fn unseen(session: &CredentialSession, known: &[Arc<Approval>]) -> Option<String> {
    let status = session.status.as_ref().filter(|s| s.phase == Some(Phase::Active))?;
    let name = &status.approval_ref.as_ref()?.name;
    let uid = session.uid().unwrap_or_default();
    let seen = known.iter().any(|a| a.name_any() == *name && approval::opened(a, &uid));
    (!seen).then(|| name.clone())
}

async fn judge_pod(
    session: &CredentialSession,
    policy: &AgentCredentialPolicy,
    authority: &Authority,
    context: &Context,
) -> Result<Result<(), Refused>, Error> {
    let request = &session.spec.request;
    Ok(match pods(session, context).get_opt(&request.agent.pod.name).await? {
        Some(pod) => judge(&pod, request, policy, authority),
        None => Err(Refused::new(Reason::PodGone, format!("pod {:?} is gone", request.agent.pod.name))),
    })
}

/// How the agent ended, by the watch of injected pods, and its pod. A pod that the watch does not know is looked up: the cache may be
/// young, or the pod is none of ours.
async fn find_agent(session: &CredentialSession, context: &Context) -> Result<(AgentEnd, Option<Arc<Pod>>), Error> {
    let reference = &session.spec.request.agent.pod;
    if let Some(end) = context.caches.end_of(&reference.uid) {
        return Ok((AgentEnd::Ended(end), None));
    }
    let ours = |pod: &Pod| pod.uid().as_deref() == Some(reference.uid.as_str());
    let key = ObjectRef::<Pod>::new(&reference.name).within(&session.namespace().unwrap_or_default());
    let found = match context.caches.pods.get(&key).filter(|p| ours(p)) {
        Some(pod) => Some(pod),
        None => pods(session, context).get_opt(&reference.name).await?.filter(ours).map(Arc::new),
    };
    let end = match &found {
        Some(pod) => of_pod(pod, false),
        None => AgentEnd::Ended(if expiry(&session.status.clone().unwrap_or_default()).is_some() {
            End::Unknown
        } else {
            End::Deleted
        }),
    };
    Ok((end, found))
}

fn pods(session: &CredentialSession, context: &Context) -> Api<Pod> {
    Api::namespaced(context.client.clone(), &session.namespace().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use exeat_crds::v1alpha1::{ApprovalSpec, ApprovalStatus};
    use serde_json::json;

    #[test]
    fn a_use_that_the_watch_has_not_told_of_is_looked_up_and_no_other() {
        let session = |phase: &str, approval: Option<&str>| -> CredentialSession {
            serde_json::from_value(json!({
                "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession", "metadata": {"name": "s-1", "uid": "s1"},
                "spec": {"request": {"policyRef": {"name": "p", "uid": "u"}, "providerRef": {"name": "here"}, "authorityHash": "h", "number": 1,
                    "agent": {"serviceAccount": "sa", "pod": {"name": "a", "uid": "u"}}}},
                "status": {"phase": phase, "approvalRef": approval.map(|name| json!({"name": name}))}}))
            .unwrap()
        };
        let approval = |name: &str, consumers: &[&str]| {
            let mut approval = Approval::new(name, ApprovalSpec { request: Default::default(), decisions: vec![] });
            let consumers = consumers.iter().map(|c| (*c).to_owned()).collect();
            approval.status = Some(ApprovalStatus { consumers, ..ApprovalStatus::default() });
            Arc::new(approval)
        };
        for (session, known, looked_up) in [
            (session("Active", Some("a")), vec![approval("a", &["s1"])], None),
            (session("Active", Some("a")), vec![approval("a", &["other"])], Some("a")),
            (session("Active", Some("a")), vec![approval("b", &["s1"])], Some("a")),
            (session("Active", None), vec![], None),
            (session("AwaitingApproval", Some("a")), vec![approval("a", &[])], None),
        ] {
            assert_eq!(unseen(&session, &known).as_deref(), looked_up, "{known:?}");
        }
    }
}
