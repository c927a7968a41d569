//! Policy and provider together: what a policy may hand out, or why it may not. The webhook, the controller (at decision) and the
//! issuer (at every mint) all call [`resolve`], so authority is computed and never remembered.

pub mod azure;
mod not_built;
mod observe;
mod principals;
mod promises;
mod subject;

pub use not_built::{first_unbuilt_field, unbuilt_binding_fields, unbuilt_policy_fields};
pub use observe::can_observe;
pub use principals::Principals;
use promises::{check_accepted, check_enforcement, check_holds, exceptions_of, exceptions_of_grant, outlives};
pub use subject::{PodAsk, ask_of_pod, covers_account, covers_pod, selects};

use crate::approval::Terms;
use crate::reason::{Reason, Refused};
use crate::rules::aws_document::{Dialect, document};
use crate::rules::gcp_boundary;
use crate::rules::{self, Grant, Kind, Statement};
use crate::v1alpha1::{
    AgentCredentialPolicy, AwsDialect, Binding, CredentialProvider, Enforcement, OnExpiry, RevocationMode,
};
use crate::{digest, duration};
use jiff::SignedDuration;
use kube::ResourceExt;
use serde_json::json;

/// Session length where the policy names none.
const DEFAULT_DURATION: SignedDuration = SignedDuration::from_hours(8);
/// Credential life where the policy names none.
const DEFAULT_CREDENTIAL_TTL: SignedDuration = SignedDuration::from_mins(30);
/// Longest session where the binding names none.
const DEFAULT_MAX_DURATION: SignedDuration = SignedDuration::from_hours(24);

/// All that a policy may hand out, under one provider and binding.
#[derive(Clone, Debug, PartialEq)]
pub struct Authority {
    /// Hash of everything here: another hash means another session.
    pub hash: String,
    /// Kind of provider.
    pub kind: Kind,
    /// Name of the provider.
    pub provider: String,
    /// Name of the binding that serves the policy.
    pub binding: String,
    /// The identities that are assumed, by service account.
    pub principals: Principals,
    /// What the policy allows.
    pub allow: Vec<Statement>,
    /// The binding's ceiling.
    pub max_actions: Vec<String>,
    /// What the binding denies.
    pub deny: Vec<String>,
    /// Longest session.
    pub duration: SignedDuration,
    /// Life of each credential.
    pub credential_ttl: SignedDuration,
    /// How long a sidecar serves without contact; `None`: until the credential expires.
    pub offline_grace: Option<SignedDuration>,
    /// What follows a session that expires.
    pub on_expiry: OnExpiry,
    /// What really enforces the grant.
    pub enforcement: Enforcement,
    /// How access ends.
    pub revocation: RevocationMode,
    /// How long something that was handed out may live on after its session, since its provider alone decides when it ends.
    pub outlives: SignedDuration,
    /// What an agent can still do although the grant does not say so.
    pub exceptions: Vec<String>,
    /// The dialect that an AWS grant must be written in.
    pub dialect: Option<Dialect>,
    /// Which grants people must approve.
    pub approval: Terms,
    /// Whether the policy only looks on: the grant is the binding's ceiling, and `allow` narrows nothing.
    pub observe: bool,
}

/// Reads a policy against its provider. `provider` is the object that `spec.providerRef` names, if there is one.
///
/// # Errors
/// The first reason why the policy can't hand out anything, naming the field and the fix.
pub fn resolve(policy: &AgentCredentialPolicy, provider: Option<&CredentialProvider>) -> Result<Authority, Refused> {
    let name = &policy.spec.provider_ref.name;
    let provider = provider.ok_or_else(|| {
        Refused::new(
            Reason::ProviderNotFound,
            format!("spec.providerRef.name: CredentialProvider {name:?} does not exist; `kubectl get credentialproviders` lists those that do"),
        )
    })?;
    let kind = kind_of(provider)?;
    let namespace = policy.namespace().unwrap_or_default();
    let principals = Principals::read(&policy.spec, &namespace)?;
    let binding = find_binding(&principals, provider, &namespace)?;
    if let Some(field) = first_unbuilt_field(policy, binding) {
        return Err(Refused::new(
            Reason::NotImplemented,
            format!("{field} is not implemented in this version; remove it, or wait for a version that builds it"),
        ));
    }
    principals.validate(kind)?;
    let times = Times::read(policy, binding, kind)?;
    let observe = observe::check(policy, binding, kind)?;
    let enforcement = if observe { Enforcement::PrincipalOnly } else { enforcement_of(kind, policy) };
    check_accepted(enforcement, policy)?;
    check_enforcement(enforcement, binding)?;
    let mut authority = Authority {
        hash: hash(policy, provider, binding),
        kind,
        provider: provider.name_any(),
        binding: binding.name.clone(),
        principals,
        allow: policy.spec.allow.clone(),
        max_actions: binding.max_actions.clone(),
        deny: binding.deny.clone(),
        duration: times.duration,
        credential_ttl: times.credential_ttl,
        offline_grace: times.offline_grace,
        on_expiry: policy.spec.session.on_expiry,
        enforcement,
        revocation: revocation_of(kind),
        outlives: outlives(provider, policy)?,
        exceptions: observe::exceptions(observe, exceptions_of(provider)),
        dialect: provider.spec.aws.as_ref().map(|aws| dialect_of(aws.dialect)),
        approval: Terms::read(policy, binding, kind)?,
        observe,
    };
    let grant = authority.grant_of_any(None)?;
    authority.exceptions.extend(exceptions_of_grant(&grant));
    Ok(authority)
}

