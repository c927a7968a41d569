//! `POST /mutate-pods`.

use exeat_crds::{approval, names};
use k8s_openapi::api::core::v1::Pod;
use kube::core::admission::Operation;

use super::App;
use super::review::{Answer, Request, object};
use crate::inject::{InjectContext, inject};
use crate::{annotations, message, patch, pod};

pub(super) async fn mutate(app: &App, request: &Request) -> Answer {
    if request.operation != Operation::Create || request.sub_resource.is_some() {
        return Answer::Allow(Vec::new());
    }
    judge(app, request).await.unwrap_or_else(|answer| answer)
}

async fn judge(app: &App, request: &Request) -> Result<Answer, Answer> {
    let pod: Pod = object(request.object.as_ref())?;
    let annotations = pod::annotations(&pod);
    if !annotations::has_any(&annotations) {
        return Ok(Answer::Allow(Vec::new()));
    }
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let (asked, _) = annotations::read(&annotations);
    let found = app.found(namespace, &asked).await;
    let found = found.map_err(|error| Answer::Unavailable(error.to_string()))?;
    let issuer_ca = app.issuer_ca.borrow().clone();
    let context = InjectContext {
        namespace,
        found: &found,
        settings: &app.settings(namespace),
        issuer_ca: issuer_ca.as_deref().unwrap_or_default(),
        requester: request.user_info.username.as_deref().filter(|name| approval::is_person(name)),
    };
    let injected = inject(&pod, &context).map_err(Answer::Forbid)?;
    if issuer_ca.is_none() {
        return Err(Answer::Unavailable(format!(
            "the issuer has not published its root yet (ConfigMap {}, key ca.crt, in the namespace of Exeat); try again, and see whether the issuer runs",
            names::ISSUER_ROOT_CONFIG_MAP
        )));
    }
    let value = |pod| {
        serde_json::to_value(pod).map_err(|error| Answer::Unexpected(format!("the pod can't be written: {error}")))
    };
    let patch = patch::diff(&value(&pod)?, &value(&injected.pod)?);
    let asked = injected.needed.iter().map(|needed| message::asked("this pod", needed));
    let warnings = asked.chain(injected.warnings.iter().map(message::warned)).collect();
    Ok(if patch.0.is_empty() { Answer::Allow(warnings) } else { Answer::Patch(patch, warnings) })
}
