//! Ends access at providers that can end it at once, as soon as a session is over or gone. One replica does it: the one with the Lease.
//! `status.issuance.revokedAt` tells that it is done; the controller keeps a session's object until then, by a finalizer only where the
//! provider could not revoke without it. Where it can ([`gone`], [`sweep`]), nothing of ours keeps a namespace from going.
//!
//! Ending access and removing what was made for a session go on side by side: the latter takes several times as many calls, and nobody's
//! access may wait for it beyond what `status.revocation.effectiveBy` promises.

mod done;
mod gone;
mod over;
mod sweep;

use super::mint::Desk;
use super::status::change_issuance;
use crate::audit::{AuditEvent, EventName};
use crate::revocation::is_outstanding;
use done::Done;
use exeat_crds::CredentialSession;
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{Issuance, Phase};
use exeat_providers::{Provider, ProviderError, Record, can_revoke};
use exeat_runtime::lease::WriteGate;
use futures::{StreamExt, stream};
use gone::Gone;
use kube::runtime::reflector::ObjectRef;
use over::Over;
use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
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
    let (found, swept) = mpsc::channel(1);
    let gone = Mutex::new(Gone::new(desk.view.gone(), swept));
    tokio::join!(
        again_and_again(&desk, &gone, ENDED_AT_ONCE, async |over| end(&desk, &gate, over).await),
        again_and_again(&desk, &gone, TIDIED_AT_ONCE, async |over| {
            let done = revoke(&desk, &gate, over).await;
            if done {
                gone.lock().unwrap_or_else(PoisonError::into_inner).tidied(&over.id.uid);
            }
            done
        }),
        sweep::run(&desk, found),
    );
}

/// Does something for each session that is due or gone, until it is done for that session.
async fn again_and_again(desk: &Desk, gone: &Mutex<Gone>, at_once: usize, act: impl AsyncFn(&Over) -> bool) {
    let mut done = Done::default();
    loop {
        let changed = desk.view.changed.notified();
        let due = desk.view.sessions.state().into_iter().filter(|s| is_due(s)).map(Over::of);
        let left = gone.lock().unwrap_or_else(PoisonError::into_inner).look();
        let acted = stream::iter(done.open(due.chain(left).collect()))
            .map(async |over| act(&over).await.then_some(over))
            .buffer_unordered(at_once);
        for over in acted.collect::<Vec<_>>().await.into_iter().flatten() {
            done.add(&over);
        }
        // An error is that of the time that has passed.
        let _ = timeout(PERIOD, changed).await;
    }
}

/// Over, or told to be, with something at the provider that was not ended yet.
fn is_due(session: &CredentialSession) -> bool {
    let phase = session.status.as_ref().and_then(|s| s.phase);
    let over = session.spec.revoke.is_some() || phase.is_some_and(Phase::is_terminal);
    over && is_outstanding(session)
}

/// Ends a session's access, and no more. Whether that is done.
async fn end(desk: &Desk, gate: &WriteGate, over: &Over) -> bool {
    if gate.check().is_err() {
        return false;
    }
    let ended = timeout(TIMEOUT, async { provider(desk, over).await?.cut_off(&over.id).await }).await;
    matches!(ended, Ok(Ok(())))
}

/// Ends a session's access, removes what was made for it and puts that on record. Whether all of it is done.
async fn revoke(desk: &Desk, gate: &WriteGate, over: &Over) -> bool {
    if gate.check().is_err() {
        return false;
    }
    let started = Instant::now();
    let at_provider = async { provider(desk, over).await?.revoke(&over.id, over.handle.as_deref()).await };
    let revoked = timeout(TIMEOUT, at_provider).await.unwrap_or_else(|_| {
        Err(ProviderError::passing(Reason::ProviderUnreachable, "the provider did not answer in time"))
    });
    let outcome = revoked.as_ref().map_or_else(|e| e.reason.as_str(), |()| "ok");
    desk.metrics.revoked(over.record().kind(), outcome, started.elapsed().as_secs_f64());
    if let Err(error) = revoked {
        tracing::warn!(%error, session = over.id.name, "access could not be ended yet; it is tried again");
        return false;
    }
    let now = desk.clock.now();
    if let Some(session) = &over.session {
        let more = Cell::new(false);
        let revoked = |i: &Issuance| {
            more.set(Record::new(i.handle.as_deref()).is_more_than(over.record()));
            (!more.get()).then(|| Issuance { revoked_at: Some(now.to_string()), ..i.clone() })
        };
        match change_issuance(&desk.client, session, revoked).await {
            // What was handed out meanwhile is revoked once the cache has it.
            Ok(()) if more.get() => return false,
            Ok(()) => {}
            // What is gone can't say it; the audit log does.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                tracing::warn!(%error, session = over.id.name, "a revocation could not be recorded yet");
                return false;
            }
        }
    }
    desk.audit.record(&event(over), now);
    true
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
    let found = name.and_then(|name| desk.view.providers.get(&ObjectRef::new(name)));
    match found.filter(|object| can_revoke(&object.spec)) {
        Some(object) => desk.providers.get(&object).await,
        None if over.record().is_of_each() => Err(ProviderError::passing(
            Reason::ProviderNotFound,
            "the CredentialProvider by which the session's credential was made is gone; it ends with its own time, or once the provider is back",
        )),
        None => desk.providers.own_cluster().await,
    }
}
