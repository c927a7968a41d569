//! An API server with the root's Secret and the two webhook configurations, for tests.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use http::{Method, Request, Response};
use kube::Client;
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "/api/v1/namespaces/exeat-system/secrets/exeat-webhook-root";
pub(crate) const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
pub(crate) const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

/// Keeps the rules that a PUT must name the version that it changes, and that a JSON patch is done whole or not at all.
#[derive(Clone)]
pub(crate) struct ApiServer {
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl ApiServer {
    /// With an empty Secret and configurations that trust nobody.
    pub(crate) fn new() -> Self {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "exeat-webhook-root", "resourceVersion": "1"}});
        let configuration = |kind: &str| {
            let webhook = |name: &str| json!({"name": name, "clientConfig": {}, "admissionReviewVersions": ["v1"], "sideEffects": "None"});
            json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
                "metadata": {"name": "exeat", "resourceVersion": "1"}, "webhooks": [webhook("a"), webhook("b")],
            })
        };
        let objects = [
            (SECRET.to_owned(), secret),
            (format!("{MUTATING}/exeat"), configuration("MutatingWebhookConfiguration")),
            (format!("{VALIDATING}/exeat"), configuration("ValidatingWebhookConfiguration")),
        ];
        Self { objects: Arc::new(Mutex::new(objects.into())) }
    }

    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let server = server.clone();
            async move {
                if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
                    std::future::pending::<()>().await;
                }
                let (head, body) = request.into_parts();
                let body = to_bytes(Body::new(body), usize::MAX).await.unwrap();
                // Replicas meet here.
                tokio::task::yield_now().await;
                let (status, answer) = server.answer(&head.method, head.uri.path(), &body);
                let body = kube::client::Body::from(serde_json::to_vec(&answer).unwrap());
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        Client::new(service, "exeat-system")
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
        let failure = |code: u16, reason: &str| {
            (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "no"}))
        };
        let mut objects = self.objects.lock().unwrap();
        if let Some(kind) = [MUTATING, VALIDATING].into_iter().find(|kind| *kind == path) {
            let items: Vec<&Value> = objects.get(&format!("{kind}/exeat")).into_iter().collect();
            let list = if kind == MUTATING {
                "MutatingWebhookConfigurationList"
            } else {
                "ValidatingWebhookConfigurationList"
            };
            let metadata = json!({"resourceVersion": "1"});
            return (
                200,
                json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": list, "metadata": metadata, "items": items}),
            );
        }
        let Some(stored) = objects.get_mut(path) else { return failure(404, "NotFound") };
        let new = match *method {
            Method::PUT => {
                let new: Value = serde_json::from_slice(body).unwrap();
                if new["metadata"]["resourceVersion"] != stored["metadata"]["resourceVersion"] {
                    return failure(409, "Conflict");
                }
                new
            }
            Method::PATCH => {
                let mut new = stored.clone();
                let operations: json_patch::Patch = serde_json::from_slice(body).unwrap();
                if json_patch::patch(&mut new, &operations).is_err() {
                    return failure(422, "Invalid");
                }
                new
            }
            _ => return (200, stored.clone()),
        };
        let version: u32 = stored["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        *stored = new;
        stored["metadata"]["resourceVersion"] = json!((version + 1).to_string());
        (200, stored.clone())
    }

    /// Changes an object behind everybody's back.
    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut objects = self.objects.lock().unwrap();
        let object = objects.get_mut(path).unwrap();
        change(object);
        let version: u32 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        object["metadata"]["resourceVersion"] = json!((version + 1).to_string());
    }

    pub(crate) fn remove(&self, path: &str) {
        self.objects.lock().unwrap().remove(path);
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.objects.lock().unwrap().get(path).cloned()
    }

    /// Asks for a new root.
    pub(crate) fn ask(&self, value: &str) {
        self.change(SECRET, |secret| secret["metadata"]["annotations"]["exeat.dev/rotate"] = json!(value));
    }

    /// What the API server trusts of each webhook, decoded.
    pub(crate) fn trusted(&self) -> Vec<String> {
        let objects = self.objects.lock().unwrap();
        let configurations = objects.iter().filter(|(path, _)| path.ends_with("configurations/exeat"));
        let webhooks = configurations.flat_map(|(_, found)| found["webhooks"].as_array().unwrap());
        let decoded = webhooks.map(|webhook| {
            let bundle = serde_json::from_value::<k8s_openapi::ByteString>(webhook["clientConfig"]["caBundle"].clone());
            bundle.map_or_else(|_| String::new(), |bundle| String::from_utf8(bundle.0).unwrap())
        });
        decoded.collect()
    }
}
