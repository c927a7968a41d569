//! What people say on each approval, as this replica sees it, and whether a session still rests on that. Pure.
//!
//! The controller ends a session that people took their yes back from. Until it has, the sidecar is told to serve nothing, as with a
//! change of [authority](super::authorities). Whether the approval opened this very session, and is about what it holds, is left to
//! the mint: the one who is served may be seen before the approval that counts it.

use exeat_crds::reason::Refused;
use exeat_crds::v1alpha1::ApprovalSpec;
use exeat_crds::{Approval, CredentialSession, approval};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::watcher::Event;
use std::collections::{HashMap, HashSet};

/// Namespace and name of an approval.
pub type Key = (String, String);

type Known = HashMap<Key, ApprovalSpec>;

/// The approvals that there are.
#[derive(Default)]
pub struct Approvals {
    known: Known,
    /// A list that is not whole yet.
    listing: Known,
}

impl Approvals {
    /// Takes a change over. Those on which something else is said since: most changes of an approval are changes of its status.
    pub fn follow(&mut self, event: &Event<Approval>) -> HashSet<Key> {
        match event {
            Event::Apply(approval) => {
                let key = key_of(approval);
                let old = self.known.insert(key.clone(), approval.spec.clone());
                if old.as_ref() == Some(&approval.spec) { HashSet::new() } else { HashSet::from([key]) }
            }
            Event::Delete(approval) => {
                let key = key_of(approval);
                if self.known.remove(&key).is_some() { HashSet::from([key]) } else { HashSet::new() }
            }
            Event::Init => {
                self.listing.clear();
                HashSet::new()
            }
            Event::InitApply(approval) => {
                self.listing.insert(key_of(approval), approval.spec.clone());
                HashSet::new()
            }
            Event::InitDone => {
                let old = std::mem::replace(&mut self.known, std::mem::take(&mut self.listing));
                let both = old.keys().chain(self.known.keys());
                both.filter(|key| old.get(*key) != self.known.get(*key)).cloned().collect()
            }
        }
    }

    /// Whether people still let a session be; one that names no approval needs nobody.
    ///
    /// # Errors
    /// Why not.
    pub fn stand(&self, session: &CredentialSession, now: Timestamp) -> Result<(), Refused> {
        let Some(key) = named_by(session) else { return Ok(()) };
        approval::still(&key.1, self.known.get(&key), now)
    }
}

fn key_of(approval: &Approval) -> Key {
    (approval.namespace().unwrap_or_default(), approval.name_any())
}

/// The approval that a session rests on.
pub fn named_by(session: &CredentialSession) -> Option<Key> {
    let named = session.status.as_ref()?.approval_ref.as_ref()?;
    Some((session.namespace().unwrap_or_default(), named.name.clone()))
}

#[cfg(test)]
#[path = "approvals_tests.rs"]
mod tests;
