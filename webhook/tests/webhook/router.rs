//! The HTTP side, with watches that are filled by hand and an API server that answers by a script.

use std::convert::Infallible;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use exeat_runtime::clock::ManualClock;
use exeat_webhook::InstallationSettings;
use exeat_webhook::http::{App, MUTATE_OBJECTS, MUTATE_PODS, VALIDATE, VALIDATE_WORKLOADS, router};
use exeat_webhook::metrics::Metrics;
use exeat_webhook::objects::Objects;
use kube::core::DeserializeGuard;
use kube::runtime::{reflector, watcher};
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

use crate::common::{ISSUER_CA, NAMESPACE, OWN_SIDECAR, installation, pod, policies, policy, provider};

/// What replicas of the former release still inject.
const FORMER_IMAGE: &str = "registry.example/exeat-sidecar:0";

pub(crate) const NOW: &str = "2026-01-01T13:00:00Z";

/// What the API server knows beyond what the watches have seen.
async fn api_server(request: Request<kube::client::Body>) -> Result<Response<kube::client::Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = to_bytes(Body::new(request.into_body()), usize::MAX).await.unwrap();
    let name = path.rsplit('/').next().unwrap();
    let (status, answer) = match name {
        "subjectaccessreviews" => {
            let review: Value = serde_json::from_slice(&body).unwrap();
            let attributes = &review["spec"]["resourceAttributes"];
            assert_eq!((&attributes["verb"], &attributes["group"]), (&json!("use"), &json!("exeat.dev")));
            assert_eq!(
                (&attributes["resource"], &attributes["name"]),
                (&json!("credentialproviders"), &json!("aws-prod"))
            );
            let allowed = review["spec"]["user"] == "alice" || review["spec"]["groups"] == json!(["admins"]);
            (
                200,
                json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {}, "status": {"allowed": allowed}}),
            )
        }
        "unreachable" => (
            503,
            json!({"kind": "Status", "status": "Failure", "code": 503, "reason": "ServiceUnavailable", "message": "etcd is away"}),
        ),
        "late" => {
            let mut late = serde_json::to_value(policy("report-writer").unwrap()).unwrap();
            late["metadata"]["name"] = json!("late");
            (200, late)
        }
        name => match provider(name) {
            Some(provider) => (200, serde_json::to_value(provider).unwrap()),
            None => (
                404,
                json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "not found"}),
            ),
        },
    };
    let body = kube::client::Body::from(serde_json::to_vec(&answer).unwrap());
    Ok(Response::builder().status(status).header("content-type", "application/json").body(body).unwrap())
}

pub(crate) struct Webhook {
    router: axum::Router,
    registry: Registry,
}

/// The watch has seen the policies and none of the providers: those are read through.
pub(crate) fn webhook(issuer_ca: Option<&str>) -> Webhook {
    webhook_with(installation(), issuer_ca)
}

fn webhook_with(settings: InstallationSettings, issuer_ca: Option<&str>) -> Webhook {
    let client = kube::Client::new(tower::service_fn(api_server), "default");
    let (seen, mut writer) = reflector::store();
    writer.apply_watcher_event(&watcher::Event::Init);
    for policy in policies() {
        writer.apply_watcher_event(&watcher::Event::InitApply(DeserializeGuard(Ok(policy.clone()))));
    }
    writer.apply_watcher_event(&watcher::Event::InitDone);
    let (providers, _) = reflector::store();
    let registry = Registry::new();
    let metrics = Metrics::new(&registry).unwrap();
    let issuer_ca = watch::channel(issuer_ca.map(str::to_owned)).1;
    let (clock, images) = (ManualClock::new(NOW.parse().unwrap()), watch::channel(vec![FORMER_IMAGE.to_owned()]).1);
    let app = App::new(Objects::new(client, seen, providers), settings, images, issuer_ca, metrics, clock);
    Webhook { router: router(app), registry }
}

