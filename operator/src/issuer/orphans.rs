//! Streams whose replica is gone: a sidecar that went silent together with it is put on record by the replica with the Lease.
//!
//! A replica that lives speaks for its own streams (see [`streams`](super::streams)), and whoever takes a stream over puts itself on record.
//! So what is left on the record of a replica that is gone, and stays there, is nobody's.

use super::mint::Desk;
use super::streams::{AWAY, on_record, with_loss};
use exeat_crds::CredentialSession;
use exeat_crds::v1alpha1::StreamRecord;
use exeat_runtime::lease::WriteGate;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{Api, ResourceExt};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// How often replicas on record are looked at: one read for each.
const PERIOD: Duration = Duration::from_secs(10);
/// Writes at once: a lost replica may have had thousands of streams.
const CONCURRENCY: usize = 8;
/// A replica that is not ready for less than this may only be slow.
const UNREADY: SignedDuration = SignedDuration::from_secs(60);
/// Name of the issuer's container in its pods.
const CONTAINER: &str = "issuer";

/// Looks for as long as the gate is open to this replica. `namespace` is that of the issuer's pods.
pub(super) async fn run(desk: Arc<Desk>, gate: WriteGate, namespace: String) {
    let mut suspects = Suspects::default();
    loop {
        if gate.check().is_ok() {
            look(&desk, &namespace, &mut suspects).await;
        }
        sleep(PERIOD).await;
    }
}

/// One look at all replicas on record, and the writes that come of it.
pub(super) async fn look(desk: &Desk, namespace: &str, suspects: &mut Suspects) {
    let now = desk.clock.now();
    let in_use = desk.view.in_use(now);
    let replicas = match replicas(desk, namespace, &in_use).await {
        Ok(replicas) => replicas,
        Err(error) => {
            tracing::debug!(%error, "the issuer's replicas can't be looked at");
            return;
        }
    };
    let orphaned = in_use.iter().filter_map(|session| {
        let record = on_record(session).filter(|r| r.lost_at.is_none())?;
        let pod = replicas.get(&record.replica)?.as_ref();
        (!serves(pod, record, now)).then_some((session, record))
    });
    let due = suspects.look(orphaned, now);
    stream::iter(due).for_each_concurrent(CONCURRENCY, |(session, lost)| orphan(desk, session, lost)).await;
}

/// The pods of all replicas on record; nothing where there is none of that name.
async fn replicas(
    desk: &Desk,
    namespace: &str,
    sessions: &[Arc<CredentialSession>],
) -> kube::Result<HashMap<String, Option<Pod>>> {
    let names: HashSet<&str> = sessions.iter().filter_map(|s| Some(on_record(s)?.replica.as_str())).collect();
    let pods: Api<Pod> = Api::namespaced(desk.client.clone(), namespace);
    let mut found = HashMap::new();
    for name in names {
        found.insert(name.to_owned(), pods.get_opt(name).await?);
    }
    Ok(found)
}

async fn orphan(desk: &Desk, session: Arc<CredentialSession>, lost: Timestamp) {
    let Some(seen) = on_record(&session) else { return };
    desk.change_stream(&session, |old| with_loss(old, lost, |record| record == seen)).await;
}

/// Whether a replica may still serve what it has put on record.
fn serves(pod: Option<&Pod>, record: &StreamRecord, now: Timestamp) -> bool {
    let Some(pod) = pod else { return false };
    let status = pod.status.clone().unwrap_or_default();
    let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if pod.metadata.deletion_timestamp.is_some() || over {
        return false;
    }
    let Ok(since) = record.since.parse::<Timestamp>() else { return true };
    // A container that was started later knows nothing of that stream. Both times are of the replica's own node.
    let started = |c: &ContainerStatus| c.state.as_ref()?.running.as_ref()?.started_at.as_ref().map(|t| t.0);
    let container = status.container_statuses.iter().flatten().find(|c| c.name == CONTAINER);
    if container.is_some_and(|c| started(c).is_none_or(|at| at > since)) {
        return false;
    }
    // Of a node that is lost, its pods are said to be unready. Who has put itself on record since then is not.
    let unready = status.conditions.iter().flatten().find(|c| c.type_ == "Ready" && c.status != "True");
    let unready = unready.and_then(|c| c.last_transition_time.as_ref()).map(|t| t.0);
    unready.is_none_or(|at| at < since || now.duration_since(at) < UNREADY)
}

/// Records of replicas that are gone, with the time of the first look that found each so.
#[derive(Default)]
pub(super) struct Suspects(HashMap<String, (StreamRecord, Timestamp)>);

impl Suspects {
    /// Takes in all orphaned records of one look. Returns those that have stayed so for long enough, with the time from which they count
    /// as lost: not the moment itself, which nobody saw, but one that is no earlier.
    fn look<'a>(
        &mut self,
        orphaned: impl Iterator<Item = (&'a Arc<CredentialSession>, &'a StreamRecord)>,
        now: Timestamp,
    ) -> Vec<(Arc<CredentialSession>, Timestamp)> {
        let mut before = std::mem::take(&mut self.0);
        let away = SignedDuration::try_from(AWAY).unwrap_or(SignedDuration::MAX);
        let mut due = Vec::new();
        for (session, record) in orphaned {
            let uid = session.uid().unwrap_or_default();
            let since = before.remove(&uid).filter(|(seen, _)| seen == record).map_or(now, |(_, since)| since);
            if now.duration_since(since) >= away {
                due.push((Arc::clone(session), since));
            }
            self.0.insert(uid, (record.clone(), since));
        }
        due
    }
}

#[cfg(test)]
#[path = "orphans_tests.rs"]
mod tests;
