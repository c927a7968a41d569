use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use exeat_runtime::readiness::Readiness;
use http::{Method, Request, Response};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhook;
use kube::Client;

use super::*;

fn webhook(name: &str, bundle: Option<&str>) -> MutatingWebhook {
    let ca_bundle = bundle.map(|bundle| ByteString(bundle.as_bytes().to_vec()));
    let client_config = WebhookClientConfig { ca_bundle, ..WebhookClientConfig::default() };
    MutatingWebhook { name: name.to_owned(), client_config, ..MutatingWebhook::default() }
}

#[test]
fn only_what_is_missing_or_wrong_is_written_and_then_nothing_is_left() {
    let webhooks = vec![webhook("a", None), webhook("b", Some("roots")), webhook("c", Some("other"))];
    let configuration = MutatingWebhookConfiguration { webhooks: Some(webhooks), ..Default::default() };
    let operations = patch(&configuration, "roots");
    let written = serde_json::to_value(&operations).unwrap();
    assert_eq!(
        written,
        json!([
            {"op": "test", "path": "/webhooks/0/name", "value": "a"},
            {"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "cm9vdHM="},
            {"op": "test", "path": "/webhooks/2/name", "value": "c"},
            {"op": "add", "path": "/webhooks/2/clientConfig/caBundle", "value": "cm9vdHM="},
        ])
    );
    let mut value = serde_json::to_value(&configuration).unwrap();
    json_patch::patch(&mut value, &operations).unwrap();
    let patched: MutatingWebhookConfiguration = serde_json::from_value(value).unwrap();
    assert!(patch(&patched, "roots").0.is_empty());
}

#[test]
fn a_list_that_changed_since_is_not_written_into() {
    let configuration = MutatingWebhookConfiguration { webhooks: Some(vec![webhook("a", None)]), ..Default::default() };
    let mut other = serde_json::to_value(&configuration).unwrap();
    other["webhooks"][0]["name"] = json!("another");
    json_patch::patch(&mut other, &patch(&configuration, "roots")).unwrap_err();
}

/// Lists what there is, patches it, and lets every watch wait for ever.
fn client(stored: &Arc<Mutex<Option<Value>>>) -> Client {
    let stored = Arc::clone(stored);
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let stored = Arc::clone(&stored);
        async move {
            if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
                std::future::pending::<()>().await;
            }
            let method = request.method().clone();
            let body = to_bytes(Body::new(request.into_body()), usize::MAX).await.unwrap();
            let mut stored = stored.lock().unwrap();
            let answer = if method == Method::PATCH {
                let object = stored.as_mut().unwrap();
                let operations: json_patch::Patch = serde_json::from_slice(&body).unwrap();
                json_patch::patch(object, &operations).unwrap();
                object.clone()
            } else {
                let items: Vec<&Value> = stored.iter().collect();
                let metadata = json!({"resourceVersion": "1"});
                json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfigurationList", "metadata": metadata, "items": items})
            };
            let body = kube::client::Body::from(serde_json::to_vec(&answer).unwrap());
            Ok::<_, Infallible>(Response::builder().status(200).body(body).unwrap())
        }
    });
    Client::new(service, "default")
}

/// Heals until the latch is released.
async fn heal_once(stored: &Arc<Mutex<Option<Value>>>) {
    let (sender, bundle) = watch::channel(None);
    let readiness = Readiness::new();
    let latch = readiness.latch("configuration");
    let healing = heal::<MutatingWebhookConfiguration>(Api::all(client(stored)), "exeat", bundle, latch);
    let ready = async {
        sender.send_replace(Some("roots".to_owned()));
        while !readiness.is_ready() {
            tokio::task::yield_now().await;
        }
    };
    let healed = async {
        tokio::select! {
            () = healing => panic!("healing has ended"),
            () = ready => {}
        }
    };
    tokio::time::timeout(Duration::from_secs(30), healed).await.unwrap();
}

#[tokio::test]
async fn ready_means_that_the_api_server_trusts_us() {
    let configuration = MutatingWebhookConfiguration { webhooks: Some(vec![webhook("a", None)]), ..Default::default() };
    let stored = Arc::new(Mutex::new(Some(serde_json::to_value(configuration).unwrap())));
    heal_once(&stored).await;
    let healed: MutatingWebhookConfiguration = serde_json::from_value(stored.lock().unwrap().clone().unwrap()).unwrap();
    assert_eq!(healed.webhooks.unwrap()[0].client_config.ca_bundle, Some(ByteString(b"roots".to_vec())));
}

#[tokio::test]
async fn a_configuration_that_does_not_exist_holds_nobody_up() {
    let stored = Arc::new(Mutex::new(None));
    heal_once(&stored).await;
    assert_eq!(*stored.lock().unwrap(), None);
}
