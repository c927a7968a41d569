use exeat_crds::CredentialSession;

use super::Findings;

/// Judges a session's fields. Who may write it is the admission policy's question, not this one's.
pub fn session(session: &CredentialSession) -> Findings {
    let mut findings = Findings::default();
    findings.duration("spec.request.duration", session.spec.request.duration.as_ref());
    if session.spec.request.requester.is_some() {
        findings.not_built("spec.request.requester");
    }
    if session.spec.request.holder_key.is_some() {
        findings.not_built("spec.request.holderKey");
    }
    findings
}
