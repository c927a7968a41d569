//! What was done of late. Pure.

use super::over::Over;
use std::collections::HashSet;

/// Sessions for which nothing is left to do, by UID: the cache of sessions is behind it.
#[derive(Default)]
pub(super) struct Done(HashSet<String>);

impl Done {
    /// Those that are still to be done, of all that are due. What is no longer due is forgotten.
    pub(super) fn open(&mut self, due: Vec<Over>) -> Vec<Over> {
        let uids: HashSet<&str> = due.iter().map(|o| o.id.uid.as_str()).collect();
        self.0.retain(|uid| uids.contains(uid.as_str()));
        due.into_iter().filter(|o| !self.0.contains(&o.id.uid)).collect()
    }

    /// Nothing is left to do for this one.
    pub(super) fn add(&mut self, over: &Over) {
        self.0.insert(over.id.uid.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exeat_providers::SessionId;

    fn over(uid: &str) -> Over {
        let id = SessionId {
            name: uid.into(),
            uid: uid.into(),
            namespace: "agents".into(),
            service_account: "sa".into(),
            policy: "p".into(),
        };
        Over { id, handle: None, session: None }
    }

    #[test]
    fn what_is_done_is_not_done_again_while_the_cache_is_behind_and_then_forgotten() {
        let mut done = Done::default();
        let open = |done: &mut Done, due: &[&str]| {
            done.open(due.iter().map(|uid| over(uid)).collect()).into_iter().map(|o| o.id.uid).collect::<Vec<_>>()
        };
        assert_eq!(open(&mut done, &["a", "b"]), ["a", "b"]);
        done.add(&over("a"));
        assert_eq!(open(&mut done, &["a", "b", "c"]), ["b", "c"]);
        assert!(open(&mut done, &[]).is_empty() && done.0.is_empty());
    }
}
