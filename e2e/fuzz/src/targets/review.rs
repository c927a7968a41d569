//! Bytes at each of the webhook's paths.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use exeat_crds::names;
use exeat_webhook::http::{MUTATE_OBJECTS, MUTATE_PODS, VALIDATE, VALIDATE_WORKLOADS};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::ServiceExt;

use super::{inject, must, refusal};
use crate::engine::Target;
use crate::installation::{Installation, POD_TOKENS};

/// Longest text of a warning, bytes: it travels in a header.
const WARNING: usize = 1024;

pub(super) struct Review {
    runtime: Runtime,
    router: Router,
}

impl Review {
    pub(super) fn new() -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let router = {
            let _entered = runtime.enter();
            Installation::read()?.webhook()?
        };
        Ok(Self { runtime, router })
    }

    fn post(&self, path: &str, body: Vec<u8>) -> Result<(StatusCode, Vec<u8>), String> {
        let request = Request::post(path).header("content-type", "application/json").body(Body::from(body));
        let request = request.map_err(|error| error.to_string())?;
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = to_bytes(response.into_body(), usize::MAX).await.map_err(|error| error.to_string())?;
            Ok((status, body.to_vec()))
        })
    }

    fn at(&self, path: &str, input: &[u8]) -> Result<String, String> {
        let (status, body) = self.post(path, input.to_vec())?;
        if status != StatusCode::OK {
            must(status.is_client_error(), || format!("{path} answers {status}"))?;
            return Ok(status.as_str().to_owned());
        }
        let answer: Value = serde_json::from_slice(&body).map_err(|error| format!("{path}: {error}"))?;
        // A reader that leaves a text out does not look whether it is one.
        let text = String::from_utf8_lossy(input);
        let review: Value = serde_json::from_str(&text).map_err(|error| format!("{path} took no JSON: {error}"))?;
        let request = &review["request"];
        let types = (answer["apiVersion"].as_str(), answer["kind"].as_str());
        must(types == (Some("admission.k8s.io/v1"), Some("AdmissionReview")), || format!("{path} answers {answer}"))?;
        let response = &answer["response"];
        must(response["uid"].is_string() && response["uid"] == request["uid"], || {
            format!("{path} loses the uid: {answer}")
        })?;
        let allowed = response["allowed"].as_bool().ok_or_else(|| format!("{path} does not decide: {answer}"))?;
        let warnings = warnings(path, response)?;
        let code = &response["status"]["code"];
        if !allowed {
            must(path != VALIDATE_WORKLOADS, || "a workload is refused".to_owned())?;
            must(code.as_u64().is_some_and(|code| (400..600).contains(&code)), || {
                format!("{path} refuses with {code}")
            })?;
            let message = response["status"]["message"].as_str().unwrap_or_default();
            must(!message.is_empty(), || format!("{path} refuses without a word"))?;
        }
        if response["patch"].is_null() {
            let told = response["status"]["message"].as_str().unwrap_or_default();
            return Ok(format!("{allowed} {code} {} warnings: {warnings}", refusal(told)));
        }
        must(allowed && [MUTATE_PODS, MUTATE_OBJECTS].contains(&path), || format!("{path} patches: {answer}"))?;
        self.patched(path, request, response)?;
        Ok("patched".to_owned())
    }

    /// The patch applies to the object as it was sent, and what comes of it needs no second one.
    fn patched(&self, path: &str, request: &Value, response: &Value) -> Result<(), String> {
        must(response["patchType"] == "JSONPatch", || "a patch of no type".to_owned())?;
        let encoded = response["patch"].as_str().unwrap_or_default();
        let patch = BASE64_STANDARD.decode(encoded).map_err(|error| error.to_string())?;
        let patch: json_patch::Patch = serde_json::from_slice(&patch).map_err(|error| error.to_string())?;
        let mut object = request["object"].clone();
        json_patch::patch(&mut object, &patch).map_err(|error| format!("the patch does not apply: {error}"))?;
        match path {
            MUTATE_PODS => injected(&object)?,
            _ => stamped(request, &object)?,
        }
        let mut again = request.clone();
        again["object"] = object;
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": again});
        let (status, body) = self.post(path, review.to_string().into_bytes())?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let quiet = answer["response"]["allowed"] == true && answer["response"]["patch"].is_null();
        must(quiet, || format!("asked again, it answers {status} {answer}"))
    }
}

fn injected(object: &Value) -> Result<(), String> {
    // The API server says of what type an object is by its path.
    let mut typed = object.clone();
    for field in ["apiVersion", "kind"] {
        typed.as_object_mut().and_then(|fields| fields.remove(field));
    }
    let pod: Pod = serde_json::from_value(typed).map_err(|error| format!("no pod comes of it: {error}"))?;
    inject::guarded(&pod)
}

/// A stamp names who wrote, in its own place: an annotation of ours, or the writer's own decision.
fn stamped(request: &Value, object: &Value) -> Result<(), String> {
    let user = request["userInfo"]["username"].as_str().unwrap_or_default();
    let (mut before, mut after) = (request["object"].clone(), object.clone());
    if request["kind"]["kind"] == "Approval" {
        let decisions = |of: &mut Value| of.pointer_mut("/spec/decisions").map(Value::take).unwrap_or_default();
        let (sent, stored) = (decisions(&mut before), decisions(&mut after));
        let pairs = sent.as_array().into_iter().flatten().zip(stored.as_array().into_iter().flatten());
        let changed: Vec<&Value> = pairs.filter(|(old, new)| old != new).map(|(_, new)| new).collect();
        let own = matches!(changed[..], [one] if one["approver"] == user && !user.starts_with("system:"));
        must(own && sent.as_array().map(Vec::len) == stored.as_array().map(Vec::len), || {
            format!("{user:?} changes {changed:?}")
        })?;
    } else {
        for of in [&mut before, &mut after] {
            let annotations = of.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
            let annotations = annotations.map(|all| {
                all.remove(names::LAST_EDITOR);
                all.remove(names::REQUESTER);
                all.is_empty()
            });
            let empty = annotations.unwrap_or(true);
            if let Some(metadata) = of["metadata"].as_object_mut().filter(|_| empty) {
                metadata.remove("annotations");
            }
        }
    }
    must(before == after, || format!("a stamp makes {after} of {before}"))
}

fn warnings(path: &str, response: &Value) -> Result<String, String> {
    let warnings = response["warnings"].as_array().map(Vec::as_slice).unwrap_or_default();
    for warning in warnings {
        let text = warning.as_str().unwrap_or_default();
        let fits = !text.is_empty() && text.len() <= WARNING && !text.chars().any(char::is_control);
        must(fits, || format!("{path} warns by {warning}"))?;
    }
    Ok(refusal(&response["warnings"].to_string()))
}

impl Target for Review {
    fn name(&self) -> &'static str {
        "review"
    }

    fn tokens(&self) -> &'static [&'static str] {
        POD_TOKENS
    }

    fn judge(&mut self, input: &[u8]) -> Result<String, String> {
        let paths = [MUTATE_PODS, MUTATE_OBJECTS, VALIDATE, VALIDATE_WORKLOADS];
        let said: Result<Vec<String>, String> = paths.iter().map(|path| self.at(path, input)).collect();
        Ok(said?.join(" | "))
    }
}
