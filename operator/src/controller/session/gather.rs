use super::decide::expiry;
use super::end::{AgentEnd, End, of_pod};
use super::judge::judge;
use crate::controller::context::Context;
use crate::controller::error::Error;
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
    let namespace = session.namespace().unwrap_or_default();
    let request = &session.spec.request;
    let policy = context.caches.policy(&namespace, &request.policy_ref.name);
    let provider = policy.as_ref().and_then(|p| context.caches.provider(&p.spec.provider_ref.name));
    let phase = session.status.as_ref().and_then(|s| s.phase);
    let agent = match phase {
        Some(phase) if phase.is_terminal() => AgentEnd::Alive,
        _ => agent_end(session, &namespace, context).await?,
    };
    let undecided = matches!(phase, None | Some(Phase::Pending | Phase::AwaitingApproval));
    let pod = match (&policy, undecided && agent == AgentEnd::Alive) {
        (Some(policy), true) => judge_pod(session, &namespace, policy, provider.as_deref(), context).await?,
        _ => None,
    };
    let hold = if undecided { context.caches.hold(&namespace, request) } else { None };
    let approvals = context.caches.approvals_of(&namespace, &request.policy_ref.name);
    let room = !undecided || context.caches.open_approvals(&namespace) < context.max_open_approvals;
    Ok(Gathered { policy, provider, agent, pod, hold, approvals, room })
}

async fn judge_pod(
    session: &CredentialSession,
    namespace: &str,
    policy: &AgentCredentialPolicy,
    provider: Option<&CredentialProvider>,
    context: &Context,
) -> Result<Option<Result<(), Refused>>, Error> {
    let Ok(authority) = authority::resolve(policy, provider) else { return Ok(None) };
    let request = &session.spec.request;
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    Ok(Some(match pods.get_opt(&request.agent.pod.name).await? {
        Some(pod) => judge(&pod, request, policy, &authority),
        None => Err(Refused::new(Reason::PodGone, format!("pod {:?} is gone", request.agent.pod.name))),
    }))
}

/// The watch of injected pods says how an agent ended. A pod that it does not know is looked up once: the cache may be young.
async fn agent_end(session: &CredentialSession, namespace: &str, context: &Context) -> Result<AgentEnd, Error> {
    let reference = &session.spec.request.agent.pod;
    if let Some(end) = context.caches.end_of(&reference.uid) {
        return Ok(AgentEnd::Ended(end));
    }
    let key = ObjectRef::<Pod>::new(&reference.name).within(namespace);
    if let Some(pod) = context.caches.pods.get(&key).filter(|p| p.uid().as_deref() == Some(reference.uid.as_str())) {
        return Ok(of_pod(&pod, false));
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let found = pods.get_opt(&reference.name).await?.filter(|p| p.uid().as_deref() == Some(reference.uid.as_str()));
    Ok(match found {
        Some(pod) => of_pod(&pod, false),
        None => AgentEnd::Ended(if expiry(&session.status.clone().unwrap_or_default()).is_some() {
            End::Unknown
        } else {
            End::Deleted
        }),
    })
}