impl Webhook {
    async fn post(&self, path: &str, body: impl Into<Body>) -> (StatusCode, String) {
        let request = Request::post(path).header("content-type", "application/json").body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    pub(crate) async fn review(&self, path: &str, request: Value) -> Value {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
        let (status, body) = self.post(path, review.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(answer["kind"], "AdmissionReview");
        assert_eq!(answer["response"]["uid"], request["uid"]);
        answer["response"].clone()
    }

    fn metrics(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap()
    }
}

pub(crate) fn request(kind: (&str, &str, &str), operation: &str, user: &str, object: Value, old: Value) -> Value {
    let (group, version, kind) = kind;
    json!({
        "uid": "7c1e", "operation": operation, "namespace": NAMESPACE, "name": "",
        "kind": {"group": group, "version": version, "kind": kind},
        "resource": {"group": group, "version": version, "resource": "any"},
        "userInfo": {"username": user, "groups": ["system:authenticated"]},
        "object": object, "oldObject": old,
    })
}

pub(crate) fn create_pod(object: Value) -> Value {
    request(("", "v1", "Pod"), "CREATE", "system:serviceaccount:kube-system:replicaset-controller", object, Value::Null)
}

pub(crate) const POLICY: (&str, &str, &str) = ("exeat.dev", "v1alpha1", "AgentCredentialPolicy");

pub(crate) fn policy_object() -> Value {
    serde_json::to_value(policy("report-writer").unwrap()).unwrap()
}

pub(crate) fn patched(object: &Value, response: &Value) -> Value {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(response["patch"].clone()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&bytes.0).unwrap();
    let mut object = object.clone();
    json_patch::patch(&mut object, &patch).unwrap();
    object
}

#[tokio::test]
async fn an_annotated_pod_is_patched_and_what_we_do_not_know_stays() {
    let webhook = webhook(Some(ISSUER_CA));
    let mut pod = pod();
    pod["spec"]["initContainers"] = json!([{"name": "first", "image": "f", "fieldOfTheFuture": {"a": 1}}]);
    pod["spec"]["anotherOne"] = json!([1, 2]);
    let response = webhook.review(MUTATE_PODS, create_pod(pod.clone())).await;
    assert_eq!((&response["allowed"], &response["patchType"]), (&json!(true), &json!("JSONPatch")), "{response}");
    let injected = patched(&pod, &response);
    assert_eq!(injected["metadata"]["labels"]["exeat.dev/injected"], "true");
    let inits = &injected["spec"]["initContainers"];
    assert_eq!((&inits[0]["name"], &inits[1]["name"]), (&json!("exeat-sidecar"), &json!("first")));
    assert_eq!(inits[1]["fieldOfTheFuture"], json!({"a": 1}));
    assert_eq!(injected["spec"]["anotherOne"], json!([1, 2]));
    let again = webhook.review(MUTATE_PODS, create_pod(injected)).await;
    assert_eq!((&again["allowed"], &again["patch"]), (&json!(true), &Value::Null), "a second call changes nothing");
    let metrics = webhook.metrics();
    assert!(metrics.contains(r#"exeat_webhook_requests_total{outcome="patched",path="/mutate-pods"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"exeat_webhook_request_seconds_count{path="/mutate-pods"} 2"#), "{metrics}");
}

#[tokio::test]
async fn a_pod_that_a_replica_of_the_former_release_injected_keeps_its_sidecar() {
    let webhook = webhook(Some(ISSUER_CA));
    let response = webhook.review(MUTATE_PODS, create_pod(pod())).await;
    let mut injected = patched(&pod(), &response);
    for (image, allowed) in [(FORMER_IMAGE, true), ("registry.example/exeat-sidecar:2", false)] {
        injected["spec"]["initContainers"][0]["image"] = json!(image);
        let again = webhook.review(MUTATE_PODS, create_pod(injected.clone())).await;
        assert_eq!((&again["allowed"], &again["patch"]), (&json!(allowed), &Value::Null), "{image}: {again}");
    }
}

#[tokio::test]
async fn a_namespace_gets_the_sidecar_that_it_was_given() {
    let mut settings = installation();
    settings.namespaces.insert(NAMESPACE.to_owned(), settings.namespaces[OWN_SIDECAR].clone());
    let mut sidecars = Vec::new();
    for webhook in [webhook(Some(ISSUER_CA)), webhook_with(settings, Some(ISSUER_CA))] {
        let response = webhook.review(MUTATE_PODS, create_pod(pod())).await;
        sidecars.push(patched(&pod(), &response)["spec"]["initContainers"][0].clone());
    }
    let users: Vec<&Value> = sidecars.iter().map(|sidecar| &sidecar["securityContext"]["runAsUser"]).collect();
    assert_eq!(users, [60911, 70000]);
}

#[tokio::test]
async fn a_refused_pod_gets_403_and_its_reason_is_counted() {
    let webhook = webhook(Some(ISSUER_CA));
    let mut pod = pod();
    pod["spec"]["hostNetwork"] = json!(true);
    let response = webhook.review(MUTATE_PODS, create_pod(pod)).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(403)), "{response}");
    assert!(response["status"]["message"].as_str().unwrap().contains("spec.hostNetwork"), "{response}");
    let metrics = webhook.metrics();
    assert!(
        metrics.contains(r#"exeat_webhook_refusals_total{path="/mutate-pods",reason="PodUnsuitable"} 1"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn pods_that_are_not_ours_pass() {
    let webhook = webhook(None);
    let plain = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"hostNetwork": true, "containers": []}});
    let update = request(("", "v1", "Pod"), "UPDATE", "kubelet", pod(), pod());
    let mut subresource = create_pod(pod());
    subresource["subResource"] = json!("ephemeralcontainers");
    for request in [create_pod(plain), update, subresource] {
        let response = webhook.review(MUTATE_PODS, request).await;
        assert_eq!((&response["allowed"], &response["patch"]), (&json!(true), &Value::Null), "{response}");
    }
}

#[tokio::test]
async fn a_policy_that_no_watch_has_seen_yet_is_read_from_the_api_server() {
    let webhook = webhook(Some(ISSUER_CA));
    let with_policy = |name: &str| {
        let mut pod = pod();
        pod["metadata"]["annotations"]["exeat.dev/policy"] = json!(name);
        create_pod(pod)
    };
    let response = webhook.review(MUTATE_PODS, with_policy("late")).await;
    assert_eq!(response["allowed"], true, "{response}");
    let response = webhook.review(MUTATE_PODS, with_policy("none")).await;
    assert!(response["status"]["message"].as_str().unwrap().contains("PolicyNotFound"), "{response}");
    for (own, allowed) in [("late", true), ("none", false)] {
        let mut pod = pod();
        pod["metadata"]["annotations"]["policy.exeat.dev/helper"] = json!(own);
        pod["spec"]["containers"] = json!([{"name": "app"}, {"name": "helper"}]);
        let response = webhook.review(MUTATE_PODS, create_pod(pod)).await;
        assert_eq!(response["allowed"], allowed, "{response}");
        let told = response["status"]["message"].as_str().unwrap_or_default();
        assert_eq!(told.contains("annotation policy.exeat.dev/helper"), !allowed, "{told}");
    }
    let response = webhook.review(MUTATE_PODS, with_policy("unreachable")).await;
    assert_eq!(response["status"]["code"], 503, "{response}");
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("AgentCredentialPolicy \"unreachable\"") && message.contains("try again"), "{message}");
}

