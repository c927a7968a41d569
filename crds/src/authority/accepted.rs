use crate::reason::{Reason, Refused};
use crate::v1alpha1::{AgentCredentialPolicy, Enforcement};

/// What only its principal bounds is accepted in writing by the policy's author too.
pub(super) fn check(enforcement: Enforcement, policy: &AgentCredentialPolicy) -> Result<(), Refused> {
    let accepted = policy.spec.accept_enforcement == Some(Enforcement::PrincipalOnly);
    if accepted || enforcement != Enforcement::PrincipalOnly {
        return Ok(());
    }
    Err(Refused::new(
        Reason::EnforcementTooWeak,
        "spec.acceptEnforcement: nothing narrower than the principal is enforced by this kind of provider; write acceptEnforcement: PrincipalOnly to \
         accept that an agent may do all that the principal may, and let the principal be allowed no more than the agent needs",
    ))
}
