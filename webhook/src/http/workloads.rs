//! `POST /validate-workloads`: a refused pod of a workload is else seen only in Events of its ReplicaSet or Job, so
//! the workload's author is told when the template is applied. Workloads are never refused or changed.

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::core::DynamicObject;
use kube::core::admission::Operation;

use super::App;
use super::review::{Answer, Request};
use crate::inject::{InjectContext, inject};
use crate::{annotations, message, pod};

pub(super) async fn advise(app: &App, request: &Request) -> Answer {
    Answer::Allow(warnings(app, request).await.unwrap_or_default())
}

/// None where there is nothing to say, and nothing that may be asked about.
async fn warnings(app: &App, request: &Request) -> Option<Vec<String>> {
    if !matches!(request.operation, Operation::Create | Operation::Update) || request.sub_resource.is_some() {
        return None;
    }
    let pod = template(&request.kind.kind, request.object.as_ref()?)?;
    let annotations = pod::annotations(&pod);
    if !annotations::has_any(&annotations) {
        return None;
    }
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let (asked, _) = annotations::read(&annotations);
    let found = app.found(namespace, &asked).await.ok()?;
    let context =
        InjectContext { namespace, found: &found, settings: &app.settings(namespace), issuer_ca: "", requester: None };
    let refused = |problem| message::header(&format!("pods of this template will be refused: {problem}"));
    Some(match inject(&pod, &context) {
        Ok(injected) => {
            let asked = injected.needed.iter().map(|needed| message::asked("a pod of this template", needed));
            asked.chain(injected.warnings.iter().map(message::warned)).collect()
        }
        Err(problems) => problems.iter().map(refused).collect(),
    })
}

/// A pod as the workload would make it.
fn template(kind: &str, object: &DynamicObject) -> Option<Pod> {
    let place = match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => "/spec/template",
        "CronJob" => "/spec/jobTemplate/spec/template",
        _ => return None,
    };
    let template: PodTemplateSpec = serde_json::from_value(object.data.pointer(place)?.clone()).ok()?;
    Some(Pod { metadata: template.metadata.unwrap_or_default(), spec: template.spec, status: None })
}
