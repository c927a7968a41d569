//! Whose access is still to be ended at its provider. Pure; controller and issuer go by the same rule.

use exeat_crds::v1alpha1::{Phase, RevocationMode};
use exeat_crds::{CredentialSession, names};
use kube::ResourceExt;

/// Whether a session's object stays until we let go of it.
pub(crate) fn is_held(session: &CredentialSession) -> bool {
    session.finalizers().iter().any(|f| f == names::REVOKE_FINALIZER)
}

/// Whether a credential may have been released: each first one is put on record before that.
fn was_issued(session: &CredentialSession) -> bool {
    let issuance = session.status.as_ref().and_then(|s| s.issuance.as_ref());
    issuance.is_some_and(|i| i.credential_id.is_some() || i.handle.is_some())
}

/// Whether there may be access that its provider can end at once, and nobody has put on record that it did.
pub(crate) fn is_outstanding(session: &CredentialSession) -> bool {
    let status = session.status.as_ref();
    let immediate = status.and_then(|s| s.revocation.as_ref()).is_some_and(|r| r.mode == RevocationMode::Immediate);
    let revoked = status.and_then(|s| s.issuance.as_ref()).is_some_and(|i| i.revoked_at.is_some());
    (immediate || is_held(session)) && was_issued(session) && !revoked
}

/// Whether a session is over and nothing was ever released to it: what a mint that broke off has made for it is of no use to anybody.
pub(crate) fn ended_unissued(session: &CredentialSession) -> bool {
    let phase = session.status.as_ref().and_then(|s| s.phase);
    phase.is_some_and(Phase::is_terminal) && !was_issued(session)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn session(status: Value, finalizers: &[&str]) -> CredentialSession {
        serde_json::from_value(json!({
            "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession", "metadata": {"name": "s", "finalizers": finalizers},
            "spec": {"request": {"policyRef": {"name": "p", "uid": "u"}, "providerRef": {"name": "here"}, "authorityHash": "h", "number": 1,
                "agent": {"serviceAccount": "sa", "pod": {"name": "a", "uid": "u"}}}},
            "status": status}))
        .unwrap()
    }

    #[test]
    fn access_is_outstanding_from_the_first_credential_until_its_end_is_on_record() {
        let promise = |mode: &str| json!({"mode": mode, "effectiveBy": "2026-01-01T12:00:00Z"});
        let (given, named) = (json!({"handle": "h"}), json!({"credentialID": "1"}));
        let ended = json!({"handle": "h", "revokedAt": "2026-01-01T12:00:00Z"});
        let held = json!({"holder": {"key": "k", "restarts": 0, "container": "c"}});
        for (status, finalizers, outstanding) in [
            (json!({}), &[][..], false),
            (json!({"revocation": promise("ExpiryOnly"), "issuance": given}), &[], false),
            (json!({"revocation": promise("Immediate")}), &[], false),
            (json!({"revocation": promise("Immediate"), "issuance": held}), &[], false),
            (json!({"revocation": promise("Immediate"), "issuance": given}), &[], true),
            (json!({"revocation": promise("Immediate"), "issuance": named}), &[], true),
            (json!({"revocation": promise("Immediate"), "issuance": ended}), &[], false),
            (json!({}), &[names::REVOKE_FINALIZER], false),
            (json!({"issuance": given}), &[names::REVOKE_FINALIZER], true),
            (json!({"issuance": given}), &["exeat.test/stay"], false),
            (json!({"issuance": ended}), &[names::REVOKE_FINALIZER], false),
        ] {
            assert_eq!(is_outstanding(&session(status.clone(), finalizers)), outstanding, "{status} {finalizers:?}");
        }
    }

    #[test]
    fn only_what_is_over_and_was_never_issued_has_left_nothing_of_use() {
        for (status, expected) in [
            (json!({}), false),
            (json!({"phase": "Active"}), false),
            (json!({"phase": "Completed"}), true),
            (json!({"phase": "Completed", "issuance": {"credentialID": "1"}}), false),
            (json!({"phase": "Revoked", "issuance": {}}), true),
        ] {
            assert_eq!(ended_unissued(&session(status.clone(), &[])), expected, "{status}");
        }
    }
}
