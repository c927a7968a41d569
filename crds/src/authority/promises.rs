//! What can be promised of a grant that its provider does not hold to by itself, or not all of it.

use crate::reason::{Reason, Refused};
use crate::rules::{Grant, Kind, gcp_boundary};
use crate::v1alpha1::{AgentCredentialPolicy, Enforcement};
use jiff::SignedDuration;

/// Whether Google can be held to a grant. What nothing enforces could be asked for to hide what is meant: people would not be asked.
pub(super) fn check_holds(grant: &Grant, deny: &[String], narrowed: bool) -> Result<(), Refused> {
    if grant.kind != Kind::Gcp {
        return Ok(());
    }
    gcp_boundary::order(grant, deny).map_err(|e| Refused::new(e.reason(), e.to_string()))?;
    if !narrowed || gcp_boundary::enforcement(&grant.allow) == Enforcement::Provider {
        return Ok(());
    }
    Err(Refused::new(
        Reason::EnforcementTooWeak,
        "metadata.annotations[exeat.dev/allow]: nothing narrower than the principal is enforced for what it names; remove it, or ask for objects of \
         buckets and identity tokens only",
    ))
}

/// What nothing enforces must be accepted in writing.
pub(super) fn check_accepted(enforcement: Enforcement, policy: &AgentCredentialPolicy) -> Result<(), Refused> {
    if enforcement != Enforcement::PrincipalOnly || policy.spec.accept_enforcement == Some(Enforcement::PrincipalOnly) {
        return Ok(());
    }
    Err(Refused::new(
        Reason::EnforcementTooWeak,
        "spec.acceptEnforcement: nothing narrower than spec.principal would be enforced for what spec.allow names; write PrincipalOnly to accept \
         that, or allow only what the provider narrows",
    ))
}

/// Google gives identity tokens an hour, however long a session has left.
pub(super) fn outlives(kind: Kind, policy: &AgentCredentialPolicy) -> SignedDuration {
    if kind == Kind::Gcp && gcp_boundary::gives_identity_tokens(&policy.spec.allow) {
        SignedDuration::from_hours(1)
    } else {
        SignedDuration::ZERO
    }
}

/// What comes with the roles by which Google narrows a token, and what lives longer than it should.
pub(super) fn exceptions_of_grant(grant: &Grant) -> Vec<String> {
    if grant.kind != Kind::Gcp {
        return Vec::new();
    }
    let mut told = vec![
        "every process of the pod may ask the sidecar's metadata server: its protocol carries no secret".to_owned(),
        "what an agent starts or signs (transfer jobs, signed URLs) can outlive its session".to_owned(),
    ];
    for (role, more) in gcp_boundary::company(grant) {
        told.push(format!("{role} also gives {} on what is allowed", more.join(", ")));
    }
    if gcp_boundary::enforcement(&grant.allow) == Enforcement::PrincipalOnly {
        told.push("the token may do all that its service account may do within its scopes".to_owned());
    }
    if gcp_boundary::gives_identity_tokens(&grant.allow) {
        told.push("an identity token lives for an hour, also beyond its session".to_owned());
    }
    told
}
