//! AgentCredentialPolicy: Ready means that the issuer assumed the principal once with this very policy.

use super::context::{Context, Outcome};
use super::error::Error;
use exeat_crds::authority::{self, Authority};
use exeat_crds::reason::{Reason, Refused};
use exeat_crds::rules::Kind;
use exeat_crds::v1alpha1::{AgentCredentialPolicy, AgentCredentialPolicyStatus, CredentialProvider};
use exeat_crds::{condition, duration, names};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use serde_json::json;
use std::sync::Arc;

/// An assumed role can hand out one hour at most (AWS, role chaining).
const CHAINED_MAX: SignedDuration = SignedDuration::from_hours(1);

/// Brings a policy's conditions up to date.
///
/// # Errors
/// What the API server refused; it is tried again.
pub async fn reconcile(policy: Arc<AgentCredentialPolicy>, context: Arc<Context>) -> Result<Action, Error> {
    let _timer = context.metrics.reconcile_timer("policy");
    let now = context.clock.now();
    let provider = context.caches.provider(&policy.spec.provider_ref.name);
    let status = evaluate(&policy, provider.as_deref(), now); // pure
    let outcome = apply(&policy, &status, &context).await?; // client
    Ok(context.next_look(outcome, None, now))
}

/// The status that a policy should have. `probe` and `suggested` are the issuer's and left as they are.
pub fn evaluate(
    policy: &AgentCredentialPolicy,
    provider: Option<&CredentialProvider>,
    now: Timestamp,
) -> AgentCredentialPolicyStatus {
    let mut status = policy.status.clone().unwrap_or_default();
    let generation = policy.metadata.generation;
    let resolved = authority::resolve(policy, provider);
    status.authority_hash = resolved.as_ref().ok().map(|a| a.hash.clone());
    status.enforcement = resolved.as_ref().ok().map(|a| a.enforcement);
    status.exceptions = resolved.as_ref().map(|a| a.exceptions.clone()).unwrap_or_default();
    let (ready, reason, message) = match resolved.and_then(|a| chaining(&a, provider).map(|()| a)) {
        Err(refused) => (false, refused.reason.as_str().to_owned(), refused.message),
        Ok(authority) => match status.probe.as_ref().filter(|p| p.hash == authority.hash) {
            None => {
                (false, Reason::ProbePending.as_str().to_owned(), "the issuer has not tried this policy yet".to_owned())
            }
            Some(probe) if probe.ok => (true, Reason::Ready.as_str().to_owned(), probe.message.clone()),
            Some(probe) => (false, probe.reason.clone(), probe.message.clone()),
        },
    };
    condition::set(&mut status.conditions, "Ready", ready, &reason, &message, generation, now);
    status.observed_generation = generation;
    status
}

fn chaining(authority: &Authority, provider: Option<&CredentialProvider>) -> Result<(), Refused> {
    let probe = provider.and_then(|p| p.status.as_ref()).and_then(|s| s.probe.as_ref());
    let chained = probe.is_some_and(|p| p.chained == Some(true));
    if authority.kind == Kind::Aws && chained && authority.credential_ttl > CHAINED_MAX {
        return Err(Refused::new(
            Reason::RoleChainingLimit,
            format!(
                "spec.session.credentialTTL: {} exceeds 1h, the most that AWS gives when the issuer's own identity is an assumed role; use 1h or less",
                duration::format(authority.credential_ttl)
            ),
        ));
    }
    Ok(())
}

async fn apply(
    policy: &AgentCredentialPolicy,
    status: &AgentCredentialPolicyStatus,
    context: &Context,
) -> Result<Outcome, Error> {
    if policy.status.as_ref() == Some(status) {
        return Ok(Outcome::Unchanged);
    }
    context.gate.check()?;
    let api: Api<AgentCredentialPolicy> =
        Api::namespaced(context.client.clone(), &policy.namespace().unwrap_or_default());
    let name = policy.name_any();
    let mut own = serde_json::to_value(status).unwrap_or_default();
    if let Some(fields) = own.as_object_mut() {
        fields.remove("probe");
        fields.remove("suggested");
    }
    let body = json!({
        "apiVersion": "exeat.dev/v1alpha1",
        "kind": "AgentCredentialPolicy",
        "metadata": {"name": name, "uid": policy.uid()},
        "status": own,
    });
    api.patch_status(&name, &PatchParams::apply(names::CONTROLLER).force(), &Patch::Apply(&body)).await?;
    Ok(Outcome::Changed)
}
