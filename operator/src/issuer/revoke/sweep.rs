//! Finds what was made for sessions that went while no replica looked: between two watches, between two leaders, while the issuer was down.
//! And what a mint that broke off has left of one that ended without any credential.

use super::gone::nobodys;
use crate::issuer::mint::Desk;
use crate::revocation::ended_unissued;
use exeat_crds::CredentialSession;
use exeat_providers::{Made, ProviderError};
use futures::{StreamExt, stream};
use kube::{Api, ResourceExt};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longest time between two sweeps.
const PERIOD: Duration = Duration::from_secs(60);
/// Shortest time between two sweeps, and after one that failed.
const RETRY: Duration = Duration::from_secs(5);
/// Found by one sweep at most.
const BATCH: usize = 1024;
/// Sessions that are looked up at once.
const CONCURRENCY: usize = 8;

/// Sweeps at first, whenever all sessions were listed, and from time to time. What it finds is `found`'s to deal with.
pub(super) async fn run(desk: &Desk, found: mpsc::Sender<Vec<Made>>) {
    let mut listed = desk.view.listed();
    loop {
        listed.borrow_and_update();
        let wait = match sweep(desk).await {
            Ok((made, wait)) => {
                if !made.is_empty() {
                    tracing::info!(sessions = made.len(), "what sessions that are over have left is removed");
                    // Whoever deals with it has ended: so does this.
                    let Ok(()) = found.send(made).await else { return };
                }
                wait
            }
            Err(error) => {
                complain(desk, &error);
                if error.retryable { RETRY } else { PERIOD }
            }
        };
        let _ = timeout(wait, listed.changed()).await;
    }
}

/// Without any provider of this kind there may be no namespace for it, and no right.
fn complain(desk: &Desk, error: &ProviderError) {
    if desk.view.providers.state().iter().any(|p| p.spec.kubernetes.is_some()) {
        tracing::warn!(%error, "what sessions that are gone have left can't be looked for");
    } else {
        tracing::debug!(%error, "what sessions that are gone have left can't be looked for");
    }
}

/// What belongs to nobody now, and when to look again.
async fn sweep(desk: &Desk) -> Result<(Vec<Made>, Duration), ProviderError> {
    // First what was made, then who is there: a session is there before anything is made for it.
    let made = desk.providers.own_cluster().await?.made().await?;
    let known = desk.view.known();
    let now = desk.clock.now();
    let (due, next) = nobodys(made, known.as_ref(), now);
    let rest = due.len() > BATCH || known.is_none();
    let gone = stream::iter(due.into_iter().take(BATCH))
        .map(async |made| is_nobodys(desk, &made).await.then_some(made))
        .buffer_unordered(CONCURRENCY)
        .filter_map(futures::future::ready)
        .collect()
        .await;
    let next = next.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
    let wait = if rest { RETRY } else { next.map_or(PERIOD, |wait| wait.clamp(RETRY, PERIOD)) };
    Ok((gone, wait))
}

/// A cache may be behind: the API server has the last word.
async fn is_nobodys(desk: &Desk, made: &Made) -> bool {
    if made.session.namespace.is_empty() {
        return true;
    }
    let sessions: Api<CredentialSession> = Api::namespaced(desk.client.clone(), &made.session.namespace);
    match sessions.get_opt(&made.session.name).await {
        Ok(found) => found.is_none_or(|s| s.uid().as_deref() != Some(made.session.uid.as_str()) || ended_unissued(&s)),
        Err(error) => {
            tracing::debug!(%error, session = made.session.name, "whether a session is gone can't be found out yet");
            false
        }
    }
}
