//! In which order sessions that are over are dealt with. Pure.

use crate::issuer::mint::session_id;
use exeat_crds::CredentialSession;
use exeat_providers::SessionId;
use std::collections::HashSet;
use std::sync::Arc;

/// Sessions that are tidied up after between two looks at whose access is to be ended.
const BATCH: usize = 64;

/// A session whose access is to be ended.
#[derive(Clone, Debug)]
pub(super) struct Over {
    /// As its provider knows it.
    pub(super) id: SessionId,
    /// What helps to revoke it, where that is known.
    pub(super) handle: Option<String>,
    /// Its object as it is, or was last; `None` where it is gone and nobody saw it go.
    pub(super) session: Option<Arc<CredentialSession>>,
}

impl Over {
    /// By its object.
    pub(super) fn of(session: Arc<CredentialSession>) -> Self {
        let issuance = session.status.as_ref().and_then(|s| s.issuance.as_ref());
        Self { id: session_id(&session), handle: issuance.and_then(|i| i.handle.clone()), session: Some(session) }
    }
}

/// What was done of late, by UID: the cache of sessions is behind it.
#[derive(Default)]
pub(super) struct Rounds {
    ended: HashSet<String>,
    tidied: HashSet<String>,
    tried: HashSet<String>,
}

/// What to do now.
pub(super) struct Round {
    /// First these sessions' access is ended.
    pub(super) end: Vec<Over>,
    /// Then these are revoked whole.
    pub(super) tidy: Vec<Over>,
    /// All that is due has been tried: the next round may wait for a change.
    pub(super) last: bool,
}

fn uid(over: &Over) -> String {
    over.id.uid.clone()
}

impl Rounds {
    /// The next round, of all that is due. Each is tried once before any is tried again.
    pub(super) fn next(&mut self, due: Vec<Over>) -> Round {
        let uids: HashSet<String> = due.iter().map(uid).collect();
        for known in [&mut self.ended, &mut self.tidied, &mut self.tried] {
            known.retain(|uid| uids.contains(uid));
        }
        let open: Vec<_> = due.into_iter().filter(|s| !self.tidied.contains(&uid(s))).collect();
        let end = open.iter().filter(|s| !self.ended.contains(&uid(s))).cloned().collect();
        let mut untried = open.into_iter().filter(|s| !self.tried.contains(&uid(s)));
        let tidy: Vec<_> = untried.by_ref().take(BATCH).collect();
        let last = untried.next().is_none();
        drop(untried);
        self.tried.extend(tidy.iter().map(uid));
        if last {
            self.tried.clear();
        }
        Round { end, tidy, last }
    }

    /// Whether nothing is left to do for a session, by what was done of late.
    pub(super) fn is_tidied(&self, uid: &str) -> bool {
        self.tidied.contains(uid)
    }

    /// Access of these has ended.
    pub(super) fn ended(&mut self, uids: Vec<String>) {
        self.ended.extend(uids);
    }

    /// Nothing is left to do for these.
    pub(super) fn tidied(&mut self, uids: Vec<String>) {
        self.tidied.extend(uids);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sessions(names: std::ops::Range<usize>) -> Vec<Over> {
        let session = |n: usize| {
            serde_json::from_value(json!({
                "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession", "metadata": {"name": format!("s{n}"), "uid": n.to_string()},
                "spec": {"request": {"policyRef": {"name": "p", "uid": "u"}, "providerRef": {"name": "here"}, "authorityHash": "h", "number": 1,
                    "agent": {"serviceAccount": "sa", "pod": {"name": "a", "uid": "u"}}}}}))
            .unwrap()
        };
        names.map(|n| Over::of(Arc::new(session(n)))).collect()
    }

    fn uids(sessions: &[Over]) -> Vec<String> {
        sessions.iter().map(uid).collect()
    }

    #[test]
    fn access_of_all_ends_before_the_second_batch_is_tidied_up_after_and_who_comes_later_waits_for_one_batch() {
        let mut rounds = Rounds::default();
        let first = rounds.next(sessions(0..1000));
        assert_eq!((first.end.len(), first.tidy.len(), first.last), (1000, BATCH, false));
        rounds.ended(uids(&first.end));
        rounds.tidied(uids(&first.tidy));
        let second = rounds.next(sessions(0..1001));
        assert_eq!((uids(&second.end), second.tidy.len()), (vec!["1000".to_owned()], BATCH));
        assert!(uids(&second.tidy).iter().all(|uid| !uids(&first.tidy).contains(uid)), "the cache is only behind");
    }

    #[test]
    fn what_fails_is_tried_again_after_all_others() {
        let mut rounds = Rounds::default();
        let mut tidied = HashSet::new();
        for n in 1.. {
            let round = rounds.next(sessions(0..200));
            assert_eq!(round.end.len(), 200, "nothing is known to have ended");
            let (_, done): (Vec<_>, Vec<_>) =
                uids(&round.tidy).into_iter().partition(|uid| uid.parse::<usize>().unwrap() < 100);
            tidied.extend(done);
            if round.last {
                assert_eq!((n, tidied.len()), (200_usize.div_ceil(BATCH), 100));
                break;
            }
        }
        assert_eq!(uids(&rounds.next(sessions(0..200)).tidy)[0], "0");
    }

    #[test]
    fn nothing_is_remembered_of_sessions_that_are_no_longer_due() {
        let mut rounds = Rounds::default();
        let round = rounds.next(sessions(0..3));
        assert!(round.last);
        rounds.ended(uids(&round.end));
        rounds.tidied(uids(&round.tidy));
        let idle = rounds.next(sessions(0..3));
        assert!(idle.end.is_empty() && idle.tidy.is_empty() && idle.last && rounds.is_tidied("0"));
        assert!(rounds.next(sessions(3..3)).last && rounds.ended.is_empty() && rounds.tidied.is_empty());
    }
}
