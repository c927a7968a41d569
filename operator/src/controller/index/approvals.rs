//! Approvals by policy, and how many of a namespace people are asked, or were in vain.

use super::{Key, View, change};
use crate::controller::caches::is_open;
use exeat_crds::{Approval, approval};
use jiff::Timestamp;
use kube::ResourceExt;
use std::collections::{HashMap, HashSet};

/// What is known of approvals.
#[derive(Default)]
pub(super) struct Approvals {
    by_policy: HashMap<(String, String), HashSet<Key<Approval>>>,
    open: HashMap<String, HashSet<Key<Approval>>>,
    vain: HashMap<String, HashMap<Key<Approval>, Timestamp>>,
}

/// What counts of an approval.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Known {
    namespace: String,
    policy: String,
    open: bool,
    vain_at: Option<Timestamp>,
}

impl Approvals {
    /// What people were asked under a policy of this name.
    pub(super) fn of_policy(&self, namespace: &str, policy: &str) -> Vec<Key<Approval>> {
        self.by_policy.get(&(namespace.to_owned(), policy.to_owned())).into_iter().flatten().cloned().collect()
    }

    /// How many of a namespace people are asked.
    pub(super) fn open(&self, namespace: &str) -> usize {
        self.open.get(namespace).map_or(0, HashSet::len)
    }

    /// How many of a namespace people were asked that they refused, or that nobody needs, since some time after `since`.
    pub(super) fn vain_since(&self, namespace: &str, since: Timestamp) -> usize {
        self.vain.get(namespace).map_or(0, |all| all.values().filter(|at| **at > since).count())
    }
}

impl View for Approvals {
    type Object = Approval;
    type Known = Known;

    fn known(approval: &Approval) -> Known {
        Known {
            namespace: approval.namespace().unwrap_or_default(),
            policy: approval.spec.request.policy_ref.name.clone(),
            open: is_open(approval),
            vain_at: approval::moot_at(approval).or_else(|| approval::refused_at(approval)),
        }
    }

    fn put(&mut self, key: &Key<Approval>, known: &Known) {
        let policy = (known.namespace.clone(), known.policy.clone());
        self.by_policy.entry(policy).or_default().insert(key.clone());
        if known.open {
            self.open.entry(known.namespace.clone()).or_default().insert(key.clone());
        }
        if let Some(at) = known.vain_at {
            self.vain.entry(known.namespace.clone()).or_default().insert(key.clone(), at);
        }
    }

    fn remove(&mut self, key: &Key<Approval>, known: &Known) {
        change(&mut self.by_policy, &(known.namespace.clone(), known.policy.clone()), |keys| {
            keys.remove(key);
            keys.is_empty()
        });
        change(&mut self.open, &known.namespace, |keys| {
            keys.remove(key);
            keys.is_empty()
        });
        change(&mut self.vain, &known.namespace, |keys| {
            keys.remove(key);
            keys.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::index::Index;
    use kube::runtime::reflector::ObjectRef;
    use kube::runtime::watcher::Event;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    const NOW: &str = "2026-01-01T12:00:00Z";

    /// Not looked at, pending, approved, moot or refused at 12:00:SECOND, and expired by its deadline.
    fn status(kind: u8, second: u8) -> serde_json::Value {
        let settled = |reason: &str| {
            json!({"phase": "Expired", "conditions": [{"type": "Decided", "status": "True", "reason": reason, "message": "",
                "lastTransitionTime": format!("2026-01-01T12:00:{second:02}Z")}]})
        };
        match kind {
            0 => json!({}),
            1 => json!({"phase": "Pending"}),
            2 => json!({"phase": "Approved", "decidedAt": NOW}),
            3 => settled("ApprovalUnneeded"),
            4 => json!({"phase": "Denied", "decidedAt": format!("2026-01-01T12:00:{second:02}Z")}),
            _ => settled("ApprovalExpired"),
        }
    }

    fn approval(namespace: u8, name: u8, policy: u8, kind: u8) -> Approval {
        let request = exeat_crds::v1alpha1::ApprovalRequest::default();
        let mut approval =
            Approval::new(&format!("a{name}"), exeat_crds::v1alpha1::ApprovalSpec { request, decisions: vec![] });
        approval.metadata.namespace = Some(format!("n{namespace}"));
        approval.spec.request.policy_ref.name = format!("p{policy}");
        approval.status = Some(serde_json::from_value(status(kind, name * 10)).unwrap());
        approval
    }

    proptest! {
        /// Through changes, deletions, deletions of what was never seen, lists and lists that are broken off.
        #[test]
        fn the_index_says_what_a_walk_over_the_store_says(
            events in prop::collection::vec((0u8..8, 0u8..2, 0u8..4, 0u8..2, 0u8..6), 1..80), since in 0u8..60
        ) {
            let mut index = Index::<Approvals>::default();
            let (mut store, mut listed) = (BTreeMap::new(), BTreeMap::new());
            let since: Timestamp = format!("2026-01-01T12:00:{since:02}Z").parse().unwrap();
            for (kind, namespace, name, policy, state) in events {
                let object = approval(namespace, name, policy, state);
                let key = ObjectRef::from_obj(&object).to_string();
                index.follow(&match kind {
                    0..=2 => { store.insert(key, object.clone()); Event::Apply(object) }
                    3 => { store.remove(&key); Event::Delete(object) }
                    4 => { listed.clear(); Event::Init }
                    5 | 6 => { listed.insert(key, object.clone()); Event::InitApply(object) }
                    _ => { store = std::mem::take(&mut listed); Event::InitDone }
                });
                let view = index.view();
                for namespace in ["n0", "n1", "n2"] {
                    let here: Vec<&Approval> = store.values().filter(|a| a.namespace().as_deref() == Some(namespace)).collect();
                    prop_assert_eq!(view.open(namespace), here.iter().filter(|a| is_open(a)).count());
                    let asked_in_vain = |a: &&&Approval| {
                        approval::moot_at(a).is_some_and(|at| at > since) || approval::refused_at(a).is_some_and(|at| at > since)
                    };
                    prop_assert_eq!(view.vain_since(namespace, since), here.iter().filter(asked_in_vain).count());
                    for policy in ["p0", "p1"] {
                        let mut found: Vec<String> = view.of_policy(namespace, policy).iter().map(ToString::to_string).collect();
                        let of = |a: &&&Approval| a.spec.request.policy_ref.name == policy;
                        let mut expected: Vec<String> = here.iter().filter(of).map(|a| ObjectRef::from_obj(*a).to_string()).collect();
                        found.sort();
                        expected.sort();
                        prop_assert_eq!(found, expected);
                    }
                }
                let sets = view.by_policy.values().chain(view.open.values());
                prop_assert!(sets.map(HashSet::len).chain(view.vain.values().map(HashMap::len)).all(|n| n > 0), "nothing is kept of what is gone");
            }
        }
    }
}
