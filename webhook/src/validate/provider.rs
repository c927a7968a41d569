use exeat_crds::reason::{Reason, Refused};
use exeat_crds::rules::Kind;
use exeat_crds::rules::names::validate_principal_pattern;
use exeat_crds::v1alpha1::Binding;
use exeat_crds::{CredentialProvider, authority, duration};

use super::Findings;
use super::policy::guardrail_problems;
use crate::message::refused;

/// Judges a provider and its guardrails.
pub fn provider(provider: &CredentialProvider) -> Findings {
    let mut findings = Findings::default();
    let kind = match authority::kind_of(provider) {
        Ok(kind) => Some(kind),
        Err(problem) => {
            findings.warnings.push(problem);
            None
        }
    };
    for b in &provider.spec.bindings {
        binding(b, kind, &mut findings);
    }
    let spec = &provider.spec;
    findings.errors.extend(spec.azure.as_ref().and_then(|azure| authority::azure::longest_token(azure).err()));
    let aws = spec.aws.as_ref().and_then(|aws| aws.endpoint.as_deref()).map(|url| ("spec.aws.endpoint", url));
    let vault = spec.vault.as_ref().map(|vault| ("spec.vault.address", vault.address.as_str()));
    for (field, _) in [aws, vault].into_iter().flatten().filter(|(_, url)| url.starts_with("http://")) {
        findings.warnings.push(refused(
            Reason::ProviderRejected,
            field,
            "the issuer sends its own credentials and receives minted ones in clear text",
            "use https outside of tests",
        ));
    }
    findings
}

fn binding(binding: &Binding, kind: Option<Kind>, findings: &mut Findings) {
    let path = format!("spec.bindings[name={}]", binding.name);
    for (i, pattern) in binding.principals.iter().enumerate() {
        if let Err(error) = validate_principal_pattern(pattern) {
            findings.errors.push(Refused::new(Reason::PrincipalInvalid, format!("{path}.principals[{i}]: {error}")));
        }
    }
    let longest = findings.duration(&format!("{path}.maxDuration"), binding.max_duration.as_ref());
    if let Some(kind) = kind {
        findings.errors.extend(guardrail_problems(&format!("{path}.maxActions"), &binding.max_actions, kind));
        findings.errors.extend(guardrail_problems(&format!("{path}.deny"), &binding.deny, kind));
        for (i, rule) in binding.approval_rules.iter().enumerate() {
            let path = format!("{path}.approvalRules[{i}].actions");
            findings.errors.extend(guardrail_problems(&path, &rule.actions, kind));
        }
        let shortest = authority::shortest_session(kind);
        if let Some(longest) = longest.filter(|longest| *longest < shortest) {
            findings.errors.push(refused(
                Reason::DurationInvalid,
                format_args!("{path}.maxDuration"),
                format_args!("{} is too short for any session of this kind of provider", duration::format(longest)),
                format_args!("write at least {}", duration::format(shortest)),
            ));
        }
    }
    for field in authority::unbuilt_binding_fields(binding) {
        findings.not_built(&format!("{path}.{field}"));
    }
}