#[tokio::test]
async fn without_the_issuers_root_a_good_pod_is_refused_for_now() {
    let webhook = webhook(None);
    let response = webhook.review(MUTATE_PODS, create_pod(pod())).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(503)), "{response}");
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("ConfigMap exeat-issuer-root") && message.contains("try again"), "{message}");
}

#[tokio::test]
async fn bodies_that_are_no_review_get_400_and_too_long_ones_413() {
    let webhook = webhook(Some(ISSUER_CA));
    let other = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}}).to_string();
    let empty = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}).to_string();
    for (body, needle) in [("nonsense".to_owned(), "no AdmissionReview"), (other, "Pod"), (empty, "no request")] {
        for path in [MUTATE_PODS, MUTATE_OBJECTS, VALIDATE, VALIDATE_WORKLOADS] {
            let (status, message) = webhook.post(path, body.clone()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{message}");
            assert!(message.contains(needle), "{message}");
        }
    }
    let (status, _) = webhook.post(VALIDATE, vec![b' '; 9 * 1024 * 1024]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let get = Request::get(VALIDATE).body(Body::empty()).unwrap();
    assert_eq!(webhook.router.clone().oneshot(get).await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn writing_a_policy_needs_the_verb_use_on_its_provider() {
    let webhook = webhook(Some(ISSUER_CA));
    let response = webhook.review(VALIDATE, request(POLICY, "CREATE", "alice", policy_object(), Value::Null)).await;
    assert_eq!((&response["allowed"], &response["warnings"]), (&json!(true), &Value::Null), "{response}");
    let response = webhook.review(VALIDATE, request(POLICY, "CREATE", "bob", policy_object(), Value::Null)).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(403)), "{response}");
    let message = response["status"]["message"].as_str().unwrap();
    for needle in ["spec.providerRef.name", "\"bob\"", "\"use\"", "\"aws-prod\"", "resourceNames [aws-prod]"] {
        assert!(message.contains(needle), "{message}");
    }
    let mut changed = policy_object();
    changed["spec"]["session"]["duration"] = json!("1h");
    let response = webhook.review(VALIDATE, request(POLICY, "UPDATE", "bob", changed, policy_object())).await;
    assert_eq!(response["allowed"], false, "a change of what the policy hands out needs it too");
    let mut by_group = request(POLICY, "CREATE", "carol", policy_object(), Value::Null);
    by_group["userInfo"]["groups"] = json!(["admins"]);
    assert_eq!(webhook.review(VALIDATE, by_group).await["allowed"], true);
}

#[tokio::test]
async fn an_unchanged_spec_is_not_judged_so_that_finalizers_can_go() {
    let webhook = webhook(Some(ISSUER_CA));
    let mut bad = policy_object();
    bad["spec"]["allow"] = json!([{"actions": ["nonsense"], "resources": ["*"]}]);
    let response = webhook.review(VALIDATE, request(POLICY, "UPDATE", "bob", bad.clone(), bad.clone())).await;
    assert_eq!(response["allowed"], true, "{response}");
    let response = webhook.review(VALIDATE, request(POLICY, "CREATE", "alice", bad, Value::Null)).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(422)), "{response}");
    assert!(response["status"]["message"].as_str().unwrap().contains("spec.allow[0].actions[0]"), "{response}");
}

