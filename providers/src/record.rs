//! What is on record of a session's mints (`status.issuance.handle`): by it access is ended. Pure.

use crate::{Minted, vault};

/// The handles of what was minted for one session, as they are on record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a>(Option<&'a str>);

impl<'a> Record<'a> {
    /// As it is read.
    pub fn new(handle: Option<&'a str>) -> Self {
        Self(handle)
    }

    /// Whether each credential is ended by itself: all of them must be on record, and only the provider that made them can end them.
    pub fn is_of_each(self) -> bool {
        self.0.is_some_and(vault::is_handle)
    }

    /// Whether credentials are on record that have not ended with those of `ended`.
    pub fn is_more_than(self, ended: Self) -> bool {
        self.is_of_each() && self.0 != ended.0
    }

    /// Kind of the provider, for metrics.
    pub fn kind(self) -> &'static str {
        if self.is_of_each() { "vault" } else { "kubernetes" }
    }
}

impl Minted {
    /// What is to be on record once this was minted after what `earlier` says.
    pub fn recorded(&self, earlier: Option<&str>) -> Option<String> {
        match &self.handle {
            Some(handle) if self.further => Some(vault::joined(earlier, handle)),
            handle => handle.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exeat_wire::{Credential, KubernetesCredential, Secret};

    const ONE: &str = "vault:0123456789ab:one";
    const TWO: &str = "vault:0123456789ab:two";

    fn minted(handle: Option<&str>, further: bool) -> Minted {
        Minted {
            credential: Credential::Kubernetes(KubernetesCredential {
                server: String::new(),
                certificate_authority: String::new(),
                namespace: String::new(),
                token: Secret::new("t"),
            }),
            credential_id: String::new(),
            expires_at: jiff::Timestamp::UNIX_EPOCH,
            serve_until: None,
            handle: handle.map(str::to_owned),
            further,
            packed_policy_percent: None,
        }
    }

    #[test]
    fn what_is_ended_by_itself_is_recorded_beside_the_earlier_and_the_rest_in_its_place() {
        let both = format!("{ONE} {TWO}");
        for (handle, further, earlier, expected) in [
            (Some(TWO), true, Some(ONE), Some(both.as_str())),
            (Some(ONE), true, None, Some(ONE)),
            (Some("secret/b"), false, Some("secret/a"), Some("secret/b")),
            (None, false, Some("secret/a"), None),
        ] {
            assert_eq!(minted(handle, further).recorded(earlier).as_deref(), expected, "{handle:?} after {earlier:?}");
        }
    }

    #[test]
    fn a_token_that_was_added_while_others_were_ended_shows() {
        let both = format!("{ONE} {TWO}");
        let [none, one, both] = [None, Some(ONE), Some(both.as_str())].map(Record::new);
        assert!(both.is_more_than(one) && one.is_more_than(none) && !one.is_more_than(one) && !none.is_more_than(one));
        let account = Record::new(Some("secret/a"));
        assert!(!account.is_more_than(none) && !account.is_of_each() && one.is_of_each());
        assert_eq!((account.kind(), none.kind(), one.kind()), ("kubernetes", "kubernetes", "vault"));
    }
}
