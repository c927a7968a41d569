use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::notify::due::NOTIFIED;
use exeat_crds::v1alpha1::ApprovalStatus;
use exeat_crds::{Approval, approval, condition, names};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::Status;
use serde_json::json;

/// Writes that are tried: each one that fails means that somebody else's has passed.
const ATTEMPTS: usize = 8;

/// What came of asking people.
#[derive(Debug)]
pub(in crate::controller) enum Created {
    /// The approval stands.
    Stands,
    /// The API server refuses it: a quota, somebody's admission policy.
    Refused(Box<Status>),
    /// Others have taken the last place meanwhile, or are just asking the same.
    NoPlace,
}

/// Asks people. The name is derived from what is asked: a second try, and a second replica of the workload, find the first one's object.
pub(in crate::controller) async fn create(approval: &Approval, context: &Context) -> Result<Created, Error> {
    context.gate.check()?;
    if !context.caches.take_place(approval, context.max_open_approvals, context.clock.now()) {
        return Ok(Created::NoPlace);
    }
    let api: Api<Approval> = Api::namespaced(context.client.clone(), &approval.namespace().unwrap_or_default());
    let params = PostParams { field_manager: Some(names::CONTROLLER.to_owned()), ..PostParams::default() };
    let created = api.create(&params, approval).await;
    let refused = matches!(&created, Err(kube::Error::Api(status)) if !status.is_already_exists() && status.code < 500);
    context.caches.asked(approval, refused);
    match created {
        Ok(_) => Ok(Created::Stands),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Created::Stands),
        // A quota's own record was written by another request meanwhile: nothing is refused yet.
        Err(kube::Error::Api(status)) if !status.is_conflict() => Ok(Created::Refused(status)),
        Err(error) => Err(error.into()),
    }
}

/// Writes the whole status under the version that was read, so that a word or a use that came in between is never lost.
pub(super) async fn status(approval: &Approval, status: &ApprovalStatus, context: &Context) -> kube::Result<Approval> {
    let api: Api<Approval> = Api::namespaced(context.client.clone(), &approval.namespace().unwrap_or_default());
    let name = approval.name_any();
    let body = json!({
        "apiVersion": "exeat.dev/v1alpha1",
        "kind": "Approval",
        "metadata": {"name": name, "uid": approval.uid(), "resourceVersion": approval.resource_version()},
        "status": status,
    });
    api.patch_status(&name, &PatchParams::apply(names::CONTROLLER).force(), &Patch::Apply(&body)).await
}

/// Puts on record that an approval opens a session, before the session is opened: judged against a fresh read and written under its version.
/// Returns whether it does; when people took it back in the meantime, or it was used up, the session is decided anew.
pub(in crate::controller) async fn consume(
    namespace: &str,
    name: &str,
    session_uid: &str,
    context: &Context,
) -> Result<bool, Error> {
    let api: Api<Approval> = Api::namespaced(context.client.clone(), namespace);
    for _ in 0..ATTEMPTS {
        context.gate.check()?;
        let fresh = api.get(name).await?;
        if !approval::usable(&fresh, session_uid, context.clock.now()) {
            return Ok(false);
        }
        if approval::opened(&fresh, session_uid) {
            return Ok(true);
        }
        let used = approval::consume(&fresh.status.clone().unwrap_or_default(), session_uid);
        match status(&fresh, &used, context).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// Puts on record what people were told last, whatever became of the approval meanwhile. Returns whether it is; of one that is gone nothing is to be kept.
pub(in crate::controller) async fn notified(
    approval: &Approval,
    reason: &str,
    context: &Context,
) -> Result<bool, Error> {
    let api: Api<Approval> = Api::namespaced(context.client.clone(), &approval.namespace().unwrap_or_default());
    let now = context.clock.now();
    let message = format!("sent at {}", condition::whole_seconds(now));
    for _ in 0..ATTEMPTS {
        context.gate.check()?;
        let fresh = api.get_opt(&approval.name_any()).await?;
        let Some(fresh) = fresh.filter(|f| f.uid() == approval.uid()) else { return Ok(true) };
        let mut told = fresh.status.clone().unwrap_or_default();
        let generation = fresh.metadata.generation;
        condition::set(&mut told.conditions, NOTIFIED, true, reason, &message, generation, now);
        match status(&fresh, &told, context).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
