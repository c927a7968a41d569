//! Sessions by pod, and those that are not decided yet by namespace.

use super::{Key, View, change};
use crate::controller::session::gate;
use exeat_crds::CredentialSession;
use kube::ResourceExt;
use std::collections::{HashMap, HashSet};

/// What is known of sessions.
#[derive(Default)]
pub(in crate::controller) struct Sessions {
    by_pod: HashMap<String, HashSet<Key<CredentialSession>>>,
    waiting: HashMap<String, HashSet<Key<CredentialSession>>>,
}

/// What counts of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::controller) struct Known {
    namespace: String,
    pod_uid: String,
    waits: bool,
}

impl Sessions {
    /// The sessions of a pod.
    pub(in crate::controller) fn of_pod(&self, uid: &str) -> Vec<Key<CredentialSession>> {
        self.by_pod.get(uid).into_iter().flatten().cloned().collect()
    }

    /// Sessions of a namespace that are not decided yet.
    pub(in crate::controller) fn waiting(&self, namespace: &str) -> Vec<Key<CredentialSession>> {
        self.waiting.get(namespace).into_iter().flatten().cloned().collect()
    }

    /// How many sessions of a namespace are not decided yet.
    pub(in crate::controller) fn waiting_count(&self, namespace: &str) -> usize {
        self.waiting.get(namespace).map_or(0, HashSet::len)
    }
}

impl View for Sessions {
    type Object = CredentialSession;
    type Known = Known;

    fn known(session: &CredentialSession) -> Known {
        Known {
            namespace: session.namespace().unwrap_or_default(),
            pod_uid: session.spec.request.agent.pod.uid.clone(),
            waits: gate::waits(session),
        }
    }

    fn put(&mut self, key: &Key<CredentialSession>, known: &Known) {
        self.by_pod.entry(known.pod_uid.clone()).or_default().insert(key.clone());
        if known.waits {
            self.waiting.entry(known.namespace.clone()).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &Key<CredentialSession>, known: &Known) {
        change(&mut self.by_pod, &known.pod_uid, |keys| {
            keys.remove(key);
            keys.is_empty()
        });
        change(&mut self.waiting, &known.namespace, |keys| {
            keys.remove(key);
            keys.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::index::Index;
    use exeat_crds::v1alpha1::Phase;
    use kube::runtime::reflector::ObjectRef;
    use kube::runtime::watcher::Event;
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
            let (mut index, mut walk) = (Index::<Sessions>::default(), Walk::default());
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
                    prop_assert_eq!(index.view().waiting(namespace).len(), walk.waiting(namespace));
                    prop_assert_eq!(index.view().waiting_count(namespace), walk.waiting(namespace));
                }
                for pod in ["pod0", "pod1", "pod2"] {
                    let mut found: Vec<_> = index.view().of_pod(pod).iter().map(ToString::to_string).collect();
                    let mut expected = walk.of_pod(pod);
                    found.sort();
                    expected.sort();
                    prop_assert_eq!(found, expected);
                }
                let view = index.view();
                prop_assert!(view.waiting.values().chain(view.by_pod.values()).all(|k| !k.is_empty()), "nothing is kept of what is gone");
            }
        }
    }
}
