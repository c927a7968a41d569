//! Before `helm uninstall` removes us: every session ends, and nothing of ours keeps a namespace from terminating.

use super::args::Args;
use crate::process::RunError;
use crate::revocation::{is_held, is_outstanding};
use exeat_crds::v1alpha1::Phase;
use exeat_crds::{CredentialSession, names};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Revokes every live session while controller and issuer still run, waits for the providers' revocations, then clears the finalizers
/// that are left.
///
/// # Errors
/// What the API server refused.
pub async fn uninstall(args: &Args, timeout: Duration) -> Result<(), RunError> {
    exeat_runtime::telemetry::init(&args.process.telemetry);
    let client = args.process.client.client().await.map_err(RunError::setup)?;
    let run = async {
        let revoked = revoke_all(&client).await?;
        tracing::info!(revoked, "every live session is being revoked");
        let left = wait(&client, Instant::now() + timeout).await?;
        if left > 0 {
            tracing::warn!(
                left,
                "some sessions could not be revoked at their provider in time; their credentials end at status.revocation.effectiveBy"
            );
        }
        release(&client).await
    };
    run.await.map_err(|e: kube::Error| RunError::setup(e))
}

async fn all(client: &Client) -> kube::Result<Vec<CredentialSession>> {
    let api: Api<CredentialSession> = Api::all(client.clone());
    match api.list(&ListParams::default()).await {
        Ok(list) => Ok(list.items),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn is_live(session: &CredentialSession) -> bool {
    !session.status.as_ref().and_then(|s| s.phase).is_some_and(Phase::is_terminal)
}

async fn revoke_all(client: &Client) -> kube::Result<usize> {
    let live: Vec<_> = all(client).await?.into_iter().filter(|s| is_live(s) && s.spec.revoke.is_none()).collect();
    for session in &live {
        let api: Api<CredentialSession> = Api::namespaced(client.clone(), &session.namespace().unwrap_or_default());
        let body = json!({"spec": {"revoke": {"reason": "Exeat is being uninstalled"}}});
        gone_is_fine(api.patch(&session.name_any(), &PatchParams::default(), &Patch::Merge(&body)).await)?;
    }
    Ok(live.len())
}

async fn wait(client: &Client, deadline: Instant) -> kube::Result<usize> {
    loop {
        let left = all(client).await?.iter().filter(|s| is_live(s) || is_held(s) || is_outstanding(s)).count();
        if left == 0 || Instant::now() >= deadline {
            return Ok(left);
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn release(client: &Client) -> kube::Result<()> {
    for session in all(client).await?.iter().filter(|s| is_held(s)) {
        let api: Api<CredentialSession> = Api::namespaced(client.clone(), &session.namespace().unwrap_or_default());
        let kept: Vec<_> = session.finalizers().iter().filter(|f| *f != names::REVOKE_FINALIZER).collect();
        let body = json!({"metadata": {"finalizers": kept, "resourceVersion": session.resource_version()}});
        gone_is_fine(api.patch(&session.name_any(), &PatchParams::default(), &Patch::Merge(&body)).await)?;
    }
    Ok(())
}

fn gone_is_fine<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}
