//! CredentialProvider: the issuer's probe becomes Ready.

use super::context::{Context, Outcome};
use super::error::Error;
use exeat_crds::reason::Reason;
use exeat_crds::v1alpha1::{CredentialProvider, CredentialProviderStatus};
use exeat_crds::{authority, condition, names};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use serde_json::json;
use std::sync::Arc;

/// Brings a provider's conditions up to date.
///
/// # Errors
/// What the API server refused; it is tried again.
pub async fn reconcile(provider: Arc<CredentialProvider>, context: Arc<Context>) -> Result<Action, Error> {
    let _timer = context.metrics.reconcile_timer("provider");
    let now = context.clock.now();
    let status = evaluate(&provider, now); // pure
    let outcome = apply(&provider, &status, &context).await?; // client
    Ok(context.next_look(outcome, None, now))
}

/// The status that a provider should have. `probe` is the issuer's and left as it is.
pub fn evaluate(provider: &CredentialProvider, now: Timestamp) -> CredentialProviderStatus {
    let mut status = provider.status.clone().unwrap_or_default();
    let generation = provider.metadata.generation;
    let (ready, reason, message) = match authority::kind_of(provider) {
        Err(refused) => (false, refused.reason.as_str().to_owned(), refused.message),
        Ok(_) => match status.probe.as_ref().filter(|p| p.hash == authority::provider_hash(provider)) {
            None => (
                false,
                Reason::ProbePending.as_str().to_owned(),
                "the issuer has not tried this provider yet".to_owned(),
            ),
            Some(probe) if probe.ok => (true, Reason::Ready.as_str().to_owned(), probe.message.clone()),
            Some(probe) => (false, probe.reason.clone(), probe.message.clone()),
        },
    };
    condition::set(&mut status.conditions, "Ready", ready, &reason, &message, generation, now);
    status.observed_generation = generation;
    status
}

async fn apply(
    provider: &CredentialProvider,
    status: &CredentialProviderStatus,
    context: &Context,
) -> Result<Outcome, Error> {
    if provider.status.as_ref() == Some(status) {
        return Ok(Outcome::Unchanged);
    }
    context.gate.check()?;
    let api: Api<CredentialProvider> = Api::all(context.client.clone());
    let name = provider.name_any();
    let body = json!({
        "apiVersion": "exeat.dev/v1alpha1",
        "kind": "CredentialProvider",
        "metadata": {"name": name, "uid": provider.uid()},
        "status": {"conditions": status.conditions, "observedGeneration": status.observed_generation},
    });
    api.patch_status(&name, &PatchParams::apply(names::CONTROLLER).force(), &Patch::Apply(&body)).await?;
    Ok(Outcome::Changed)
}
