//! What a run knows of its sessions: by UID, so that ten thousand are as quickly found as ten. Pure.

use super::select::{Todo, todo};
use crate::sessions::phase;
use exeat_crds::CredentialSession;
use exeat_crds::v1alpha1::Phase;
use jiff::Timestamp;
use kube::ResourceExt;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What became of the sessions that a run is about.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Those that are revoked, as they were read last.
    pub revoked: BTreeMap<String, CredentialSession>,
    /// Those that had ended by a revocation before this run, and whose access may last.
    pub before: Vec<CredentialSession>,
    /// Those that are not revoked, with the reason.
    pub failed: Vec<(String, String)>,
    /// How many were not tried, by namespace: all before them were refused.
    pub untried: BTreeMap<String, usize>,
    /// Those of `revoked` that had not ended at the last look.
    open: HashSet<String>,
    seen: HashSet<String>,
}

fn uid(session: &CredentialSession) -> String {
    session.uid().unwrap_or_default()
}

impl Ledger {
    /// Begins with what was found first. A run that was cut off may have ended sessions whose credentials still work: they count.
    pub fn new(found: &[CredentialSession], now: Timestamp) -> Self {
        let lasts = |session: &&CredentialSession| {
            let revocation = session.status.as_ref().and_then(|s| s.revocation.as_ref());
            let until = revocation.and_then(|r| r.effective_by.parse::<Timestamp>().ok());
            phase(session) == Phase::Revoked && until.is_some_and(|until| until > now)
        };
        Self { before: found.iter().filter(lasts).cloned().collect(), ..Self::default() }
    }

    /// Takes a look's sessions in and gives those that are to be revoked, each once.
    pub fn take_in(&mut self, found: Vec<CredentialSession>) -> Vec<CredentialSession> {
        let mut new = Vec::new();
        for session in found {
            match todo(&session) {
                _ if self.seen.contains(&uid(&session)) => {}
                Todo::Nothing => {}
                Todo::Await => self.revoked(session),
                Todo::Revoke => {
                    self.seen.insert(uid(&session));
                    new.push(session);
                }
            }
        }
        new
    }

    /// A session is revoked, by this run or by somebody else.
    pub fn revoked(&mut self, session: CredentialSession) {
        let uid = uid(&session);
        self.seen.insert(uid.clone());
        if todo(&session) != Todo::Nothing {
            self.open.insert(uid.clone());
        }
        self.revoked.insert(uid, session);
    }

    /// One was not tried.
    pub fn not_tried(&mut self, namespace: &str) {
        *self.untried.entry(namespace.to_owned()).or_default() += 1;
    }

    /// Learns which sessions are open now, and tells how many of the revoked ones are.
    pub fn still_open(&mut self, open: &[CredentialSession]) -> usize {
        let open: HashSet<String> = open.iter().map(uid).collect();
        self.open.retain(|uid| open.contains(uid));
        self.open.len()
    }

    /// How many of the revoked ones had not ended at the last look.
    pub fn unended(&self) -> usize {
        self.open.len()
    }

    /// Takes in how sessions ended: when access ends is known once a session has.
    pub fn refresh(&mut self, found: Vec<CredentialSession>) {
        let mut newer: HashMap<String, CredentialSession> =
            found.into_iter().map(|session| (uid(&session), session)).collect();
        for (uid, known) in &mut self.revoked {
            if let Some(newer) = newer.remove(uid) {
                *known = newer;
            }
        }
    }

    /// Whether something could not be revoked.
    pub fn has_failures(&self) -> bool {
        !self.failed.is_empty() || !self.untried.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::filter::tests::session;
    use exeat_crds::v1alpha1::Revoke;

    fn now() -> Timestamp {
        "2026-01-01T00:20:00Z".parse().unwrap()
    }

    fn revoked(name: &str, phase: &str) -> CredentialSession {
        let mut session = session(name, phase);
        session.spec.revoke = Some(Revoke { reason: "r".into() });
        session
    }

    #[test]
    fn a_run_that_was_cut_off_is_gone_on_with_and_its_ends_count() {
        let found = vec![session("new", "Active"), revoked("waits", "Active"), revoked("ended", "Revoked")];
        let mut old = revoked("over", "Revoked");
        old.status.as_mut().unwrap().revocation.as_mut().unwrap().effective_by = "2026-01-01T00:19:00Z".into();
        let found = [found, vec![old, session("done", "Completed")]].concat();
        let mut ledger = Ledger::new(&found, now());
        let names = |sessions: &[CredentialSession]| sessions.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
        assert_eq!(names(&ledger.before), ["ended"], "what is over has nothing to tell");
        let new = ledger.take_in(found.clone());
        assert_eq!(names(&new), ["new"]);
        assert_eq!((ledger.revoked.len(), ledger.unended()), (1, 1));
        ledger.revoked(revoked("new", "Active"));
        assert!(ledger.take_in(found).is_empty(), "each once");
        assert_eq!(ledger.still_open(&[revoked("new", "Active"), session("other", "Active")]), 1);
        let mut later = revoked("waits", "Revoked");
        later.status.as_mut().unwrap().revocation.as_mut().unwrap().effective_by = "2026-01-01T00:50:00Z".into();
        ledger.refresh(vec![later]);
        let by = |uid: &str| ledger.revoked[uid].status.clone().unwrap().revocation.unwrap().effective_by;
        assert_eq!((by("uid-waits"), by("uid-new")), ("2026-01-01T00:50:00Z".into(), "2026-01-01T00:30:00Z".into()));
    }

    #[test]
    fn what_failed_is_not_taken_for_new_again() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.take_in(vec![session("a", "Active")]).len(), 1);
        assert_eq!(ledger.take_in(vec![session("a", "Active")]).len(), 0);
        assert!(!ledger.has_failures());
        ledger.not_tried("agents");
        assert!(ledger.has_failures());
    }
}
