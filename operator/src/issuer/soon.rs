//! When what is new and was refused is tried again: what it needs (RBAC, trust in the cloud, a Secret) often comes a moment after it. Pure.

use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

/// Waits after the first refusals, seconds. After these it is tried as seldom as all that fails.
const WAITS: [i64; 4] = [1, 2, 4, 8];
/// So many are tried soon at once. A provider that refuses a thousand policies is hardly asked more often for it.
const MOST: usize = 16;
/// What was not tried for so long after its time is gone.
const GONE: SignedDuration = SignedDuration::from_secs(60);

/// What is tried again soon, by UID.
#[derive(Debug, Default)]
pub(super) struct Soon(HashMap<String, Refused>);

#[derive(Debug)]
struct Refused {
    hash: String,
    times: usize,
    again: Timestamp,
}

impl Soon {
    /// When this is tried again, where that is soon. `hash` tells it from what it was before a change.
    pub(super) fn again(&self, uid: &str, hash: &str) -> Option<Timestamp> {
        self.0.get(uid).filter(|refused| refused.hash == hash).map(|refused| refused.again)
    }

    /// The next of them after `now`.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.values().map(|refused| refused.again).filter(|again| *again > now).min()
    }

    /// Notes how a try ended. `new` is what has no result on record as it is.
    pub(super) fn note(&mut self, uid: &str, hash: &str, new: bool, refused: bool, now: Timestamp) {
        self.0.retain(|_, refused| now.duration_since(refused.again) < GONE);
        let before = self.0.remove(uid).filter(|before| before.hash == hash);
        let times = before.map_or(0, |before| before.times);
        let wait = WAITS.get(times).filter(|_| refused && (times > 0 || new) && self.0.len() < MOST);
        if let Some(again) = wait.and_then(|wait| now.checked_add(SignedDuration::from_secs(*wait)).ok()) {
            self.0.insert(uid.to_owned(), Refused { hash: hash.to_owned(), times: times + 1, again });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn what_is_new_is_tried_a_few_times_at_growing_distance() {
        let (mut soon, mut now) = (Soon::default(), 0);
        let mut tries = Vec::new();
        soon.note("u", "h", true, true, at(now));
        while let Some(again) = soon.again("u", "h") {
            assert_eq!((soon.next(at(now)), soon.next(again)), (Some(again), None));
            now = again.as_second();
            tries.push(now);
            soon.note("u", "h", false, true, again);
        }
        assert_eq!(tries, [1, 3, 7, 15]);
        soon.note("u", "h", false, true, at(now));
        assert_eq!(soon.again("u", "h"), None, "it is on record, and old");
    }

    #[test]
    fn a_success_ends_it_and_a_change_begins_it_anew() {
        let mut soon = Soon::default();
        soon.note("u", "h", true, true, at(0));
        soon.note("u", "h", false, true, at(1));
        assert_eq!((soon.again("u", "h"), soon.again("u", "changed"), soon.again("v", "h")), (Some(at(3)), None, None));
        soon.note("u", "changed", true, true, at(3));
        assert_eq!((soon.again("u", "h"), soon.again("u", "changed")), (None, Some(at(4))));
        soon.note("u", "changed", false, false, at(4));
        assert_eq!((soon.again("u", "changed"), soon.next(at(0))), (None, None));
    }

    #[test]
    fn many_do_not_add_up_and_the_gone_make_room() {
        let mut soon = Soon::default();
        let all = |soon: &Soon| (0..1000).filter(|n| soon.again(&n.to_string(), "h").is_some()).count();
        (0..1000).for_each(|n| soon.note(&n.to_string(), "h", true, true, at(0)));
        assert_eq!(all(&soon), MOST);
        soon.note("999", "h", true, true, at(1).checked_add(GONE).unwrap());
        assert_eq!(all(&soon), 1);
    }
}
