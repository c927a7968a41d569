//! The few status fields that are the issuer's.

use exeat_crds::v1alpha1::{Issuance, Probe};
use exeat_crds::{CredentialSession, names};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

fn params() -> PatchParams {
    PatchParams::apply(names::ISSUER).force()
}

/// Writes `status.issuance`, whole. The UID keeps it off a later session of the same name.
pub(super) async fn write_issuance(
    client: &Client,
    session: &CredentialSession,
    issuance: &Issuance,
) -> kube::Result<()> {
    let api: Api<CredentialSession> = Api::namespaced(client.clone(), &session.namespace().unwrap_or_default());
    let name = session.name_any();
    let body = json!({
        "apiVersion": "exeat.dev/v1alpha1",
        "kind": "CredentialSession",
        "metadata": {"name": name, "uid": session.uid()},
        "status": {"issuance": issuance},
    });
    api.patch_status(&name, &params(), &Patch::Apply(&body)).await.map(|_| ())
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
