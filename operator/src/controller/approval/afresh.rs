//! What is asked of the API server itself before a question is ended for good: the caches may be behind, as those of a new leader, and of
//! CronJobs there is none.

use crate::controller::caches::{Caches, is_open};
use crate::controller::error::Error;
use exeat_crds::v1alpha1::ApprovalRequest;
use exeat_crds::{AgentCredentialPolicy, Approval, CredentialProvider, authority};
use k8s_openapi::api::batch::v1::CronJob;
use kube::{Api, Client, ResourceExt};

/// The policy under which people are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    /// Whether the one of its UID is gone.
    pub(super) gone: bool,
    /// Hash of what it gives; `None` where that can't be told.
    pub(super) authority: Option<String>,
}

impl Policy {
    fn of(found: Option<&AgentCredentialPolicy>, provider: Option<&CredentialProvider>) -> Self {
        let authority = found.and_then(|p| authority::resolve(p, provider).ok()).map(|a| a.hash);
        Self { gone: found.is_none(), authority }
    }

    fn ends(&self, request: &ApprovalRequest) -> bool {
        self.gone || self.authority.as_ref().is_some_and(|hash| *hash != request.authority_hash)
    }
}

/// What the caches say of the policy, or the API server where that would end the question. A name that is none could lead elsewhere: what is
/// found must have the UID.
///
/// # Errors
/// What the API server refused.
pub(super) async fn policy(approval: &Approval, caches: &Caches, client: &Client) -> Result<Policy, Error> {
    let request = &approval.spec.request;
    let namespace = approval.namespace().unwrap_or_default();
    let ours = |p: &AgentCredentialPolicy| p.uid().as_deref() == Some(request.policy_ref.uid.as_str());
    let known = caches.policy(&namespace, &request.policy_ref.name).filter(|p| ours(p));
    let provider = known.as_ref().and_then(|p| caches.provider(&p.spec.provider_ref.name));
    let policy = Policy::of(known.as_deref(), provider.as_deref());
    if !is_open(approval) || !policy.ends(request) {
        return Ok(policy);
    }
    let policies: Api<AgentCredentialPolicy> = Api::namespaced(client.clone(), &namespace);
    let fresh = policies.get_opt(&request.policy_ref.name).await?.filter(ours);
    let provider = match &fresh {
        Some(policy) => {
            let name = &policy.spec.provider_ref.name;
            let found = Api::<CredentialProvider>::all(client.clone()).get_opt(name).await?;
            found.filter(|p| p.name_any() == *name)
        }
        None => None,
    };
    Ok(Policy::of(fresh.as_ref(), provider.as_ref()))
}

/// Whether a question is one of a CronJob that is there: its next run needs the same.
///
/// # Errors
/// What the API server refused.
pub(super) async fn recurs(approval: &Approval, client: &Client) -> Result<bool, Error> {
    let request = &approval.spec.request;
    let shared = request.workload.as_ref().filter(|w| w.kind == "CronJob" && request.session_ref.is_none());
    let Some(workload) = shared.filter(|_| is_open(approval)) else { return Ok(false) };
    let api: Api<CronJob> = Api::namespaced(client.clone(), &approval.namespace().unwrap_or_default());
    let found = api.get_metadata_opt(&workload.name).await?;
    Ok(found.is_some_and(|f| f.metadata.uid.as_deref() == Some(workload.uid.as_str())))
}

#[cfg(test)]
#[path = "afresh_tests.rs"]
mod tests;
