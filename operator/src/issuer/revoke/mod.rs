//! Ends access at providers that can end it at once, as soon as a session is over. One replica does it: the one with the Lease. The
//! controller lets go of the session (its finalizer) when it sees `status.issuance.revokedAt`.
//!
//! Access ends first, of all sessions that are over; what was made for them is removed afterwards, which takes several times as many calls.
//! So a thousand sessions that end at once do not make the next one wait beyond what `status.revocation.effectiveBy` promises.

mod rounds;

use super::mint::{Desk, session_id};
use super::status::change_issuance;
use crate::audit::{AuditEvent, EventName};
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{Issuance, Phase};
use exeat_crds::{CredentialSession, names};
use exeat_providers::{Provider, ProviderError};
use exeat_runtime::lease::WriteGate;
use futures::{StreamExt, stream};
use kube::ResourceExt;
use rounds::Rounds;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Sessions whose access is ended at once, and that are tidied up after at once.
const CONCURRENCY: usize = 16;
/// What failed is tried again after this long.
const PERIOD: Duration = Duration::from_secs(2);
/// Longest time for one revocation.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Revokes for as long as the gate is open to this replica.
pub(super) async fn run(desk: Arc<Desk>, gate: WriteGate) {
    let mut rounds = Rounds::default();
    loop {
        let changed = desk.view.changed.notified();
        let due: Vec<_> = desk.view.sessions.state().into_iter().filter(|s| is_due(s)).collect();
        let round = rounds.next(due);
        let ended = stream::iter(round.end).map(|s| end(&desk, &gate, s)).buffer_unordered(CONCURRENCY);
        rounds.ended(ended.filter_map(futures::future::ready).collect::<Vec<_>>().await);
        let tidied = stream::iter(round.tidy).map(|s| revoke(&desk, &gate, s)).buffer_unordered(CONCURRENCY);
        rounds.tidied(tidied.filter_map(futures::future::ready).collect::<Vec<_>>().await);
        if round.last {
            // An error is that of the time that has passed.
            let _ = timeout(PERIOD, changed).await;
        }
    }
}

/// Over, or told to be, with something at the provider that was not ended yet.
fn is_due(session: &CredentialSession) -> bool {
    let status = session.status.as_ref();
    let over = session.spec.revoke.is_some() || status.and_then(|s| s.phase).is_some_and(Phase::is_terminal);
    let held = session.finalizers().iter().any(|f| f == names::REVOKE_FINALIZER);
    over && held && status.and_then(|s| s.issuance.as_ref()).is_none_or(|i| i.revoked_at.is_none())
}

/// Ends a session's access, and no more. Its UID, if that is done; what failed is tried by [`revoke`] once more.
async fn end(desk: &Desk, gate: &WriteGate, session: Arc<CredentialSession>) -> Option<String> {
    gate.check().ok()?;
    let ended = timeout(TIMEOUT, async { provider(desk, &session).await?.cut_off(&session_id(&session)).await }).await;
    matches!(ended, Ok(Ok(()))).then(|| session.uid().unwrap_or_default())
}

/// Ends a session's access, removes what was made for it and puts that on record. Its UID, if all of it is done.
async fn revoke(desk: &Desk, gate: &WriteGate, session: Arc<CredentialSession>) -> Option<String> {
    gate.check().ok()?;
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
        return None;
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
            return None;
        }
    }
    Some(session.uid().unwrap_or_default())
}

async fn provider(desk: &Desk, session: &CredentialSession) -> Result<Arc<dyn Provider>, ProviderError> {
    let reference = kube::runtime::reflector::ObjectRef::new(&session.spec.request.provider_ref.name);
    match desk.view.providers.get(&reference) {
        Some(object) if object.spec.kubernetes.is_some() => desk.providers.get(&object).await,
        _ => desk.providers.own_cluster().await,
    }
}
