use crate::v1alpha1::{AgentCredentialPolicy, AgentCredentialPolicySpec, Binding, Delivery};

/// The fields of a policy that this version does not build. Such a policy grants nothing: leaving a limit out
/// would be wider than what its author wrote.
pub fn unbuilt_policy_fields(spec: &AgentCredentialPolicySpec) -> Vec<&'static str> {
    used([
        ("spec.limits", spec.limits.is_some()),
        ("spec.budget", spec.budget.is_some()),
        ("spec.delivery: Broker", spec.delivery == Delivery::Broker),
    ])
}

/// The fields of a provider's binding that this version does not build, by their names in the binding. No policy is granted
/// anything by such a binding.
pub fn unbuilt_binding_fields(binding: &Binding) -> Vec<&'static str> {
    used([("limits", binding.limits.is_some()), ("budget", binding.budget.is_some())])
}

/// The first of both, as the policy's author reads it.
pub fn first_unbuilt_field(policy: &AgentCredentialPolicy, binding: &Binding) -> Option<String> {
    let of_policy = unbuilt_policy_fields(&policy.spec).first().map(|field| (*field).to_owned());
    of_policy.or_else(|| {
        let field = unbuilt_binding_fields(binding).into_iter().next()?;
        Some(format!("spec.bindings[name={}].{field} of the provider", binding.name))
    })
}

fn used<const N: usize>(fields: [(&'static str, bool); N]) -> Vec<&'static str> {
    fields.into_iter().filter_map(|(field, used)| used.then_some(field)).collect()
}
