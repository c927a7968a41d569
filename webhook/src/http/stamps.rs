//! `POST /mutate-objects`: who decided, who edited, who asked.

use exeat_crds::approval::Writer;
use exeat_crds::{Approval, GROUP};
use json_patch::Patch;
use kube::core::DynamicObject;
use kube::core::admission::Operation;

use super::App;
use super::review::{Answer, Request, object};
use crate::stamp;

pub(super) fn stamp(app: &App, request: &Request) -> Answer {
    if !matches!(request.operation, Operation::Create | Operation::Update) || request.sub_resource.is_some() {
        return Answer::Allow(Vec::new());
    }
    match judge(app, request) {
        Ok(patch) if patch.0.is_empty() => Answer::Allow(Vec::new()),
        Ok(patch) => Answer::Patch(patch, Vec::new()),
        Err(answer) => answer,
    }
}

fn judge(app: &App, request: &Request) -> Result<Patch, Answer> {
    let writer = stamp::writer(&request.user_info);
    match (request.kind.group.as_str(), request.kind.kind.as_str()) {
        (GROUP, "Approval") => approval(app, request, writer),
        (GROUP, "AgentCredentialPolicy") => annotated(request, writer, stamp::last_editor),
        (GROUP, "CredentialHold") => annotated(request, writer, stamp::requester),
        (group, kind) => Err(Answer::Unexpected(format!(
            "kind {kind:?} of group {group:?} is not stamped here; mend the webhook configuration"
        ))),
    }
}

/// A new one is the controller's; the admission policy lets nobody else create any.
fn approval(app: &App, request: &Request, writer: Writer<'_>) -> Result<Patch, Answer> {
    if request.operation != Operation::Update {
        return Ok(Patch::default());
    }
    let new: Approval = object(request.object.as_ref())?;
    let old: Approval = object(request.old_object.as_ref())?;
    stamp::approval(&old, &new, writer, app.clock.now()).map_err(|problem| Answer::Forbid(vec![problem]))
}

fn annotated(
    request: &Request,
    writer: Writer<'_>,
    stamp: impl FnOnce(Option<&DynamicObject>, &DynamicObject, &str) -> Patch,
) -> Result<Patch, Answer> {
    let new = request.object.as_ref().ok_or_else(|| Answer::Unexpected("the request holds no object".to_owned()))?;
    if new.metadata.name.is_none() && new.metadata.generate_name.is_none() {
        // Without metadata there would be nothing to put an annotation into.
        return Err(Answer::Unexpected("the request's object has no name".to_owned()));
    }
    let old = request.old_object.as_ref().filter(|_| request.operation == Operation::Update);
    Ok(stamp(old, new, writer.username))
}
