//! What was done of late. Pure.

use exeat_crds::CredentialSession;
use kube::ResourceExt;
use std::collections::HashSet;
use std::sync::Arc;

/// Sessions for which nothing is left to do, by UID: the cache of sessions is behind it.
#[derive(Default)]
pub(super) struct Done(HashSet<String>);

impl Done {
    /// Those that are still to be done, of all that are due. What is no longer due is forgotten.
    pub(super) fn open(&mut self, due: Vec<Arc<CredentialSession>>) -> Vec<Arc<CredentialSession>> {
        let uids: HashSet<String> = due.iter().filter_map(|s| s.uid()).collect();
        self.0.retain(|uid| uids.contains(uid));
        due.into_iter().filter(|s| s.uid().is_none_or(|uid| !self.0.contains(&uid))).collect()
    }

    /// Nothing is left to do for this one.
    pub(super) fn add(&mut self, session: &CredentialSession) {
        self.0.extend(session.uid());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sessions(names: &[&str]) -> Vec<Arc<CredentialSession>> {
        let session = |name: &&str| {
            serde_json::from_value(json!({
                "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession", "metadata": {"name": name, "uid": name},
                "spec": {"request": {"policyRef": {"name": "p", "uid": "u"}, "providerRef": {"name": "here"}, "authorityHash": "h", "number": 1,
                    "agent": {"serviceAccount": "sa", "pod": {"name": "a", "uid": "u"}}}}}))
            .unwrap()
        };
        names.iter().map(|name| Arc::new(session(name))).collect()
    }

    #[test]
    fn what_is_done_is_not_done_again_while_the_cache_is_behind_and_then_forgotten() {
        let mut done = Done::default();
        let open =
            |done: &mut Done, due: &[&str]| done.open(sessions(due)).iter().map(|s| s.name_any()).collect::<Vec<_>>();
        assert_eq!(open(&mut done, &["a", "b"]), ["a", "b"]);
        done.add(&sessions(&["a"])[0]);
        assert_eq!(open(&mut done, &["a", "b", "c"]), ["b", "c"]);
        assert!(open(&mut done, &[]).is_empty() && done.0.is_empty());
    }
}
