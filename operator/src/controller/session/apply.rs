use super::decide::{Decision, unasked};
use super::gate::Gate;
use super::silence::turned_silent;
use crate::audit::{AuditEvent, EventName};
use crate::controller::approval::{self, Created};
use crate::controller::context::{Context, Outcome};
use crate::controller::error::Error;
use crate::controller::retention;
use crate::revocation::{is_held, is_outstanding};
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{CredentialSessionStatus, Phase, RevocationMode};
use exeat_crds::{CredentialSession, names};
use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::Status;
use kube::{Api, ResourceExt};
use serde_json::json;

/// How long the issuer may try to end access before the session is let go of.
const GIVE_UP: SignedDuration = SignedDuration::from_hours(1);

/// Writes the status if it changed, once people have been asked or heard where they must be.
pub(super) async fn apply(
    session: &CredentialSession,
    decision: &Decision,
    context: &Context,
) -> Result<Outcome, Error> {
    match pass(session, decision, context).await? {
        Passed::Yes => write(session, decision, context).await,
        Passed::No => Ok(Outcome::Overtaken),
        Passed::Unasked(approval, refusal) => {
            let waits = unasked(session, &approval, &refusal.message, context.clock.now());
            write(session, &waits, context).await?;
            Err(kube::Error::Api(refusal).into()) // tried again, ever later
        }
    }
}

/// Writes the status if it changed, the finalizer before that where a revocation will need the session, and says so.
async fn write(session: &CredentialSession, decision: &Decision, context: &Context) -> Result<Outcome, Error> {
    let old = without_issuance(session.status.clone().unwrap_or_default());
    let new = without_issuance(decision.status.clone());
    let api: Api<CredentialSession> = Api::namespaced(context.client.clone(), &session.namespace().unwrap_or_default());
    // Whoever wrote the status: what may be minted must be revoked.
    if new.phase == Some(Phase::Active) && is_revocable(&new) && needs_session(session, context) {
        set_finalizer(&api, session, true, context).await?;
    }
    if old == new {
        return Ok(Outcome::Unchanged);
    }
    context.gate.check()?;
    let name = session.name_any();
    let body = json!({
        "apiVersion": "exeat.dev/v1alpha1",
        "kind": "CredentialSession",
        "metadata": {"name": name, "uid": session.uid()},
        "status": new,
    });
    api.patch_status(&name, &PatchParams::apply(names::CONTROLLER).force(), &Patch::Apply(&body)).await?;
    announce(session, &old, &new, context);
    Ok(Outcome::Changed)
}

/// Whether a session's status may be written as it was decided.
enum Passed {
    Yes,
    /// What was decided does not hold any more: it is decided anew.
    No,
    /// People can't be asked this.
    Unasked(String, Box<Status>),
}

/// Asks people, or uses what they said, before the session says so.
async fn pass(session: &CredentialSession, decision: &Decision, context: &Context) -> Result<Passed, Error> {
    match &decision.gate {
        Some(Gate::Ask(approval)) => Ok(match approval::create(approval, context).await? {
            Created::Stands => Passed::Yes,
            Created::NoPlace => Passed::No,
            Created::Refused(refusal) => Passed::Unasked(approval.name_any(), refusal),
        }),
        Some(Gate::Use { name }) => {
            let namespace = session.namespace().unwrap_or_default();
            let used = approval::consume(&namespace, name, &session.uid().unwrap_or_default(), context).await?;
            Ok(if used { Passed::Yes } else { Passed::No })
        }
        _ => Ok(Passed::Yes),
    }
}

/// Lets go of a session that has ended: the finalizer once everything is revoked, the object once its history has been kept long enough.
pub(super) async fn retire(
    session: &CredentialSession,
    decision: &Decision,
    context: &Context,
) -> Result<Outcome, Error> {
    let status = &decision.status;
    let deleting = session.metadata.deletion_timestamp.is_some();
    if !status.phase.is_some_and(Phase::is_terminal) {
        return Ok(Outcome::Unchanged);
    }
    let api: Api<CredentialSession> = Api::namespaced(context.client.clone(), &session.namespace().unwrap_or_default());
    let outstanding = is_outstanding(session);
    if outstanding && !given_up(status, context.clock.now()) {
        return Ok(Outcome::Unchanged);
    }
    if is_held(session) {
        if outstanding {
            tracing::error!(session = %session.name_any(), "access could not be ended at the provider in an hour; the credential ends by itself");
        }
        set_finalizer(&api, session, false, context).await?;
    }
    if !deleting && retention::is_over(session, &context.caches, &context.retention, context.clock.now()) {
        context.gate.check()?;
        let preconditions = Preconditions { uid: session.uid(), resource_version: session.resource_version() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        api.delete(&session.name_any(), &params).await?;
        return Ok(Outcome::Gone);
    }
    Ok(if deleting { Outcome::Gone } else { Outcome::Unchanged })
}

/// A provider that is gone for good must not keep a session, and with a finalizer its namespace, for ever.
fn given_up(status: &CredentialSessionStatus, now: Timestamp) -> bool {
    let ended: Option<Timestamp> = status.ended_at.as_ref().and_then(|t| t.parse().ok());
    ended.is_some_and(|at| now.duration_since(at) > GIVE_UP)
}

/// Where the provider finds what it made without the session, nothing of ours keeps the session, and its namespace, from going.
fn needs_session(session: &CredentialSession, context: &Context) -> bool {
    let provider = context.caches.provider(&session.spec.request.provider_ref.name);
    provider.is_none_or(|p| exeat_providers::needs_session(&p.spec))
}

fn is_revocable(status: &CredentialSessionStatus) -> bool {
    status.revocation.as_ref().is_some_and(|r| r.mode == RevocationMode::Immediate)
}

fn without_issuance(mut status: CredentialSessionStatus) -> CredentialSessionStatus {
    status.issuance = None;
    status
}

/// Finalizers are a set that others may share: ours is added and removed under the version that was read.
async fn set_finalizer(
    api: &Api<CredentialSession>,
    session: &CredentialSession,
    wanted: bool,
    context: &Context,
) -> Result<(), Error> {
    let mut finalizers = session.finalizers().to_vec();
    if is_held(session) == wanted {
        return Ok(());
    }
    if wanted {
        finalizers.push(names::REVOKE_FINALIZER.to_owned());
    } else {
        finalizers.retain(|f| f != names::REVOKE_FINALIZER);
    }
    context.gate.check()?;
    let body = json!({"metadata": {"finalizers": finalizers, "resourceVersion": session.resource_version()}});
    api.patch(&session.name_any(), &PatchParams::default(), &Patch::Merge(&body)).await?;
    Ok(())
}

fn announce(
    session: &CredentialSession,
    old: &CredentialSessionStatus,
    new: &CredentialSessionStatus,
    context: &Context,
) {
    if let Some(message) = turned_silent(old, new) {
        let event = AuditEvent::of(session, EventName::SidecarSilent, Reason::SidecarSilent.as_str(), &message);
        context.audit.record(&event, context.clock.now());
        context.events.publish_beside(session, event, context.clock.now());
    }
    if old.phase == new.phase && old.reason == new.reason {
        return;
    }
    let Some(phase) = new.phase else { return };
    context.metrics.session_phase(phase);
    let event = AuditEvent::of_phase(session, phase, new);
    context.audit.record(&event, context.clock.now());
    context.events.publish_beside(session, event, context.clock.now());
}
