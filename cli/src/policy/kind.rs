//! Of which kind of provider policies in files are: it says how their actions are to be read. Pure.

use crate::error::Error;
use exeat_crds::authority;
use exeat_crds::rules::action::{Action, Resource, Role};
use exeat_crds::rules::{Kind, Statement};
use exeat_crds::v1alpha1::AgentCredentialPolicySpec;
use exeat_crds::{AgentCredentialPolicy, CredentialProvider};
use kube::ResourceExt;

const KINDS: [Kind; 5] = [Kind::Aws, Kind::Azure, Kind::Gcp, Kind::Kubernetes, Kind::Vault];

/// The kind of the provider that the new policy names, or else the old one. Without `providers` it follows from what the policies say.
///
/// # Errors
/// When it can't be told.
pub(super) fn of(
    old: &AgentCredentialPolicy,
    new: &AgentCredentialPolicy,
    providers: Option<&[CredentialProvider]>,
) -> Result<Kind, Error> {
    let Some(providers) = providers else {
        let told = told(&new.spec).or_else(|| told(&old.spec));
        return told.ok_or_else(|| {
            let said =
                "the policies do not tell of which kind their provider is, and so how their actions are to be read";
            Error::Usage(format!("{said}; give --provider FILE"))
        });
    };
    let named = |policy: &AgentCredentialPolicy| {
        providers.iter().find(|provider| provider.name_any() == policy.spec.provider_ref.name)
    };
    let Some(provider) = named(new).or_else(|| named(old)) else {
        let name = &new.spec.provider_ref.name;
        return Err(Error::Usage(format!("--provider: there is no CredentialProvider {name:?} in the file")));
    };
    authority::kind_of(provider).map_err(|problem| Error::Usage(format!("--provider: {problem}")))
}

/// What a policy allows reads in one kind's words alone; where it allows nothing, or nothing that can be read, its principal tells.
fn told(spec: &AgentCredentialPolicySpec) -> Option<Kind> {
    let mut fitting =
        KINDS.into_iter().filter(|kind| !spec.allow.is_empty() && spec.allow.iter().all(|s| reads(*kind, s)));
    match (fitting.next(), fitting.next()) {
        (Some(kind), None) => Some(kind),
        _ => by_principal(&spec.principal),
    }
}

fn reads(kind: Kind, statement: &Statement) -> bool {
    statement.actions.iter().all(|action| Action::parse(kind, Role::Allow, action).is_ok())
        && statement.resources.iter().all(|resource| Resource::parse(kind, resource).is_ok())
}

fn by_principal(principal: &str) -> Option<Kind> {
    if principal.starts_with("arn:") {
        Some(Kind::Aws)
    } else if principal.contains('@') {
        Some(Kind::Gcp)
    } else {
        principal.starts_with("system:").then_some(Kind::Kubernetes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::call::tests::{policy, provider};

    fn allowing(principal: &str, action: &str, resource: &str) -> AgentCredentialPolicy {
        let mut policy = policy();
        policy.spec.principal = principal.to_owned();
        policy.spec.allow = vec![Statement { actions: vec![action.to_owned()], resources: vec![resource.to_owned()] }];
        policy
    }

    #[test]
    fn what_is_allowed_tells_the_kind_and_else_the_principal() {
        for (principal, action, resource, kind) in [
            ("p", "s3:GetObject", "arn:aws:s3:::reports/*", Some(Kind::Aws)),
            ("p", "Microsoft.KeyVault/vaults/secrets/read", "https://vault.azure.net", Some(Kind::Azure)),
            ("p", "storage.objects.get", "projects/_/buckets/reports/objects/*", Some(Kind::Gcp)),
            ("p", "inRole:projects/p/roles/r", "*", Some(Kind::Gcp)),
            ("p", "get pods/log", "agents/*", Some(Kind::Kubernetes)),
            ("p", "read", "secret/data/reports/*", Some(Kind::Vault)),
            // An account of Google's is not what decides.
            ("a@b", "list", "secret/metadata/reports", Some(Kind::Vault)),
            ("arn:aws:iam::123456789012:role/r", "s3", "x", Some(Kind::Aws)),
            ("system:serviceaccounts:exeat-grants", "got pods", "x", Some(Kind::Kubernetes)),
            ("p", "gibberish", "x", None),
        ] {
            assert_eq!(told(&allowing(principal, action, resource).spec), kind, "{principal} {action} on {resource}");
        }
        let mut nothing = allowing("agents-reader", "read", "secret/data/x");
        nothing.spec.allow.clear();
        assert_eq!(told(&nothing.spec), None, "mode Observe");
        assert!(of(&nothing, &nothing, None).unwrap_err().to_string().ends_with("give --provider FILE"));
        assert_eq!(
            of(&allowing("p", "read", "secret/data/x"), &nothing, None).unwrap(),
            Kind::Vault,
            "the old one tells"
        );
    }

    #[test]
    fn a_provider_that_is_given_decides() {
        let aws = [provider()];
        let read = allowing("agents-reader", "read", "secret/data/x");
        assert_eq!(of(&read, &read, Some(&aws)).unwrap(), Kind::Aws);
        let mut moved = read.clone();
        moved.spec.provider_ref.name = "elsewhere".to_owned();
        assert_eq!(of(&read, &moved, Some(&aws)).unwrap(), Kind::Aws, "where it was");
        let none = of(&moved, &moved, Some(&aws)).unwrap_err().to_string();
        assert!(none.contains("there is no CredentialProvider \"elsewhere\""), "{none}");
    }
}
