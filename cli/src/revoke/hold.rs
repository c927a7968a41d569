//! Holds: while one stands, nothing that it matches is opened.

use super::act::MANAGER;
use super::{ReleaseArgs, RevokeArgs, select};
use crate::client::Cluster;
use crate::error::{Error, Exit, api_message, is_forbidden};
use crate::output::{Out, Table, time};
use exeat_crds::v1alpha1::CredentialHoldSpec;
use exeat_crds::{CredentialHold, digest, names, text};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

/// Longest readable part of a hold's name.
const MAX_STEM: usize = 40;

/// The name follows from what is held, so that running a command again finds the hold of the first run.
fn name(spec: &CredentialHoldSpec) -> String {
    let what = [&spec.pod, &spec.policy, &spec.provider, &spec.namespace];
    let stem = spec.workload.as_ref().map(|w| w.name.clone()).or_else(|| what.into_iter().flatten().next().cloned());
    let stem = stem.unwrap_or_default();
    let stem = text::cut(&stem, MAX_STEM).trim_matches(['-', '.']);
    let key = digest::of(&CredentialHoldSpec { reason: String::new(), ..spec.clone() });
    format!("{stem}-{}", &key[..8])
}

/// Creates the hold of `revoke --deny-new`, if it is not there already.
pub(super) async fn create(cluster: &Cluster, args: &RevokeArgs, out: &mut Out<'_>) -> Result<(), Error> {
    let spec = select::hold(args, cluster.scope())?;
    let name = name(&spec);
    let api: Api<CredentialHold> = Api::all(cluster.client.clone());
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, &CredentialHold::new(&name, spec)).await {
        Ok(_) => out
            .note(&format!("hold {name} keeps new sessions off; `kubectl exeat release {name}` lets them open again")),
        Err(kube::Error::Api(status)) if status.code == 409 => out.note(&format!("hold {name} stands already")),
        Err(error) if is_forbidden(&error) => Err(Error::Denied(format!(
            "no hold was created and nothing was revoked: {}; you need create on credentialholds.exeat.dev (ClusterRole exeat-officer)",
            api_message(&error)
        ))),
        Err(error) => Err(Error::api("the hold can't be created, and nothing was revoked")(error)),
    }
}

fn table(holds: &[CredentialHold], now: Timestamp) -> Table {
    let mut table = Table::new(&["NAME", "HOLDS", "REASON", "BY", "AGE"], &[]);
    for hold in holds {
        let by = hold.annotations().get(names::REQUESTER).cloned().unwrap_or_default();
        let age = hold.creation_timestamp().map(|t| time::age(t.0, now)).unwrap_or_default();
        table.row(vec![
            hold.name_any().into(),
            what(&hold.spec).into(),
            hold.spec.reason.as_str().into(),
            by.into(),
            age.into(),
        ]);
    }
    table
}

/// What a hold keeps off, in words.
pub fn what(spec: &CredentialHoldSpec) -> String {
    let workload = spec.workload.as_ref().map(|w| format!("{}/{}", w.kind, w.name));
    let parts = [
        ("provider", &spec.provider),
        ("namespace", &spec.namespace),
        ("policy", &spec.policy),
        ("workload", &workload),
        ("account", &spec.service_account),
        ("pod", &spec.pod),
    ];
    let set: Vec<String> =
        parts.iter().filter_map(|(field, value)| Some(format!("{field} {}", value.as_ref()?))).collect();
    set.join(", ")
}

/// `holds`.
///
/// # Errors
/// The API server's.
pub async fn list(cluster: &Cluster, now: Timestamp, out: &mut Out<'_>) -> Result<Exit, Error> {
    let api: Api<CredentialHold> = Api::all(cluster.client.clone());
    let holds = api.list(&ListParams::default()).await.map_err(Error::api("holds can't be listed"))?.items;
    out.list(&holds, || table(&holds, now), "Nothing is held.")?;
    Ok(Exit::Done)
}

/// `release`: one hold after the other, whatever became of those before it.
///
/// # Errors
/// When the API server does not answer.
pub async fn release(cluster: &Cluster, args: &ReleaseArgs, out: &mut Out<'_>) -> Result<Exit, Error> {
    let api: Api<CredentialHold> = Api::all(cluster.client.clone());
    let (mut told, mut exit) = (Vec::new(), Exit::Done);
    for name in &args.names {
        let error = match api.delete(name, &DeleteParams::default()).await {
            Ok(_) => {
                told.push(json!({"name": name, "released": true}));
                if !out.is_data() {
                    out.text(&format!("hold {name} is released\n"))?;
                }
                continue;
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                Error::NotFound(format!("there is no hold {name:?}; `kubectl exeat holds` lists them"))
            }
            Err(error) => Error::api(format!("hold {name} can't be released"))(error),
        };
        if error.is_for_all() {
            if out.is_data() && !told.is_empty() {
                out.data(&told)?;
            }
            return Err(error);
        }
        out.note(&format!("error: {error}"))?;
        told.push(json!({"name": name, "released": false, "message": error.to_string()}));
        exit = Exit::Failed;
    }
    if out.is_data() {
        out.data(&told)?;
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Paint;

    #[test]
    fn the_same_hold_has_the_same_name_whatever_its_reason() {
        let spec = |reason: &str, policy: &str| CredentialHoldSpec {
            namespace: Some("agents".into()),
            policy: Some(policy.into()),
            reason: reason.into(),
            ..CredentialHoldSpec::default()
        };
        assert_eq!(name(&spec("a", "reader")), name(&spec("b", "reader")));
        assert_ne!(name(&spec("a", "reader")), name(&spec("a", "writer")));
        assert!(name(&spec("a", &"x.".repeat(60))).len() <= 49);
        let hold = CredentialHold::new("h", spec("looks odd", "reader"));
        let text = table(&[hold], Timestamp::UNIX_EPOCH).render(false, Paint(false));
        assert!(text.contains("namespace agents, policy reader   looks odd"), "{text}");
    }
}
