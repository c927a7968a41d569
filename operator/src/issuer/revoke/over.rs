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

    /// What helps to revoke it, read.
    pub(super) fn record(&self) -> Record<'_> {
        Record::new(self.handle.as_deref())
    }
}
