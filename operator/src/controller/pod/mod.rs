//! Pods: an injected pod has the session that it should have.

mod owner;
pub mod plan;

use super::context::{Context, Outcome};
use super::error::Error;
use super::session::end::{AgentEnd, of_pod};
use crate::audit::AuditEvent;
use exeat_crds::{CredentialSession, authority, names};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use plan::{Facts, Plan, plan};
use std::sync::Arc;
use std::time::Duration;

/// How soon a pod of a namespace with too many waiting sessions is looked at again.
const CROWDED: Duration = Duration::from_secs(10);

/// Opens the next session of a pod where one is due.
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
    let policy = pod
        .annotations()
        .get(names::POLICY)
        .and_then(|name| context.caches.policy(&pod.namespace().unwrap_or_default(), name));
    let provider = policy.as_ref().and_then(|p| context.caches.provider(&p.spec.provider_ref.name));
    let authority = policy.as_ref().and_then(|p| authority::resolve(p, provider.as_deref()).ok());
    let facts = Facts { pod: &pod, sessions: &sessions, policy: policy.as_deref(), authority: authority.as_ref() };
    match plan(&facts, now) {
        Plan::Wait(at) => Ok(context.next_look(Outcome::Unchanged, at, now)),
        Plan::Open(session) if is_crowded(&session, &context) => {
            tracing::warn!(pod = %pod.name_any(), namespace = ?pod.namespace(), "too many sessions wait in this namespace: no further one is opened");
            Ok(Action::requeue(CROWDED))
        }
        Plan::Open(mut session) => {
            let agent = &mut session.spec.request.agent;
            if let Some(owner) = agent.workload.take() {
                agent.workload = Some(owner::root(&context.client, &pod.namespace().unwrap_or_default(), owner).await?);
            }
            create(&session, &context).await?;
            Ok(context.next_look(Outcome::Changed, None, now))
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
