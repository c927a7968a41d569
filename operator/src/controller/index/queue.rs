//! How much people are asked in a namespace: what the watch has told of, and what is just being asked. So the bound holds however many sessions
//! are decided at once, and however late the watch is.

use super::approvals::Approvals;
use super::{Index, Key};
use exeat_crds::Approval;
use jiff::{SignedDuration, Timestamp};
use kube::runtime::watcher::Event;
use std::collections::HashMap;

/// What people refused, or nobody needed any more, counts for this long: who asks again and again in vain must not keep people busy.
const VAIN_COUNTS: SignedDuration = SignedDuration::from_hours(1);
/// What was asked and is not seen for this long was removed by somebody while no watch looked.
const UNSEEN: SignedDuration = SignedDuration::from_mins(10);

/// The queue of people.
#[derive(Default)]
pub(in crate::controller) struct Queue {
    index: Index<Approvals>,
    asking: HashMap<Key<Approval>, Asking>,
}

/// A question that the watch has not told of.
struct Asking {
    since: Timestamp,
    /// Whether its creation has not been answered yet.
    under_way: bool,
    /// Whether an earlier try may have created it.
    perhaps_there: bool,
}

impl Queue {
    /// Takes in what the watch says.
    pub(in crate::controller) fn follow(&mut self, event: &Event<Approval>) {
        self.index.follow(event);
        match event {
            Event::Apply(approval) | Event::Delete(approval) => drop(self.asking.remove(&Key::from_obj(approval))),
            Event::InitDone => self.asking.retain(|key, _| !self.index.has(key)),
            Event::Init | Event::InitApply(_) => {}
        }
    }

    /// What people were asked under a policy of this name.
    pub(in crate::controller) fn of_policy(&self, namespace: &str, policy: &str) -> Vec<Key<Approval>> {
        self.index.view().of_policy(namespace, policy)
    }

    /// Whether people may be asked one more thing in a namespace: `most` at once, and twice as many in an hour that come to nothing.
    pub(in crate::controller) fn has_room(&self, namespace: &str, most: usize, now: Timestamp) -> bool {
        let fresh = |since: Timestamp| now.duration_since(since) < UNSEEN;
        let here = |key: &Key<Approval>| key.namespace.as_deref() == Some(namespace);
        let asking = self.asking.iter().filter(|(key, asking)| here(key) && fresh(asking.since)).count();
        let open = self.index.view().open(namespace) + asking;
        let since = now.checked_sub(VAIN_COUNTS).unwrap_or(Timestamp::MIN);
        open < most && open + self.index.view().vain_since(namespace, since) < most.saturating_mul(2)
    }

    /// Before people are asked: takes the place of this question. Returns whether it has one; of several who would ask the same at once one does.
    pub(in crate::controller) fn take_place(&mut self, key: &Key<Approval>, most: usize, now: Timestamp) -> bool {
        self.asking.retain(|_, asking| now.duration_since(asking.since) < UNSEEN);
        if self.index.has(key) {
            return true;
        }
        if let Some(asking) = self.asking.get_mut(key) {
            return !std::mem::replace(&mut asking.under_way, true);
        }
        let room = self.has_room(key.namespace.as_deref().unwrap_or_default(), most, now);
        if room {
            self.asking.insert(key.clone(), Asking { since: now, under_way: true, perhaps_there: false });
        }
        room
    }

    /// After people were asked. What was refused leaves its place; what may be there keeps it until the watch tells.
    pub(in crate::controller) fn asked(&mut self, key: &Key<Approval>, refused: bool) {
        let Some(asking) = self.asking.get_mut(key) else { return };
        if refused && !asking.perhaps_there {
            self.asking.remove(key);
        } else {
            (asking.under_way, asking.perhaps_there) = (false, true);
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
