//! What each policy hands out now, as this replica sees it, and whether a session still rests on that. Pure.
//!
//! The controller ends a session whose authority has changed, which takes a while where there are many. Until it has, their sidecars are
//! told to serve nothing. That decides nothing: the session stands until the controller has ended it, and a mint reads everything anew.

use super::recompute::{policy_deleted, same_authority};
use exeat_crds::authority;
use exeat_crds::reason::Refused;
use exeat_crds::{AgentCredentialPolicy, CredentialProvider, CredentialSession};
use kube::ResourceExt;
use std::collections::HashMap;
use std::sync::Arc;

/// Namespace and name of a policy.
pub type Key = (String, String);

/// The policies that there are, and what they hand out.
#[derive(Default)]
pub struct Authorities {
    known: HashMap<Key, Known>,
}

struct Known {
    policy: Arc<AgentCredentialPolicy>,
    provider: Option<Arc<CredentialProvider>>,
    /// Hash of the authority, or why there is none.
    hash: Result<String, Refused>,
}

impl Known {
    /// Whether it was made of these: most changes of an object are changes of its status.
    fn is_of(&self, policy: &AgentCredentialPolicy, provider: Option<&CredentialProvider>) -> bool {
        let same_provider = match (self.provider.as_deref(), provider) {
            (Some(old), Some(new)) => old.uid() == new.uid() && old.spec == new.spec,
            (None, None) => true,
            _ => false,
        };
        same_provider && self.policy.uid() == policy.uid() && self.policy.spec == policy.spec
    }
}

impl Authorities {
    /// Notes a policy and the provider that it names as they are now; without a policy, that it is gone. Whether it hands out something
    /// else since.
    pub fn note(
        &mut self,
        key: &Key,
        policy: Option<Arc<AgentCredentialPolicy>>,
        provider: Option<Arc<CredentialProvider>>,
    ) -> bool {
        let Some(policy) = policy else { return self.known.remove(key).is_some() };
        let old = self.known.get(key);
        if old.is_some_and(|old| old.is_of(&policy, provider.as_deref())) {
            return false;
        }
        let hash = authority::resolve(&policy, provider.as_deref()).map(|authority| authority.hash);
        let changed = old.is_none_or(|old| old.hash != hash);
        self.known.insert(key.clone(), Known { policy, provider, hash });
        changed
    }

    /// The policies that are known.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.known.keys()
    }

    /// Whether a session's authority is the one that it was asked for under.
    ///
    /// # Errors
    /// Why it is not.
    pub fn stand(&self, session: &CredentialSession) -> Result<(), Refused> {
        let known = self.known.get(&key_of(session)).ok_or_else(|| policy_deleted(session))?;
        same_authority(session, known.hash.as_ref().map_err(Clone::clone)?)
    }
}

/// The policy that a session names.
pub fn key_of(session: &CredentialSession) -> Key {
    (session.namespace().unwrap_or_default(), session.spec.request.policy_ref.name.clone())
}

#[cfg(test)]
#[path = "authorities_tests.rs"]
mod tests;
