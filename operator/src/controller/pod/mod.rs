//! Pods: an injected pod has the session that it should have.

mod behind;
mod owner;
pub mod plan;

use super::context::{Context, Outcome};
use super::error::Error;
use super::session::end::{AgentEnd, of_pod};
use crate::audit::AuditEvent;
use exeat_crds::{CredentialSession, authority, names, pod_policies};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use plan::{Facts, Plan, plan};
use std::sync::Arc;

/// How soon a pod of a namespace with too many waiting sessions is looked at again.
const CROWDED: SignedDuration = SignedDuration::from_secs(10);
/// How soon one is looked at again whose policy the caches lack, if its event does not come first.
const BEHIND: SignedDuration = SignedDuration::from_secs(10);

/// Opens the next session of each of a pod's policies where one is due.
///
/// # Errors
/// What the API server refused; it is tried again.
pub async fn reconcile(pod: Arc<Pod>, context: Arc<Context>) -> Result<Action, Error> {
    let _timer = context.metrics.reconcile_timer("pod");
    let now = context.clock.now();
    if of_pod(&pod, false) != AgentEnd::Alive || pod.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let Some(uid) = pod.uid() else { return Ok(Action::await_change()) };
    let sessions = context.caches.sessions_of(&uid);
    let (mut soonest, mut failed) = (None, None);
    for name in pod_policies::of(pod.annotations()) {
        match open_next(&pod, &name, &sessions, &context, now).await {
            Ok(at) => soonest = [soonest, at].into_iter().flatten().min(),
            // What fails for one policy keeps nothing from the others.
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or_else(|| Ok(context.next_look(Outcome::Unchanged, soonest, now)), Err)
}

/// Opens the pod's next session of one of its policies, where one is due. Returns when time alone changes something.
async fn open_next(
    pod: &Pod,
    name: &str,
    sessions: &[Arc<CredentialSession>],
    context: &Context,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let namespace = pod.namespace().unwrap_or_default();
    let policy = context.caches.policy(&namespace, name);
    let provider = policy.as_ref().and_then(|p| context.caches.provider(&p.spec.provider_ref.name));
    let authority = policy.as_ref().and_then(|p| authority::resolve(p, provider.as_deref()).ok());
    let facts = Facts { pod, name, sessions, policy: policy.as_deref(), authority: authority.as_ref() };
    match plan(&facts, now) {
        Plan::Wait(at) => Ok(at),
        Plan::Open(session) if is_crowded(&session, context) => {
            tracing::warn!(pod = %pod.name_any(), namespace, "too many sessions wait in this namespace: no further one is opened");
            Ok(now.checked_add(CROWDED).ok())
        }
        Plan::Open(_) if behind::lacks(&context.caches, &context.client, &namespace, name).await? => {
            Ok(now.checked_add(BEHIND).ok())
        }
        Plan::Open(mut session) => {
            let request = &mut session.spec.request;
            if request.number == 1 {
                request.agent.workload = owner::of_pod(&context.client, pod).await?;
            }
            create(&session, context).await?;
            Ok(None)
        }
    }
}

/// A namespace whose pods all wait must not fill the store and the queues of all others.
fn is_crowded(session: &CredentialSession, context: &Context) -> bool {
    context.caches.waiting_in(&session.namespace().unwrap_or_default()) >= context.max_pending
}

/// The name is derived from pod, policy and number: a second try finds the first one's object.
async fn create(session: &CredentialSession, context: &Context) -> Result<(), Error> {
    context.gate.check()?;
    let api: Api<CredentialSession> = Api::namespaced(context.client.clone(), &session.namespace().unwrap_or_default());
    match api
        .create(&PostParams { field_manager: Some(names::CONTROLLER.to_owned()), ..PostParams::default() }, session)
        .await
    {
        Ok(created) => {
            let event = AuditEvent::session_created(&created);
            context.audit.record(&event, context.clock.now());
            context.events.publish_beside(&created, event, context.clock.now());
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 409 || is_terminating(&status) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The namespace is going: nothing can be created in it, and nothing needs to be.
fn is_terminating(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|d| &d.causes);
    status.code == 403 && causes.into_iter().any(|c| c.reason == "NamespaceTerminating")
}
