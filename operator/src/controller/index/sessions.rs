//! Which sessions a pod has, and how many of a namespace wait: known without a walk over all of them.

use exeat_crds::CredentialSession;
use exeat_crds::v1alpha1::Phase;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

type Key = ObjectRef<CredentialSession>;

/// Follows the watch of sessions.
#[derive(Default)]
pub(super) struct Index {
    known: HashMap<Key, Known>,
    by_pod: HashMap<String, HashSet<Key>>,
    waiting: HashMap<String, usize>,
    /// What a list that is not whole yet has brought.
    listed: HashMap<Key, Known>,
}

/// What counts of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Known {
    namespace: String,
    pod_uid: String,
    waits: bool,
}

impl Known {
    fn of(session: &CredentialSession) -> Self {
        let phase = session.status.as_ref().and_then(|s| s.phase);
        Self {
            namespace: session.namespace().unwrap_or_default(),
            pod_uid: session.spec.request.agent.pod.uid.clone(),
            waits: phase.is_none_or(|p| matches!(p, Phase::Pending | Phase::AwaitingApproval)),
        }
    }
}

impl Index {
    /// Takes in what the watch says. A fresh list takes the place of all that was known once it is whole, as in the store.
    pub(super) fn follow(&mut self, event: &Event<CredentialSession>) {
        match event {
            Event::Apply(session) => self.put(ObjectRef::from_obj(session), Known::of(session)),
            Event::Delete(session) => self.remove(&ObjectRef::from_obj(session)),
            Event::Init => self.listed.clear(),
            Event::InitApply(session) => drop(self.listed.insert(ObjectRef::from_obj(session), Known::of(session))),
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                *self = Self::default();
                listed.into_iter().for_each(|(key, known)| self.put(key, known));
            }
        }
    }

    /// The sessions of a pod.
    pub(super) fn of_pod(&self, uid: &str) -> Vec<Key> {
        self.by_pod.get(uid).into_iter().flatten().cloned().collect()
    }

    /// Sessions of a namespace that are not decided yet.
    pub(super) fn waiting(&self, namespace: &str) -> usize {
        self.waiting.get(namespace).copied().unwrap_or_default()
    }

    fn put(&mut self, key: Key, known: Known) {
        self.remove(&key);
        self.by_pod.entry(known.pod_uid.clone()).or_default().insert(key.clone());
        if known.waits {
            *self.waiting.entry(known.namespace.clone()).or_default() += 1;
        }
        self.known.insert(key, known);
    }

    fn remove(&mut self, key: &Key) {
        let Some(known) = self.known.remove(key) else { return };
        change(&mut self.by_pod, known.pod_uid, |keys| {
            keys.remove(key);
            keys.is_empty()
        });
        if known.waits {
            change(&mut self.waiting, known.namespace, |count| {
                *count = count.saturating_sub(1);
                *count == 0
            });
        }
    }
}

/// Changes an entry, and drops it where `empties` says that nothing is left.
fn change<K: Eq + Hash, V>(map: &mut HashMap<K, V>, key: K, empties: impl FnOnce(&mut V) -> bool) {
    if let Entry::Occupied(mut entry) = map.entry(key)
        && empties(entry.get_mut())
    {
        entry.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    const PHASES: [Option<&str>; 5] = [None, Some("Pending"), Some("AwaitingApproval"), Some("Active"), Some("Denied")];

    fn session(namespace: u8, name: u8, pod: u8, phase: usize) -> CredentialSession {
        let status = PHASES[phase].map_or(json!({}), |phase| json!({"phase": phase}));
        serde_json::from_value(json!({
            "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession",
            "metadata": {"name": format!("s{name}"), "namespace": format!("n{namespace}")},
            "spec": {"request": {
                "policyRef": {"name": "p", "uid": "u"}, "providerRef": {"name": "p"}, "authorityHash": "h", "number": 1,
                "agent": {"serviceAccount": "sa", "pod": {"name": "pod", "uid": format!("pod{pod}")}}}},
            "status": status
        }))
        .unwrap()
    }

    /// The watch's own store, and the same answers by walking over it.
    #[derive(Default)]
    struct Walk {
        store: BTreeMap<String, CredentialSession>,
        listed: BTreeMap<String, CredentialSession>,
    }

    impl Walk {
        fn follow(&mut self, event: &Event<CredentialSession>) {
            let key = |s: &CredentialSession| format!("{}/{}", s.namespace().unwrap(), s.name_any());
            match event.clone() {
                Event::Apply(s) => drop(self.store.insert(key(&s), s)),
                Event::Delete(s) => drop(self.store.remove(&key(&s))),
                Event::Init => self.listed.clear(),
                Event::InitApply(s) => drop(self.listed.insert(key(&s), s)),
                Event::InitDone => self.store = std::mem::take(&mut self.listed),
            }
        }

        fn waiting(&self, namespace: &str) -> usize {
            let waits = |s: &CredentialSession| {
                let phase = s.status.as_ref().and_then(|s| s.phase);
                phase.is_none() || phase == Some(Phase::Pending) || phase == Some(Phase::AwaitingApproval)
            };
            self.store.values().filter(|s| s.namespace().as_deref() == Some(namespace) && waits(s)).count()
        }

        fn of_pod(&self, uid: &str) -> Vec<String> {
            let of = |s: &&CredentialSession| s.spec.request.agent.pod.uid == uid;
            self.store.values().filter(of).map(|s| ObjectRef::from_obj(s).to_string()).collect()
        }
    }

    proptest! {
        /// Through changes, deletions, deletions of what was never seen, lists and lists that are broken off.
        #[test]
        fn the_index_says_what_a_walk_over_the_store_says(
            events in prop::collection::vec((0u8..8, 0u8..2, 0u8..4, 0u8..3, 0usize..PHASES.len()), 1..80)
        ) {
            let (mut index, mut walk) = (Index::default(), Walk::default());
            for (kind, namespace, name, pod, phase) in events {
                let session = session(namespace, name, pod, phase);
                let event = match kind {
                    0..=2 => Event::Apply(session),
                    3 => Event::Delete(session),
                    4 => Event::Init,
                    5 | 6 => Event::InitApply(session),
                    _ => Event::InitDone,
                };
                index.follow(&event);
                walk.follow(&event);
                for namespace in ["n0", "n1", "n2"] {
                    prop_assert_eq!(index.waiting(namespace), walk.waiting(namespace));
                }
                for pod in ["pod0", "pod1", "pod2"] {
                    let mut found: Vec<_> = index.of_pod(pod).iter().map(ToString::to_string).collect();
                    let mut expected = walk.of_pod(pod);
                    found.sort();
                    expected.sort();
                    prop_assert_eq!(found, expected);
                }
                prop_assert!(index.waiting.values().all(|n| *n > 0) && index.by_pod.values().all(|k| !k.is_empty()), "nothing is kept of what is gone");
            }
        }
    }
}
