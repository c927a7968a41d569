use crate::v1alpha1::{AgentCredentialPolicy, Binding, Delivery, Mode};

/// The first field of a policy or its binding that this version does not build. Such a policy grants nothing: leaving a limit
/// or an approval out would be wider than what its author wrote.
pub fn first_unbuilt_field(policy: &AgentCredentialPolicy, binding: &Binding) -> Option<String> {
    let spec = &policy.spec;
    let of_policy = [
        ("spec.owners", !spec.owners.is_empty()),
        ("spec.approvalRules", !spec.approval_rules.is_empty()),
        ("spec.limits", spec.limits.is_some()),
        ("spec.budget", spec.budget.is_some()),
        ("spec.delivery: Broker", spec.delivery == Delivery::Broker),
        ("spec.mode: Observe", spec.mode == Mode::Observe),
    ];
    let of_binding = [
        ("approvalRules", !binding.approval_rules.is_empty()),
        ("limits", binding.limits.is_some()),
        ("budget", binding.budget.is_some()),
    ];
    let in_policy = of_policy.into_iter().find_map(|(field, used)| used.then(|| field.to_owned()));
    in_policy.or_else(|| {
        of_binding.into_iter().find_map(|(field, used)| {
            used.then(|| format!("spec.bindings[name={}].{field} of the provider", binding.name))
        })
    })
}
