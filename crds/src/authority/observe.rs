//! `mode: Observe`: who may use it, and what is said of it.

use crate::reason::{Reason, Refused};
use crate::rules::Kind;
use crate::v1alpha1::{AgentCredentialPolicy, Binding, Enforcement, Mode};

/// What is observed is held to the binding alone, which people must read before all else.
const WIDE: &str = "mode Observe: the policy narrows nothing; an agent may do all that its principal may within the binding's maxActions and deny";

/// Whether a policy only looks on.
///
/// # Errors
/// Why it may not: nothing can be seen at this kind of provider, the binding does not let it, or its author has not said that nothing
/// narrower than the principal may be enforced.
pub(super) fn check(policy: &AgentCredentialPolicy, binding: &Binding, kind: Kind) -> Result<bool, Refused> {
    if policy.spec.mode != Mode::Observe {
        return Ok(false);
    }
    if !can_observe(kind) {
        return Err(Refused::new(
            Reason::NotImplemented,
            format!(
                "spec.mode: Observe is not implemented for providers of kind {kind}: nothing tells us there what an agent uses; use Enforce"
            ),
        ));
    }
    if !binding.allow_observe {
        return Err(Refused::new(
            Reason::ObserveNotAllowed,
            format!(
                "spec.mode: Observe narrows nothing, and binding {:?} of the provider does not let policies do so; use Enforce, or ask a \
                 platform admin to set spec.bindings[name={}].allowObserve: true",
                binding.name, binding.name
            ),
        ));
    }
    if policy.spec.accept_enforcement != Some(Enforcement::PrincipalOnly) {
        return Err(Refused::new(
            Reason::EnforcementTooWeak,
            "spec.acceptEnforcement: in mode Observe nothing narrower than the principal is enforced within the binding's ceiling; set \
             PrincipalOnly to accept that, or use mode Enforce",
        ));
    }
    Ok(true)
}

/// Whether calls at this kind of provider can be seen.
pub fn can_observe(kind: Kind) -> bool {
    matches!(kind, Kind::Aws | Kind::Vault)
}

/// What an agent can do although the grant does not say so.
pub(super) fn exceptions(observe: bool, of_provider: Vec<String>) -> Vec<String> {
    let wide = observe.then(|| WIDE.to_owned());
    wide.into_iter().chain(of_provider).collect()
}
