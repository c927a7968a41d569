//! Whose access is still to be ended at its provider. Pure; controller and issuer go by the same rule.

use exeat_crds::v1alpha1::RevocationMode;
use exeat_crds::{CredentialSession, names};
use kube::ResourceExt;

/// Whether a session's object stays until we let go of it.
pub(crate) fn is_held(session: &CredentialSession) -> bool {
    session.finalizers().iter().any(|f| f == names::REVOKE_FINALIZER)
}

/// Whether there may be access that its provider can end at once, and nobody has put on record that it did.
pub(crate) fn is_outstanding(session: &CredentialSession) -> bool {
    let status = session.status.as_ref();
    let immediate = status.and_then(|s| s.revocation.as_ref()).is_some_and(|r| r.mode == RevocationMode::Immediate);
    let revoked = status.and_then(|s| s.issuance.as_ref()).is_some_and(|i| i.revoked_at.is_some());
    (immediate || is_held(session)) && !revoked
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
    fn access_is_outstanding_from_the_promise_to_end_it_until_its_end_is_on_record() {
        let promise = |mode: &str| json!({"mode": mode, "effectiveBy": "2026-01-01T12:00:00Z"});
        let ended = json!({"revokedAt": "2026-01-01T12:00:00Z"});
        for (status, finalizers, outstanding) in [
            (json!({}), &[][..], false),
            (json!({"revocation": promise("ExpiryOnly")}), &[], false),
            (json!({"revocation": promise("Immediate")}), &[], true),
            (json!({"revocation": promise("Immediate"), "issuance": {}}), &[], true),
            (json!({"revocation": promise("Immediate"), "issuance": ended}), &[], false),
            (json!({}), &[names::REVOKE_FINALIZER], true),
            (json!({}), &["exeat.test/stay"], false),
            (json!({"issuance": ended}), &[names::REVOKE_FINALIZER], false),
        ] {
            assert_eq!(is_outstanding(&session(status.clone(), finalizers)), outstanding, "{status} {finalizers:?}");
        }
    }
}
