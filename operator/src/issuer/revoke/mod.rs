//! Ends access at providers that can end it at once, as soon as a session is over or gone. One replica does it: the one with the Lease.
//! `status.issuance.revokedAt` tells that it is done; the controller keeps a session's object until then, by a finalizer only where the
//! provider could not revoke without it. Where it can ([`gone`], [`sweep`]), nothing of ours keeps a namespace from going.
//!
//! Access ends first, of all sessions that are over; what was made for them is removed afterwards, which takes several times as many calls.
//! So a thousand sessions that end at once do not make the next one wait beyond what `status.revocation.effectiveBy` promises.

mod gone;
mod rounds;
mod sweep;

use super::mint::Desk;
use super::status::change_issuance;
use crate::audit::{AuditEvent, EventName};
use crate::revocation::is_outstanding;
use exeat_crds::CredentialSession;
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{Issuance, Phase};
use exeat_providers::{Provider, ProviderError};
use exeat_runtime::lease::WriteGate;
use futures::{StreamExt, stream};
use gone::Gone;
use kube::runtime::reflector::ObjectRef;
use rounds::{Over, Rounds};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// Sessions whose access is ended at once, and that are tidied up after at once.
const CONCURRENCY: usize = 16;
/// What failed is tried again after this long.
const PERIOD: Duration = Duration::from_secs(2);
/// Longest time for one revocation.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Revokes for as long as the gate is open to this replica.
pub(super) async fn run(desk: Arc<Desk>, gate: WriteGate) {
    let (found, swept) = mpsc::channel(1);
    let gone = Gone::new(desk.view.gone(), swept);
    tokio::join!(revoke_all(&desk, &gate, gone), sweep::run(&desk, found));
}

async fn revoke_all(desk: &Desk, gate: &WriteGate, mut gone: Gone) {
    let mut rounds = Rounds::default();
    loop {
        let changed = desk.view.changed.notified();
        let last = round(desk, gate, &mut rounds, &mut gone).await;
        if last {
            // An error is that of the time that has passed.
            let _ = timeout(PERIOD, changed).await;
        }
    }
}

/// Returns whether all that is due was tried.
async fn round(desk: &Desk, gate: &WriteGate, rounds: &mut Rounds, gone: &mut Gone) -> bool {
    let due = desk.view.sessions.state().into_iter().filter(|s| is_due(s)).map(Over::of);
    let due = due.chain(gone.look(rounds)).collect();
    let round = rounds.next(due);
    let ended = stream::iter(round.end).map(|over| end(desk, gate, over)).buffer_unordered(CONCURRENCY);
    rounds.ended(ended.filter_map(futures::future::ready).collect::<Vec<_>>().await);
    let tidied = stream::iter(round.tidy).map(|over| revoke(desk, gate, over)).buffer_unordered(CONCURRENCY);
    let tidied = tidied.filter_map(futures::future::ready).collect::<Vec<_>>().await;
    gone.tidied(&tidied);
    rounds.tidied(tidied);
    round.last
}

/// Over, or told to be, with something at the provider that was not ended yet.
fn is_due(session: &CredentialSession) -> bool {
    let phase = session.status.as_ref().and_then(|s| s.phase);
    let over = session.spec.revoke.is_some() || phase.is_some_and(Phase::is_terminal);
    over && is_outstanding(session)
}

/// Ends a session's access, and no more. Its UID, if that is done; what failed is tried by [`revoke`] once more.
async fn end(desk: &Desk, gate: &WriteGate, over: Over) -> Option<String> {
    gate.check().ok()?;
    let ended = timeout(TIMEOUT, async { provider(desk, &over).await?.cut_off(&over.id).await }).await;
    matches!(ended, Ok(Ok(()))).then_some(over.id.uid)
}

/// Ends a session's access, removes what was made for it and puts that on record. Its UID, if all of it is done.
async fn revoke(desk: &Desk, gate: &WriteGate, over: Over) -> Option<String> {
    gate.check().ok()?;
    let started = Instant::now();
    let at_provider = async { provider(desk, &over).await?.revoke(&over.id, over.handle.as_deref()).await };
    let revoked = timeout(TIMEOUT, at_provider).await.unwrap_or_else(|_| {
        Err(ProviderError::passing(Reason::ProviderUnreachable, "the provider did not answer in time"))
    });
    let outcome = revoked.as_ref().map_or_else(|e| e.reason.as_str(), |()| "ok");
    desk.metrics.revoked("kubernetes", outcome, started.elapsed().as_secs_f64());
    if let Err(error) = revoked {
        tracing::warn!(%error, session = over.id.name, "access could not be ended yet; it is tried again");
        return None;
    }
    let now = desk.clock.now();
    if let Some(session) = &over.session {
        let revoked = |i: &Issuance| Some(Issuance { revoked_at: Some(now.to_string()), ..i.clone() });
        match change_issuance(&desk.client, session, revoked).await {
            Ok(()) => {}
            // What is gone can't say it; the audit log does.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                tracing::warn!(%error, session = over.id.name, "a revocation could not be recorded yet");
                return None;
            }
        }
    }
    desk.audit.record(&event(&over), now);
    Some(over.id.uid)
}

fn event(over: &Over) -> AuditEvent {
    let Some(session) = &over.session else {
        return AuditEvent::access_revoked(&over.id.namespace, &over.id.name, &over.id.uid);
    };
    let reason = Reason::SessionRevoked.as_str();
    AuditEvent::of(session, EventName::AccessRevoked, reason, "access was ended at the provider")
}

/// Of what no object tells any more, our own cluster's provider has the record.
async fn provider(desk: &Desk, over: &Over) -> Result<Arc<dyn Provider>, ProviderError> {
    let name = over.session.as_ref().map(|s| s.spec.request.provider_ref.name.as_str());
    match name.and_then(|name| desk.view.providers.get(&ObjectRef::new(name))) {
        Some(object) if object.spec.kubernetes.is_some() => desk.providers.get(&object).await,
        _ => desk.providers.own_cluster().await,
    }
}
