use crate::issuer::mint::session_id;
use exeat_crds::CredentialSession;
use exeat_providers::{Record, SessionId};
use std::sync::Arc;

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

    /// Whether a credential may have been released: each is put on record before, so the object of a session that is over tells of it.
    pub(super) fn had_access(&self) -> bool {
        let issuance = self.session.as_ref().map(|s| s.status.as_ref().and_then(|s| s.issuance.as_ref()));
        issuance.is_none_or(|i| i.is_some_and(|i| i.credential_id.is_some() || i.handle.is_some()))
    }

    /// The same, read.
    pub(super) fn record(&self) -> Record<'_> {
        Record::new(self.handle.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::fixtures::{read, session};
    use serde_json::json;

    #[test]
    fn only_who_surely_had_no_credential_need_not_be_cut_off() {
        let with = |issuance: serde_json::Value| {
            let mut session = session(1);
            session["status"]["issuance"] = issuance;
            Over::of(Arc::new(read(&session)))
        };
        assert!(!with(json!(null)).had_access());
        assert!(!with(json!({"holder": {"key": "k", "restarts": 0, "container": "c"}})).had_access());
        assert!(with(json!({"credentialID": "1"})).had_access());
        assert!(with(json!({"handle": "h"})).had_access());
        let seen = with(json!(null));
        assert!(Over { session: None, ..seen }.had_access(), "nothing tells of one that is gone");
    }
}
