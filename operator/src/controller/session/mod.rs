//! CredentialSession: gather → decide → apply.

mod apply;
pub mod decide;
pub mod end;
mod founded;
pub mod gate;
mod gather;
pub mod judge;
mod silence;

use super::context::{Context, Outcome};
use super::error::Error;
use decide::{Facts, decide};
use exeat_crds::CredentialSession;
use kube::runtime::controller::Action;
use std::sync::Arc;

/// Brings one session to what it should be.
///
/// # Errors
/// What the API server refused; it is tried again.
pub async fn reconcile(session: Arc<CredentialSession>, context: Arc<Context>) -> Result<Action, Error> {
    let _timer = context.metrics.reconcile_timer("session");
    context.gate.check()?;
    let gathered = gather::gather(&session, &context).await?; // caches; client while the session is not active yet
    let now = context.clock.now();
    let facts = Facts {
        session: &session,
        policy: gathered.policy.as_deref(),
        provider: gathered.provider.as_deref(),
        agent: gathered.agent,
        pod: gathered.pod,
        backstop: context.backstop.stands(),
        hold: gathered.hold.as_deref(),
        approvals: &gathered.approvals,
        room: gathered.room,
    };
    let decision = decide(&facts, now); // pure
    let outcome = apply::apply(&session, &decision, &context).await?; // client
    if apply::retire(&session, &decision, &context).await? == Outcome::Gone {
        return Ok(Action::await_change());
    }
    Ok(context.next_look(outcome, decision.look_again, now))
}
