//! What keeps the watches from their objects, each for itself. Pure.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// A watch that does not get through says so again within this; one that does says nothing where nothing changes.
const FADES: SignedDuration = SignedDuration::from_secs(90);

/// The last failure of each watch that has not shown itself to be over.
#[derive(Debug, Default)]
pub struct Troubles(BTreeMap<&'static str, (String, Timestamp)>);

impl Troubles {
    /// A watch failed. `true` where that is news.
    pub fn met(&mut self, watch: &'static str, text: &str, now: Timestamp) -> bool {
        let before = self.0.insert(watch, (text.to_owned(), now));
        before.is_none_or(|(told, at)| told != text || is_over(at, now))
    }

    /// A watch brought something. `true` where it had failed before.
    pub fn over(&mut self, watch: &'static str) -> bool {
        self.0.remove(watch).is_some()
    }

    /// What stands.
    pub fn standing(&self, now: Timestamp) -> impl Iterator<Item = String> {
        let standing = self.0.iter().filter(move |(_, (_, at))| !is_over(*at, now));
        standing.map(|(watch, (text, _))| format!("{watch}: {text}"))
    }
}

fn is_over(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) > FADES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn each_watch_has_its_own_and_tells_it_once() {
        let mut troubles = Troubles::default();
        for second in 0..3 {
            assert_eq!(troubles.met("sessions", "refused", at(second)), second == 0);
            assert_eq!(troubles.met("approvals", "forbidden", at(second)), second == 0);
        }
        assert!(troubles.met("sessions", "forbidden", at(4)), "another reason is news");
        let standing = |troubles: &Troubles, second| troubles.standing(at(second)).collect::<Vec<_>>();
        assert_eq!(standing(&troubles, 5), ["approvals: forbidden", "sessions: forbidden"]);
        assert!(troubles.over("sessions") && !troubles.over("sessions"));
        assert_eq!(standing(&troubles, 5), ["approvals: forbidden"]);
    }

    #[test]
    fn what_is_not_met_again_is_over() {
        let mut troubles = Troubles::default();
        assert!(troubles.met("sessions", "refused", at(0)) && !troubles.met("sessions", "refused", at(40)));
        assert_eq!(troubles.standing(at(130)).count(), 1);
        assert_eq!(troubles.standing(at(131)).count(), 0);
        assert!(troubles.met("sessions", "refused", at(140)));
    }
}
