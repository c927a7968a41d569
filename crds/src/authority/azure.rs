//! What is particular to tokens of Entra: they live as long as Entra says, and nothing narrower than their principal holds them.

use crate::duration;
use crate::reason::{Reason, Refused};
use crate::rules::Grant;
use crate::v1alpha1::{AzureProvider, CredentialProvider};
use jiff::SignedDuration;

/// Entra gives 60 to 90 minutes where no token lifetime policy of the tenant says otherwise.
const DEFAULT_LONGEST: SignedDuration = SignedDuration::from_mins(90);
const LEAST_LONGEST: SignedDuration = SignedDuration::from_mins(10);
/// Tokens with continuous access evaluation live up to 28 hours.
const MOST_LONGEST: SignedDuration = SignedDuration::from_hours(28);
/// A token is for one resource, and a session holds one token for each.
const MAX_RESOURCES: usize = 8;

/// How long a token may live that is handed out.
///
/// # Errors
/// A duration that can't be read or is out of bounds.
pub fn longest_token(azure: &AzureProvider) -> Result<SignedDuration, Refused> {
    const FIELD: &str = "spec.azure.maxTokenLifetime of the provider";
    let Some(text) = &azure.max_token_lifetime else { return Ok(DEFAULT_LONGEST) };
    let invalid = |problem: String| Refused::new(Reason::DurationInvalid, format!("{FIELD}: {problem}"));
    let longest = duration::parse(text).map_err(|e| invalid(e.to_string()))?;
    if longest < LEAST_LONGEST || longest > MOST_LONGEST {
        return Err(invalid(format!("{} is not within 10m to 28h", duration::format(longest))));
    }
    Ok(longest)
}

/// How long a credential may work after its session: nothing, where it ends with the session.
pub(super) fn outlives(provider: &CredentialProvider) -> Result<SignedDuration, Refused> {
    provider.spec.azure.as_ref().map_or(Ok(SignedDuration::ZERO), longest_token)
}

/// Bounds the tokens of one session.
pub(super) fn check(grant: &Grant) -> Result<(), Refused> {
    let resources = resources(grant).len();
    if resources <= MAX_RESOURCES {
        return Ok(());
    }
    Err(Refused::new(
        Reason::PolicyTooLarge,
        format!(
            "spec.allow: it names {resources} resources, and a token is for one: at most {MAX_RESOURCES} are taken; write several policies"
        ),
    ))
}

/// What tokens are made for, each once.
pub fn resources(grant: &Grant) -> Vec<&str> {
    let mut all: Vec<&str> = Vec::new();
    for resource in grant.allow.iter().flat_map(|statement| &statement.resources) {
        if !all.iter().any(|known| known.eq_ignore_ascii_case(resource)) {
            all.push(resource);
        }
    }
    all
}

pub(super) fn exceptions(azure: &AzureProvider) -> Vec<String> {
    let longest = longest_token(azure).map_or_else(|_| "its own time".to_owned(), duration::format);
    vec![
        "a token may do all that the principal's role assignments allow at its resource: no call is held to the actions of the grant".to_owned(),
        format!(
            "a token lives as long as Entra says (at most {longest}) and can't be taken back: one that was copied out works so much longer than \
             its session"
        ),
    ]
}

#[cfg(test)]
#[path = "azure_tests.rs"]
mod tests;
