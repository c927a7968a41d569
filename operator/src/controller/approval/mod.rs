//! Approval: what people's words come to. A session uses one in `session/apply`; here it is told where it stands.

mod afresh;
pub mod decide;
mod write;

pub(super) use write::{Created, consume, create, notified};

use super::context::{Context, Outcome};
use super::error::Error;
use crate::audit::{AuditEvent, EventName};
use crate::controller::session::gate::waits_for;
use decide::{Decision, Facts, decide, kept_until};
use exeat_crds::v1alpha1::{ApprovalPhase, ApprovalStatus, Phase, Verdict};
use exeat_crds::{Approval, CredentialSession, condition};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Preconditions};
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use std::sync::Arc;

/// Brings one approval to what it should be.
///
/// # Errors
/// What the API server refused; it is tried again.
pub async fn reconcile(approval: Arc<Approval>, context: Arc<Context>) -> Result<Action, Error> {
    let _timer = context.metrics.reconcile_timer("approval");
    context.gate.check()?;
    let now = context.clock.now();
    let decision = judge(&approval, &context, now).await?; // caches; client before a question is ended for good
    let outcome = apply(&approval, &decision, &context, now).await?; // client
    if retire(&approval, &decision.status, &context, now).await? == Outcome::Gone {
        return Ok(Action::await_change());
    }
    Ok(context.next_look(outcome, decision.look_again, now))
}

async fn judge(approval: &Approval, context: &Context, now: Timestamp) -> Result<Decision, Error> {
    let request = &approval.spec.request;
    let namespace = approval.namespace().unwrap_or_default();
    let policy = afresh::policy(approval, &context.caches, &context.client).await?;
    let session = request
        .session_ref
        .as_ref()
        .and_then(|s| context.caches.sessions.get(&ObjectRef::<CredentialSession>::new(&s.name).within(&namespace)));
    let awaited = context.caches.waiting_sessions(&namespace).iter().any(|s| waits_for(s, approval));
    let facts = Facts {
        approval,
        authority: policy.authority.as_deref(),
        policy_gone: policy.gone,
        session: session.as_deref(),
        awaited,
        recurs: !awaited && afresh::recurs(approval, &context.client).await?,
        patience: context.approval_patience,
    };
    Ok(decide(&facts, now))
}

/// Writes the status if it changed, and says what is new in it.
async fn apply(approval: &Approval, decision: &Decision, context: &Context, now: Timestamp) -> Result<Outcome, Error> {
    if approval.status.as_ref() == Some(&decision.status) {
        return Ok(Outcome::Unchanged);
    }
    context.gate.check()?;
    match write::status(approval, &decision.status, context).await {
        Ok(_) => {}
        // Somebody else's word or use came first, and the watch brings it.
        Err(kube::Error::Api(status)) if status.code == 409 => return Ok(Outcome::Unchanged),
        Err(error) => return Err(error.into()),
    }
    announce(approval, decision, context, now).await;
    Ok(Outcome::Changed)
}

async fn announce(approval: &Approval, decision: &Decision, context: &Context, now: Timestamp) {
    let old = approval.status.as_ref().and_then(|s| s.phase);
    let new = decision.status.phase;
    let mut events = Vec::new();
    if old.is_none() {
        let message = format!("rules {}", approval.spec.request.rules.join(", "));
        events.push(AuditEvent::of_approval(approval, EventName::ApprovalRequested, "ApprovalPending", &message));
    }
    for word in &decision.news {
        let said = if word.verdict == Verdict::Approve { "approves" } else { "says no" };
        let why = if word.comment.is_empty() { String::new() } else { format!(": {}", word.comment) };
        let message = format!("{} {said}{why}", word.approver);
        let mut event =
            AuditEvent::of_approval(approval, EventName::ApprovalDecided, &format!("{:?}", word.verdict), &message);
        event.approver = Some(word.approver.clone());
        events.push(event);
    }
    if old != new && new.is_some_and(|p| p != ApprovalPhase::Pending) {
        let told = condition::get(&decision.status.conditions, "Decided");
        let (reason, message) = told.map_or(("", ""), |c| (c.reason.as_str(), c.message.as_str()));
        events.push(AuditEvent::of_approval(approval, EventName::ApprovalSettled, reason, message));
        // What was approved also expires when its time of use is over: that is no decision.
        if old.is_none_or(|p| p == ApprovalPhase::Pending) {
            context.metrics.approval_settled(new.unwrap_or_default(), asked_for(approval, now));
        }
    }
    for event in events {
        context.audit.record(&event, now);
        context.events.publish_on_approval(approval, &event, now).await;
    }
}

/// Seconds since people were asked.
fn asked_for(approval: &Approval, now: Timestamp) -> f64 {
    let since = approval.creation_timestamp().map_or(now, |t| t.0);
    now.duration_since(since).as_secs_f64()
}

/// Removes an approval that is settled, as old as sessions that are removed, and rested on by none that lives.
async fn retire(
    approval: &Approval,
    status: &ApprovalStatus,
    context: &Context,
    now: Timestamp,
) -> Result<Outcome, Error> {
    let settled = Approval { status: Some(status.clone()), ..approval.clone() };
    let old = kept_until(&settled, context.retention.age).is_some_and(|until| until < now);
    if !old || approval.metadata.deletion_timestamp.is_some() || is_rested_on(approval, context) {
        return Ok(Outcome::Unchanged);
    }
    context.gate.check()?;
    let api: Api<Approval> = Api::namespaced(context.client.clone(), &approval.namespace().unwrap_or_default());
    let preconditions = Preconditions { uid: approval.uid(), resource_version: approval.resource_version() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    api.delete(&approval.name_any(), &params).await?;
    Ok(Outcome::Gone)
}

fn is_rested_on(approval: &Approval, context: &Context) -> bool {
    let (namespace, name) = (approval.namespace(), approval.name_any());
    let rests = |s: &CredentialSession| {
        let status = s.status.as_ref();
        s.namespace() == namespace
            && status.and_then(|s| s.approval_ref.as_ref()).is_some_and(|r| r.name == name)
            && !status.and_then(|s| s.phase).is_some_and(Phase::is_terminal)
    };
    !context.caches.sessions.state_filter(rests).is_empty()
}
