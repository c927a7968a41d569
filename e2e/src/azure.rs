//! The stand-in for Entra ID (`e2e/backends/entra.py`), as the stories know it.

use exeat_crds::AgentCredentialPolicy;
use exeat_crds::rules::Statement;
use exeat_crds::v1alpha1::{AzureProvider, Enforcement};

use crate::{policy, statement};

/// Provider of the stand-in for Entra.
pub const AZURE: &str = "e2e-azure";
/// Where its tokens come from.
pub const AUTHORITY: &str = "https://198.18.0.1:8310";
/// Services that take its tokens, as agents reach them.
pub const SERVICES: &str = "http://198.18.0.1:8311";
/// Its tenant.
pub const TENANT: &str = "5a1e0f2c-8d1b-4b7e-9f11-0c9a3f6b7d21";
/// All of its apps.
pub const PRINCIPALS: &str = "11111111-1111-4111-8111-*";
/// What an agent says that it does there.
pub const READ: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read";
/// The resource behind the service `blobs`.
pub const STORAGE: &str = "https://storage.azure.com";
/// The resource behind the service `reports`.
pub const REPORTS: &str = "api://reports";

/// An app there: 1 is a reader, 2 has short tokens, 3 long ones, 4 trusts nobody, 6 has a client secret, 7 may nothing.
pub fn app(number: u32) -> String {
    format!("11111111-1111-4111-8111-{number:012}")
}

/// How it is reached. Where it does not run there is no root to trust, and the provider says that it can't be reached.
pub(crate) fn settings() -> AzureProvider {
    AzureProvider {
        tenant_id: TENANT.to_owned(),
        authority: Some(AUTHORITY.to_owned()),
        ca_cert: root(),
        ..AzureProvider::default()
    }
}

fn root() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "tests have no flags")]
    let run = std::env::var("EXEAT_RUN_DIR").ok()?;
    std::fs::read_to_string(format!("{run}/backends/entra-ca.crt")).ok()
}

/// A policy of an app there, for these resources.
pub fn azure_policy(name: &str, provider: &str, number: u32, resources: &[&str]) -> AgentCredentialPolicy {
    let allow: Vec<Statement> = vec![statement(&[READ], resources)];
    let mut policy = policy(name, provider, &app(number), allow);
    policy.spec.accept_enforcement = Some(Enforcement::PrincipalOnly);
    policy
}
