//! What can be promised of a grant that its provider does not hold to by itself, or not all of it.

use super::azure;
use crate::reason::{Reason, Refused};
use crate::rules::{Grant, Kind, gcp_boundary};
use crate::v1alpha1::{AgentCredentialPolicy, AwsDialect, Binding, CredentialProvider, Enforcement};
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
        "spec.acceptEnforcement: nothing narrower than spec.principal would be enforced for what spec.allow names; write acceptEnforcement: \
         PrincipalOnly to accept that an agent may do all that the principal may, or allow only what the provider narrows",
    ))
}

/// What an admin demands of the enforcement at least.
pub(super) fn check_enforcement(enforcement: Enforcement, binding: &Binding) -> Result<(), Refused> {
    let rank = |enforcement| match enforcement {
        Enforcement::PrincipalOnly => 0,
        Enforcement::Sidecar => 1,
        Enforcement::Broker => 2,
        Enforcement::Provider => 3,
    };
    let least = binding.min_enforcement.unwrap_or(Enforcement::PrincipalOnly);
    if rank(enforcement) >= rank(least) {
        return Ok(());
    }
    Err(Refused::new(
        Reason::EnforcementTooWeak,
        format!(
            "spec.bindings[name={}].minEnforcement of the provider is {least:?}, and this kind of provider gives {enforcement:?}; lower \
             it, or serve the namespace by another provider",
            binding.name
        ),
    ))
}

/// How long a credential may work after its session. Google gives identity tokens an hour, however long a session has left; Entra alone decides
/// when its tokens end.
pub(super) fn outlives(
    provider: &CredentialProvider,
    policy: &AgentCredentialPolicy,
) -> Result<SignedDuration, Refused> {
    if let Some(azure) = &provider.spec.azure {
        return azure::longest_token(azure);
    }
    let tokens = provider.spec.gcp.is_some() && gcp_boundary::gives_identity_tokens(&policy.spec.allow);
    Ok(if tokens { SignedDuration::from_hours(1) } else { SignedDuration::ZERO })
}

/// What a kind of provider can't prevent.
pub(super) fn exceptions_of(provider: &CredentialProvider) -> Vec<String> {
    if let Some(azure) = &provider.spec.azure {
        return azure::exceptions(azure);
    }
    match provider.spec.aws.as_ref().map(|aws| aws.dialect) {
        Some(AwsDialect::Aws) => vec![
            "sts:GetCallerIdentity can't be denied by any policy".to_owned(),
            "what an agent starts or signs (presigned URLs, jobs) can outlive its session".to_owned(),
        ],
        Some(AwsDialect::S3Compatible) => vec![
            "only S3 actions are narrowed: the service's dialect knows no others".to_owned(),
            "some services judge the read of an object's version as s3:GetObject".to_owned(),
            "presigned URLs can outlive the session".to_owned(),
        ],
        None if provider.spec.kubernetes.is_some() => vec![
            "what every authenticated account may do (system:authenticated: discovery, self reviews) is not denied"
                .to_owned(),
        ],
        None if provider.spec.vault.is_some() => vec![
            "Vault holds the token to the policies of its token role; that it is used for no more than the grant is the sidecar's doing"
                .to_owned(),
            "what was read (values of KV, keys without a lease) stays known after the session".to_owned(),
            "every process of the pod may call the sidecar's Vault listener: its protocol carries no secret of ours".to_owned(),
        ],
        None => Vec::new(),
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
