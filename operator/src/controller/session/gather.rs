use super::decide::expiry;
use super::end::{AgentEnd, End, of_pod};
use super::judge::{judge, judge_again};
use crate::controller::context::Context;
use crate::controller::error::Error;
use exeat_crds::authority::Authority;
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::v1alpha1::Phase;
use exeat_crds::{AgentCredentialPolicy, Approval, CredentialHold, CredentialProvider, CredentialSession, authority};
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
    let approvals = context.caches.approvals_of(&namespace, &request.policy_ref.name);
    let room = !undecided || context.caches.open_approvals(&namespace) < context.max_open_approvals;
    Ok(Gathered { policy, provider, agent, pod, hold, approvals, room })
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
