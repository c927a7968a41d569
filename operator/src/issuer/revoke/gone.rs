//! Sessions whose object went before their access had ended, a namespace's at its end above all: nothing of ours holds it up for that.
//!
//! The watch tells of those that go while this replica looks, with their last state. The rest is found by what is left of them at the
//! provider (see [`sweep`](super::sweep)).

use super::over::Over;
use crate::revocation::is_outstanding;
use exeat_crds::CredentialSession;
use exeat_providers::Made;
use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{broadcast, mpsc};

/// What is younger may be of a mint under way, for a session that the view has not seen yet.
pub(super) const YOUNG: SignedDuration = SignedDuration::from_mins(1);
/// Sessions that are dealt with at once; the next sweep finds the others.
const MAX: usize = 4096;

/// Sessions that are gone and whose access is yet to be ended.
pub(super) struct Gone {
    told: broadcast::Receiver<Arc<CredentialSession>>,
    swept: mpsc::Receiver<Vec<Made>>,
    left: HashMap<String, Over>,
    /// Those that were dealt with of late: the watch tells late.
    dealt: HashSet<String>,
}

impl Gone {
    pub(super) fn new(told: broadcast::Receiver<Arc<CredentialSession>>, swept: mpsc::Receiver<Vec<Made>>) -> Self {
        Self { told, swept, left: HashMap::new(), dealt: HashSet::new() }
    }

    /// All that are left, with those that have become known since the last look and were not dealt with before they went.
    pub(super) fn look(&mut self) -> Vec<Over> {
        loop {
            match self.told.try_recv() {
                Ok(session) if is_outstanding(&session) => self.take_in(Over::of(session)),
                Ok(_) | Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        while let Ok(made) = self.swept.try_recv() {
            for made in made {
                self.take_in(Over { id: made.session, handle: None, session: None });
            }
        }
        self.left.values().cloned().collect()
    }

    fn take_in(&mut self, over: Over) {
        if self.left.len() < MAX && !self.dealt.contains(&over.id.uid) {
            self.left.entry(over.id.uid.clone()).or_insert(over);
        }
    }

    /// Nothing is left to do for this one.
    pub(super) fn tidied(&mut self, uid: &str) {
        self.left.remove(uid);
        if self.dealt.len() >= MAX {
            self.dealt.clear();
        }
        self.dealt.insert(uid.to_owned());
    }
}

/// What of all that was made belongs to no session any more, and when more of it may, if nothing changes. Nothing is anybody's to judge
/// while it is not `known` which sessions there are.
pub(super) fn nobodys(
    made: Vec<Made>,
    known: Option<&HashSet<String>>,
    now: Timestamp,
) -> (Vec<Made>, Option<Timestamp>) {
    let Some(known) = known else { return (Vec::new(), None) };
    let unknown = made.into_iter().filter(|m| !known.contains(&m.session.uid));
    let (old, young): (Vec<_>, Vec<_>) = unknown.partition(|m| now.duration_since(m.since) >= YOUNG);
    let next = young.iter().filter_map(|m| m.since.checked_add(YOUNG).ok()).min();
    (old, next)
}

#[cfg(test)]
#[path = "gone_tests.rs"]
mod tests;
