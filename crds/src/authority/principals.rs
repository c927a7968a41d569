//! Whom each service account of a policy acts as. Pure.

use crate::reason::{Reason, Refused};
use crate::rules::Kind;
use crate::rules::names::{self, fill_principal, principal_matches};
use crate::v1alpha1::{AgentCredentialPolicySpec, Binding, CredentialProvider};
use kube::ResourceExt;

/// The principal of each service account that a policy covers: `spec.principalMappings` where it names the account, else `spec.principal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principals {
    each: Vec<One>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct One {
    account: String,
    principal: String,
    /// Whether a mapping names the account.
    mapped: bool,
}

impl One {
    fn field(&self) -> String {
        field(self.mapped.then_some(&self.account))
    }

    fn within(&self, binding: &Binding, namespace: &str) -> bool {
        binding.principals.iter().any(|pattern| principal_matches(pattern, &self.principal, namespace, &self.account))
    }
}

fn field(mapped: Option<&String>) -> String {
    mapped.map_or_else(
        || "spec.principal".to_owned(),
        |account| format!("spec.principalMappings[serviceAccount={account}].principal"),
    )
}

impl Principals {
    /// Reads what a policy of this namespace says.
    ///
    /// # Errors
    /// [`Reason::PrincipalInvalid`] with the field: a variable that there is not, a mapping of an account that the policy does not cover.
    pub fn read(spec: &AgentCredentialPolicySpec, namespace: &str) -> Result<Self, Refused> {
        let invalid = |message: String| Refused::new(Reason::PrincipalInvalid, message);
        let accounts = &spec.subjects.service_accounts;
        if let Some(stray) = spec.principal_mappings.iter().find(|m| !accounts.contains(&m.service_account)) {
            return Err(invalid(format!(
                "spec.principalMappings[serviceAccount={}]: the policy does not cover this service account; add it to \
                 spec.subjects.serviceAccounts, or remove the mapping",
                stray.service_account
            )));
        }
        let read = |account: &String| {
            let mapping = spec.principal_mappings.iter().find(|m| m.service_account == *account);
            let written = mapping.map_or(&spec.principal, |m| &m.principal);
            let principal = fill_principal(written, namespace, account)
                .map_err(|e| invalid(format!("{}: {e}", field(mapping.map(|m| &m.service_account)))))?;
            Ok(One { account: account.clone(), principal, mapped: mapping.is_some() })
        };
        accounts.iter().map(read).collect::<Result<_, _>>().map(|each| Self { each })
    }

    /// The principal of a service account.
    ///
    /// # Errors
    /// [`Reason::PodNotCovered`]: the policy does not name the account.
    pub fn of(&self, service_account: &str) -> Result<&str, Refused> {
        let found = self.each.iter().find(|one| one.account == service_account);
        found.map(|one| one.principal.as_str()).ok_or_else(|| {
            Refused::new(
                Reason::PodNotCovered,
                format!(
                    "spec.subjects.serviceAccounts: the policy does not cover service account {service_account:?}; add it"
                ),
            )
        })
    }

    pub(super) fn first(&self) -> Result<&str, Refused> {
        self.each.first().map(|one| one.principal.as_str()).ok_or_else(|| {
            Refused::new(
                Reason::PodNotCovered,
                "spec.subjects.serviceAccounts: it is empty; name those that the policy covers",
            )
        })
    }

    /// Each principal once, after the first service account that acts as it.
    pub fn distinct(&self) -> Vec<(&str, &str)> {
        let mut found: Vec<(&str, &str)> = Vec::new();
        for one in &self.each {
            if !found.iter().any(|(_, principal)| *principal == one.principal) {
                found.push((&one.account, &one.principal));
            }
        }
        found
    }

    /// Whether each is written as its provider writes principals.
    ///
    /// # Errors
    /// The first that is not, by its field.
    pub fn validate(&self, kind: Kind) -> Result<(), Refused> {
        let wrong =
            self.each.iter().find_map(|one| Some((one, names::validate_principal(kind, &one.principal).err()?)));
        let Some((one, problem)) = wrong else { return Ok(()) };
        Err(Refused::new(Reason::PrincipalInvalid, format!("{}: {problem}", one.field())))
    }

    /// Whether a binding lets every account act as its principal: one binding serves a policy, so that one set of guardrails holds.
    pub(super) fn all_within(&self, binding: &Binding, namespace: &str) -> bool {
        self.each.iter().all(|one| one.within(binding, namespace))
    }

    /// Why none of these bindings does.
    pub(super) fn outside(&self, serving: &[&Binding], provider: &CredentialProvider, namespace: &str) -> Refused {
        let provider = provider.name_any();
        let alone = self.each.iter().find(|one| !serving.iter().any(|binding| one.within(binding, namespace)));
        let message = match alone {
            Some(one) => format!(
                "{}: {:?}, for service account {:?}, matches no spec.bindings[].principals of CredentialProvider {provider:?} for namespace \
                 {namespace:?}; use a principal that one of them allows, or ask a platform admin",
                one.field(),
                one.principal,
                one.account
            ),
            None => format!(
                "spec.principalMappings: each principal is allowed by a binding of CredentialProvider {provider:?}, but no one binding allows \
                 them all, and the guardrails of one binding hold for a policy; write a policy for each"
            ),
        };
        Refused::new(Reason::PrincipalNotAllowed, message)
    }
}

#[cfg(test)]
#[path = "principals_tests.rs"]
mod tests;
