//! The few status fields that are the issuer's.

use exeat_crds::v1alpha1::{Issuance, Probe, Suggested};
use exeat_crds::{AgentCredentialPolicy, CredentialSession, names};
use kube::api::{Api, Patch, PatchParams};
use kube::core::Status;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

/// Writes that are tried: each one that fails means that somebody else's has passed.
const ATTEMPTS: usize = 5;

fn params() -> PatchParams {
    PatchParams::apply(names::ISSUER).force()
}

/// Changes `status.issuance` by what a fresh read of it says, until nobody else writes in between; `None` leaves it as it is.
///
/// # Errors
/// The API server's; 404 when the session is gone, or another one has its name.
pub(super) async fn change_issuance(
    client: &Client,
    session: &CredentialSession,
    change: impl Fn(&Issuance) -> Option<Issuance>,
) -> kube::Result<()> {
    let api: Api<CredentialSession> = Api::namespaced(client.clone(), &session.namespace().unwrap_or_default());
    let mut attempt = 1;
    loop {
        let fresh = api.get(&session.name_any()).await?;
        if fresh.uid() != session.uid() {
            let gone = Status::failure("another session has this name now", "NotFound").with_code(404);
            return Err(kube::Error::Api(gone.boxed()));
        }
        let old = fresh.status.as_ref().and_then(|s| s.issuance.clone()).unwrap_or_default();
        let Some(new) = change(&old) else { return Ok(()) };
        match write_issuance(client, &fresh, &new).await {
            Err(kube::Error::Api(status)) if status.code == 409 && attempt < ATTEMPTS => attempt += 1,
            written => return written.map(|_| ()),
        }
    }
}

/// Writes `status.issuance`, whole, under the version that was read. The UID keeps it off a later session of the same name.
///
/// # Errors
/// The API server's; 409 when the session has changed since.
pub(super) async fn write_issuance(
    client: &Client,
    session: &CredentialSession,
    issuance: &Issuance,
) -> kube::Result<CredentialSession> {
    let api: Api<CredentialSession> = Api::namespaced(client.clone(), &session.namespace().unwrap_or_default());
    let name = session.name_any();
    let body = json!({
        "apiVersion": "exeat.dev/v1alpha1",
        "kind": "CredentialSession",
        "metadata": {"name": name, "uid": session.uid(), "resourceVersion": session.resource_version()},
        "status": {"issuance": issuance},
    });
    api.patch_status(&name, &params(), &Patch::Apply(&body)).await
}

/// Writes `status.probe` of a provider or policy.
pub(super) async fn write_probe<K>(api: &Api<K>, kind: &str, object: &K, probe: &Probe) -> kube::Result<()>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let name = object.name_any();
    let body: Value = json!({
        "apiVersion": "exeat.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "uid": object.uid()},
        "status": {"probe": probe},
    });
    api.patch_status(&name, &params(), &Patch::Apply(&body)).await.map(|_| ())
}

/// Writes `status.suggested` of a policy, whole, under the version that was read.
///
/// # Errors
/// The API server's; 409 when the policy has changed since.
pub(super) async fn write_suggested(
    api: &Api<AgentCredentialPolicy>,
    policy: &AgentCredentialPolicy,
    suggested: &Suggested,
) -> kube::Result<()> {
    let name = policy.name_any();
    let body = json!({
        "apiVersion": "exeat.dev/v1alpha1",
        "kind": "AgentCredentialPolicy",
        "metadata": {"name": name, "uid": policy.uid(), "resourceVersion": policy.resource_version()},
        "status": {"suggested": suggested},
    });
    let params = PatchParams::apply(names::ISSUER_SUGGESTED).force();
    api.patch_status(&name, &params, &Patch::Apply(&body)).await.map(|_| ())
}
