//! Where sidecars' streams are, on record: `status.issuance.stream` of the session that a pod uses now, so that a sidecar that went silent
//! shows.
//!
//! Writes are few: one for each session, one whenever a stream comes to another replica (about every second renewal of a stream, which is
//! every 10 to 15 minutes), and two for each loss. Of a replica that is gone, [`orphans`](super::orphans) takes care.

use super::mint::Desk;
use super::status::change_issuance;
use super::view;
use exeat_crds::CredentialSession;
use exeat_crds::condition::whole_seconds;
use exeat_crds::v1alpha1::{Issuance, StreamRecord};
use jiff::Timestamp;
use kube::ResourceExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::sleep;

/// A sidecar that stays away for this long is put on record; one that only renews its stream is back in a second or two.
pub(super) const AWAY: Duration = Duration::from_secs(20);

/// Streams that one pod may have at one replica: its sidecar's own, one that it has just left, and one more.
pub(super) const MAX_OF_POD: usize = 3;

/// The pods whose streams this replica serves.
pub(super) struct Streams {
    replica: String,
    pods: Arc<Mutex<Pods>>,
}

type Pods = HashMap<String, Count>;

/// Streams of one pod.
#[derive(Default)]
struct Count {
    places: usize,
    /// Those of them whose callers are proved.
    serving: usize,
}

/// One stream's place among its pod's, until it is dropped.
pub(super) struct Place {
    pod_uid: String,
    serving: bool,
    pods: Arc<Mutex<Pods>>,
}

impl Streams {
    /// `replica` names this issuer's pod.
    pub(super) fn new(replica: &str) -> Self {
        Self { replica: replica.to_owned(), pods: Arc::default() }
    }

    /// A place for one more stream of a pod, if it may have one more.
    pub(super) fn reserve(&self, pod_uid: &str) -> Option<Place> {
        let mut pods = lock(&self.pods);
        let count = pods.entry(pod_uid.to_owned()).or_default();
        if count.places >= MAX_OF_POD {
            return None;
        }
        count.places += 1;
        Some(Place { pod_uid: pod_uid.to_owned(), serving: false, pods: Arc::clone(&self.pods) })
    }

    fn is_open(&self, pod_uid: &str) -> bool {
        lock(&self.pods).get(pod_uid).is_some_and(|count| count.serving > 0)
    }
}

impl Place {
    /// Its caller is proved, and its stream open.
    pub(super) fn serving(mut self) -> Self {
        if !std::mem::replace(&mut self.serving, true) {
            lock(&self.pods).entry(self.pod_uid.clone()).or_default().serving += 1;
        }
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut pods = lock(&self.pods);
        if let Some(count) = pods.get_mut(&self.pod_uid) {
            count.places -= 1;
            count.serving -= usize::from(self.serving);
            if count.places == 0 {
                pods.remove(&self.pod_uid);
            }
        }
    }
}

fn lock(pods: &Mutex<Pods>) -> MutexGuard<'_, Pods> {
    pods.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the session's stream is.
pub(super) fn on_record(session: &CredentialSession) -> Option<&StreamRecord> {
    session.status.as_ref()?.issuance.as_ref()?.stream.as_ref()
}

/// Whether a replica with an open stream writes itself down. A new stream takes over from another replica; one that stands leaves the
/// record alone unless it says that the stream is lost, so that two replicas never write in turns.
fn takes(record: Option<&StreamRecord>, replica: &str, new: bool) -> bool {
    record.is_none_or(|r| r.lost_at.is_some() || (new && r.replica != replica))
}

/// Whether a replica writes down that its stream was lost.
fn loses(record: Option<&StreamRecord>, replica: &str) -> bool {
    record.is_some_and(|r| r.lost_at.is_none() && r.replica == replica)
}

/// The issuance with its stream lost at `lost`, where `ours` says that it is the caller's to say so.
pub(super) fn with_loss(old: &Issuance, lost: Timestamp, ours: impl FnOnce(&StreamRecord) -> bool) -> Option<Issuance> {
    let record = old.stream.clone().filter(ours)?;
    let record = StreamRecord { lost_at: Some(whole_seconds(lost).to_string()), ..record };
    Some(Issuance { stream: Some(record), ..old.clone() })
}

impl Desk {
    /// Puts an open stream on record in the session that its pod uses. Returns whether it is there.
    pub(super) async fn note_stream(&self, session: &CredentialSession, since: Timestamp, new: bool) -> bool {
        let replica = &self.streams.replica;
        if !takes(on_record(session), replica, new) {
            return true;
        }
        // One that was said to be lost is known to be open from now on.
        let lost = on_record(session).is_some_and(|r| r.lost_at.is_some());
        let since = if lost { self.clock.now() } else { since };
        let noted = |old: &Issuance| {
            let record =
                StreamRecord { replica: replica.clone(), since: whole_seconds(since).to_string(), lost_at: None };
            takes(old.stream.as_ref(), replica, new).then(|| Issuance { stream: Some(record), ..old.clone() })
        };
        self.change_stream(session, noted).await
    }