impl Authority {
    /// The grant for a pod that runs as `service_account` and asks for `narrowing`, or for all that the policy allows.
    ///
    /// # Errors
    /// An account that the policy does not name; what can't be read, exceeds a ceiling, is wider than the policy, or can't be written as its
    /// provider takes it.
    pub fn grant(&self, service_account: &str, narrowing: Option<&[Statement]>) -> Result<Grant, Refused> {
        self.grant_as(self.principals.of(service_account)?, narrowing)
    }

    /// What the grants of all accounts have in common: they differ by their principal alone.
    fn grant_of_any(&self, narrowing: Option<&[Statement]>) -> Result<Grant, Refused> {
        self.grant_as(self.principals.first()?, narrowing)
    }

    fn grant_as(&self, principal: &str, narrowing: Option<&[Statement]>) -> Result<Grant, Refused> {
        let input = rules::GrantInput {
            kind: self.kind,
            principal,
            policy_allow: &self.allow,
            max_actions: &self.max_actions,
            deny: &self.deny,
            narrowing,
        };
        let grant = if self.observe { rules::observe::grant(input) } else { rules::grant(input) }
            .map_err(|e| Refused::new(e.reason(), e.to_string()))?;
        if let Some(dialect) = self.dialect {
            document(&grant, dialect).map_err(|e| Refused::new(e.reason(), e.to_string()))?;
        }
        if self.kind == Kind::Azure {
            azure::check(&grant)?;
            azure::check_narrowing(&self.allow, &grant)?;
        }
        check_holds(&grant, &self.deny, narrowing.is_some())?;
        Ok(grant)
    }
}

/// The dialect of session policies that a provider's settings ask for.
pub fn dialect_of(dialect: AwsDialect) -> Dialect {
    match dialect {
        AwsDialect::Aws => Dialect::Aws,
        AwsDialect::S3Compatible => Dialect::S3Compatible,
    }
}

/// The kind of a provider.
///
/// # Errors
/// `NotImplemented` for kinds that this version does not build.
pub fn kind_of(provider: &CredentialProvider) -> Result<Kind, Refused> {
    let spec = &provider.spec;
    if spec.aws.is_some() {
        return Ok(Kind::Aws);
    }
    if spec.kubernetes.is_some() {
        return Ok(Kind::Kubernetes);
    }
    if spec.vault.is_some() {
        return Ok(Kind::Vault);
    }
    if spec.azure.is_some() {
        return Ok(Kind::Azure);
    }
    if spec.gcp.is_some() {
        return Ok(Kind::Gcp);
    }
    Err(Refused::new(
        Reason::NotImplemented,
        format!(
            "spec.http of CredentialProvider {:?} is not implemented in this version; aws, azure, gcp, kubernetes and vault are",
            provider.name_any()
        ),
    ))
}

fn find_binding<'a>(
    principals: &Principals,
    provider: &'a CredentialProvider,
    namespace: &str,
) -> Result<&'a Binding, Refused> {
    let serving: Vec<&Binding> = provider
        .spec
        .bindings
        .iter()
        .filter(|b| b.namespaces.iter().any(|n| rules::glob::matches(n, namespace, rules::glob::Case::Sensitive)))
        .collect();
    if serving.is_empty() {
        return Err(Refused::new(
            Reason::NamespaceNotServed,
            format!(
                "no binding of CredentialProvider {:?} serves namespace {namespace:?}; a platform admin adds it to spec.bindings[].namespaces",
                provider.name_any()
            ),
        ));
    }
    let served = serving.iter().copied().find(|binding| principals.all_within(binding, namespace));
    served.ok_or_else(|| principals.outside(&serving, provider, namespace))
}

struct Times {
    duration: SignedDuration,
    credential_ttl: SignedDuration,
    offline_grace: Option<SignedDuration>,
}

