//! Ends access at providers that can end it at once, as soon as a session is over. One replica does it: the one with the Lease. The
//! controller lets go of the session (its finalizer) when it sees `status.issuance.revokedAt`.
//!
//! Ending access and removing what was made for a session go on side by side: the latter takes several times as many calls, and nobody's
//! access may wait for it beyond what `status.revocation.effectiveBy` promises.

mod done;

use super::mint::{Desk, session_id};
use super::status::change_issuance;
use crate::audit::{AuditEvent, EventName};
use done::Done;
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{Issuance, Phase};
use exeat_crds::{CredentialSession, names};
use exeat_providers::{Provider, ProviderError};
use exeat_runtime::lease::WriteGate;
use futures::{StreamExt, stream};
use kube::ResourceExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Sessions whose access is ended at once: one call each.
const ENDED_AT_ONCE: usize = 32;
/// Sessions that are tidied up after at once.
const TIDIED_AT_ONCE: usize = 16;
/// What failed is tried again after this long.
const PERIOD: Duration = Duration::from_secs(2);
/// Longest time for one revocation.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Revokes for as long as the gate is open to this replica.
pub(super) async fn run(desk: Arc<Desk>, gate: WriteGate) {
    tokio::join!(
        again_and_again(&desk, ENDED_AT_ONCE, async |session| end(&desk, &gate, session).await),
        again_and_again(&desk, TIDIED_AT_ONCE, async |session| revoke(&desk, &gate, session).await),
    );
}

/// Does something for each session that is due, until it is done for that session.
async fn again_and_again(desk: &Desk, at_once: usize, act: impl AsyncFn(Arc<CredentialSession>) -> bool) {
    let mut done = Done::default();
    loop {
        let changed = desk.view.changed.notified();
        let due = desk.view.sessions.state().into_iter().filter(|s| is_due(s)).collect();
        let acted = stream::iter(done.open(due))
            .map(async |s| act(Arc::clone(&s)).await.then_some(s))
            .buffer_unordered(at_once);
        for session in acted.collect::<Vec<_>>().await.into_iter().flatten() {
            done.add(&session);
        }
        // An error is that of the time that has passed.
        let _ = timeout(PERIOD, changed).await;
    }
}

/// Over, or told to be, with something at the provider that was not ended yet.
fn is_due(session: &CredentialSession) -> bool {
    let status = session.status.as_ref();
    let over = session.spec.revoke.is_some() || status.and_then(|s| s.phase).is_some_and(Phase::is_terminal);
    let held = session.finalizers().iter().any(|f| f == names::REVOKE_FINALIZER);
    over && held && status.and_then(|s| s.issuance.as_ref()).is_none_or(|i| i.revoked_at.is_none())
}

/// Ends a session's access, and no more. Whether that is done.
async fn end(desk: &Desk, gate: &WriteGate, session: Arc<CredentialSession>) -> bool {
    if gate.check().is_err() {
        return false;
    }
    let ended = timeout(TIMEOUT, async { provider(desk, &session).await?.cut_off(&session_id(&session)).await }).await;
    matches!(ended, Ok(Ok(())))
}

/// Ends a session's access, removes what was made for it and puts that on record. Whether all of it is done.
async fn revoke(desk: &Desk, gate: &WriteGate, session: Arc<CredentialSession>) -> bool {
    if gate.check().is_err() {
        return false;
    }
    let started = Instant::now();
    let old = session.status.as_ref().and_then(|s| s.issuance.clone()).unwrap_or_default();
    let at_provider =
        async { provider(desk, &session).await?.revoke(&session_id(&session), old.handle.as_deref()).await };
    let revoked = timeout(TIMEOUT, at_provider).await.unwrap_or_else(|_| {
        Err(ProviderError::passing(Reason::ProviderUnreachable, "the provider did not answer in time"))
    });
    let outcome = revoked.as_ref().map_or_else(|e| e.reason.as_str(), |()| "ok");
    desk.metrics.revoked("kubernetes", outcome, started.elapsed().as_secs_f64());
    if let Err(error) = revoked {
        tracing::warn!(%error, session = %session.name_any(), "access could not be ended yet; it is tried again");
        return false;
    }
    let now = desk.clock.now();
    let revoked = |i: &Issuance| Some(Issuance { revoked_at: Some(now.to_string()), ..i.clone() });
    match change_issuance(&desk.client, &session, revoked).await {
        Ok(()) => {
            let event = AuditEvent::of(
                &session,
                EventName::AccessRevoked,
                Reason::SessionRevoked.as_str(),
                "access was ended at the provider",
            );
            desk.audit.record(&event, now);
        }
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => {
            tracing::warn!(%error, session = %session.name_any(), "a revocation could not be recorded yet");
            return false;
        }
    }
    true
}

async fn provider(desk: &Desk, session: &CredentialSession) -> Result<Arc<dyn Provider>, ProviderError> {
    let reference = kube::runtime::reflector::ObjectRef::new(&session.spec.request.provider_ref.name);
    match desk.view.providers.get(&reference) {
        Some(object) if object.spec.kubernetes.is_some() => desk.providers.get(&object).await,
        _ => desk.providers.own_cluster().await,
    }
}