#[tokio::test]
async fn what_depends_on_other_objects_is_a_warning() {
    let webhook = webhook(Some(ISSUER_CA));
    let mut elsewhere = policy_object();
    elsewhere["metadata"]["namespace"] = json!("elsewhere");
    let response = webhook.review(VALIDATE, request(POLICY, "CREATE", "alice", elsewhere, Value::Null)).await;
    assert_eq!(response["allowed"], true, "{response}");
    assert!(response["warnings"][0].as_str().unwrap().contains("NamespaceNotServed"), "{response}");
    let other = request(
        ("apps", "v1", "Deployment"),
        "CREATE",
        "alice",
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}}),
        Value::Null,
    );
    let response = webhook.review(VALIDATE, other).await;
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(400)), "{response}");
}

#[tokio::test]
async fn templates_of_workloads_are_warned_about_and_never_refused() {
    let webhook = webhook(None);
    let good = json!({"metadata": pod()["metadata"], "spec": pod()["spec"]});
    let mut bad = good.clone();
    bad["spec"]["hostPID"] = json!(true);
    bad["spec"]["serviceAccountName"] = json!("other");
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"] {
        let group = if kind.ends_with("Job") { "batch" } else { "apps" };
        let object = |template: &Value| {
            let spec = json!({"template": template});
            let spec = if kind == "CronJob" { json!({"jobTemplate": {"spec": spec}}) } else { spec };
            json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": "w"}, "spec": spec})
        };
        let response = webhook
            .review(VALIDATE_WORKLOADS, request((group, "v1", kind), "CREATE", "alice", object(&bad), Value::Null))
            .await;
        assert_eq!(response["allowed"], true, "{kind}: {response}");
        let warnings = response["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 2, "{kind}: {response}");
        assert!(warnings[0].as_str().unwrap().contains("pods of this template will be refused"), "{response}");
        assert!(warnings[0].as_str().unwrap().contains("spec.hostPID"), "{response}");
        let response = webhook
            .review(VALIDATE_WORKLOADS, request((group, "v1", kind), "UPDATE", "alice", object(&good), Value::Null))
            .await;
        assert_eq!(response["warnings"], Value::Null, "{kind}: {response}");
    }
}