impl Times {
    fn read(policy: &AgentCredentialPolicy, binding: &Binding, kind: Kind) -> Result<Self, Refused> {
        let session = &policy.spec.session;
        let read = |field: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => duration::parse(text)
                .map(Some)
                .map_err(|e| Refused::new(Reason::DurationInvalid, format!("{field}: {e}"))),
        };
        let max = read("spec.bindings[].maxDuration", &binding.max_duration)?.unwrap_or(DEFAULT_MAX_DURATION);
        let asked = read("spec.session.duration", &session.duration)?;
        let duration = asked.unwrap_or(DEFAULT_DURATION.min(max));
        if duration > max {
            return Err(Refused::new(
                Reason::DurationTooLong,
                format!(
                    "spec.session.duration: {} exceeds the {} of binding {:?}; shorten it",
                    duration::format(duration),
                    duration::format(max),
                    binding.name
                ),
            ));
        }
        check_minimum(kind, duration)?;
        let ttl = read("spec.session.credentialTTL", &session.credential_ttl)?;
        let credential_ttl = check_ttl(kind, ttl.unwrap_or(DEFAULT_CREDENTIAL_TTL).min(ttl.unwrap_or(duration)))?;
        let offline_grace = read("spec.session.offlineGrace", &session.offline_grace)?;
        Ok(Self { duration, credential_ttl, offline_grace })
    }
}

/// A session must be long enough for one credential of its provider, with a minute to fetch it; below five it would be all renewal.
fn check_minimum(kind: Kind, duration: SignedDuration) -> Result<(), Refused> {
    let floor = shortest_session(kind);
    if duration < floor {
        return Err(Refused::new(
            Reason::DurationInvalid,
            format!(
                "spec.session.duration: {} is shorter than the least of {} for this provider",
                duration::format(duration),
                duration::format(floor)
            ),
        ));
    }
    Ok(())
}

/// Shortest session of a kind of provider.
pub fn shortest_session(kind: Kind) -> SignedDuration {
    (bounds(kind).0 + SignedDuration::from_mins(1)).max(SignedDuration::from_mins(5))
}

fn check_ttl(kind: Kind, ttl: SignedDuration) -> Result<SignedDuration, Refused> {
    let (floor, ceiling) = bounds(kind);
    if ttl < floor {
        return Err(Refused::new(
            Reason::CredentialTTLTooShort,
            format!(
                "spec.session.credentialTTL: {} is below the provider's least of {}; lengthen it (or spec.session.duration)",
                duration::format(ttl),
                duration::format(floor)
            ),
        ));
    }
    if ttl > ceiling {
        return Err(Refused::new(
            Reason::CredentialTTLTooLong,
            format!(
                "spec.session.credentialTTL: {} exceeds the provider's most of {}; shorten it",
                duration::format(ttl),
                duration::format(ceiling)
            ),
        ));
    }
    Ok(ttl)
}

/// Shortest and longest life of a credential. STS gives 900 s to 12 h (AssumeRole reference). The API server gives tokens of 600 s
/// at least (TokenRequest reference), but ours end earlier with the Secret that they are bound to. A token of Entra lives longer than it is
/// served. Google gives a service account's access tokens an hour at most (generateAccessToken reference).
pub fn bounds(kind: Kind) -> (SignedDuration, SignedDuration) {
    match kind {
        Kind::Aws => (SignedDuration::from_mins(15), SignedDuration::from_hours(12)),
        Kind::Azure | Kind::Kubernetes | Kind::Vault => (SignedDuration::from_mins(1), SignedDuration::from_hours(24)),
        Kind::Gcp => (SignedDuration::from_mins(1), SignedDuration::from_hours(1)),
    }
}

/// A token of Vault carries the policies of its role, which know nothing of one session's grant: that the sidecar sees to. Google narrows
/// tokens for Cloud Storage only.
fn enforcement_of(kind: Kind, policy: &AgentCredentialPolicy) -> Enforcement {
    match kind {
        Kind::Aws | Kind::Kubernetes => Enforcement::Provider,
        Kind::Vault => Enforcement::Sidecar,
        Kind::Azure => Enforcement::PrincipalOnly,
        Kind::Gcp => gcp_boundary::enforcement(&policy.spec.allow),
    }
}

fn revocation_of(kind: Kind) -> RevocationMode {
    match kind {
        Kind::Aws | Kind::Azure | Kind::Gcp => RevocationMode::ExpiryOnly,
        Kind::Kubernetes | Kind::Vault => RevocationMode::Immediate,
    }
}

fn hash(policy: &AgentCredentialPolicy, provider: &CredentialProvider, binding: &Binding) -> String {
    digest::of(&json!({
        "policy": policy.uid(),
        "spec": policy.spec,
        "provider": provider_hash(provider),
        "binding": binding,
    }))
}

/// Hash of how a provider is reached: its bindings left out, since they do not change what a probe sees.
pub fn provider_hash(provider: &CredentialProvider) -> String {
    let mut settings = provider.spec.clone();
    settings.bindings = Vec::new();
    digest::of(&json!({"provider": provider.uid(), "settings": settings}))
}

#[cfg(test)]
mod tests;