    /// Puts on record that a pod's stream was lost at `lost`, if it stays away and no other replica has taken it over. What can't be written
    /// is tried again for as long as the session is in use. `noted`: whether it was to be put on record itself; one that was left before costs
    /// the API server nothing, unless the view has an older one's record.
    pub(super) async fn note_loss(&self, pod_uid: &str, lost: Timestamp, noted: bool) {
        loop {
            sleep(AWAY).await;
            if self.streams.is_open(pod_uid) {
                return;
            }
            let sessions = self.view.of_pod(pod_uid);
            let ours = |record: &StreamRecord| loses(Some(record), &self.streams.replica);
            let mut settled = true;
            for session in view::in_use(&sessions, self.clock.now()) {
                if noted || on_record(session).is_some_and(ours) {
                    settled &= self.change_stream(session, |old| with_loss(old, lost, ours)).await;
                }
            }
            if settled {
                return;
            }
        }
    }

    /// Changes what is on record. Returns whether that is settled.
    pub(super) async fn change_stream(
        &self,
        session: &CredentialSession,
        change: impl Fn(&Issuance) -> Option<Issuance>,
    ) -> bool {
        match change_issuance(&self.client, session, change).await {
            Ok(()) => true,
            Err(kube::Error::Api(status)) if status.code == 404 => true,
            Err(error) => {
                tracing::debug!(%error, session = %session.name_any(), "a stream could not be put on record");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(replica: &str, lost: bool) -> StreamRecord {
        let lost_at = lost.then(|| "2026-01-01T12:00:00Z".to_owned());
        StreamRecord { replica: replica.into(), since: "2026-01-01T11:00:00Z".into(), lost_at }
    }

    #[test]
    fn a_pod_is_served_until_its_last_stream_has_ended() {
        let streams = Streams::new("one");
        let open = || streams.reserve("pod").unwrap().serving();
        let (first, second) = (open(), open());
        drop(first);
        assert!(streams.is_open("pod") && !streams.is_open("other"));
        let asked_for = streams.reserve("pod");
        drop(second);
        assert!(!streams.is_open("pod"), "who is not proved yet has no stream");
        drop(asked_for);
        assert!(lock(&streams.pods).is_empty(), "nothing is kept of pods that are gone");
    }

    #[test]
    fn a_pod_has_few_streams_at_once_and_a_place_that_is_left_is_free_again() {
        let streams = Streams::new("one");
        let mut places: Vec<_> = (0..MAX_OF_POD).map_while(|_| streams.reserve("pod")).collect();
        assert_eq!(places.len(), MAX_OF_POD);
        assert!(streams.reserve("pod").is_none());
        assert!(streams.reserve("other").is_some(), "another pod's are its own");
        places.pop();
        assert!(streams.reserve("pod").is_some());
    }

    #[test]
    fn a_new_stream_takes_the_record_and_one_that_stands_only_what_is_lost() {
        for (what, stands, new, takes_it) in [
            ("nobody's", None, false, true),
            ("our own", Some(record("one", false)), true, false),
            ("another's, by a new stream", Some(record("two", false)), true, true),
            ("another's, by one that stands", Some(record("two", false)), false, false),
            ("our own that was lost", Some(record("one", true)), false, true),
            ("another's that was lost", Some(record("two", true)), false, true),
        ] {
            assert_eq!(takes(stands.as_ref(), "one", new), takes_it, "{what}");
        }
    }

    #[test]
    fn only_who_is_on_record_says_that_the_stream_was_lost_and_says_it_once() {
        assert!(loses(Some(&record("one", false)), "one"));
        assert!(!loses(Some(&record("one", true)), "one"));
        assert!(!loses(Some(&record("two", false)), "one"));
        assert!(!loses(None, "one"));
    }

    /// Two streams that both believe to be the pod's own settle after at most one write each.
    #[test]
    fn two_replicas_do_not_write_in_turns() {
        let mut stands = None;
        let mut writes = 0;
        let mut new = [true, true];
        for turn in 0..20 {
            let (index, replica) = if turn % 2 == 0 { (0, "one") } else { (1, "two") };
            if takes(stands.as_ref(), replica, new[index]) {
                stands = Some(record(replica, false));
                writes += 1;
            }
            new[index] = false;
        }
        assert_eq!(writes, 2);
    }
}
