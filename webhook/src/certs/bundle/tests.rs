use exeat_runtime::clock::{Clock, SystemClock};
use exeat_runtime::readiness::Readiness;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhook;
use std::sync::Arc;

use super::*;
use crate::certs::fake::{ApiServer, MUTATING, SECRET};
use crate::certs::root::State;

fn webhook(name: &str, bundle: Option<&str>) -> MutatingWebhook {
    let ca_bundle = bundle.map(|bundle| ByteString(bundle.as_bytes().to_vec()));
    let client_config = WebhookClientConfig { ca_bundle, ..WebhookClientConfig::default() };
    MutatingWebhook { name: name.to_owned(), client_config, ..MutatingWebhook::default() }
}

#[test]
fn only_what_is_missing_or_wrong_is_written_and_then_nothing_is_left() {
    let webhooks = vec![webhook("a", None), webhook("b", Some("roots")), webhook("c", Some("other"))];
    let mut configuration = MutatingWebhookConfiguration { webhooks: Some(webhooks), ..Default::default() };
    configuration.metadata.resource_version = Some("7".to_owned());
    let operations = patch(&configuration, "roots");
    let written = serde_json::to_value(&operations).unwrap();
    assert_eq!(
        written,
        json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
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
    let mut configuration = configuration;
    configuration.metadata.resource_version = Some("1".to_owned());
    let mut later = serde_json::to_value(&configuration).unwrap();
    later["metadata"]["resourceVersion"] = json!("2");
    json_patch::patch(&mut later, &patch(&configuration, "roots")).unwrap_err();
}

fn configuration_path() -> String {
    format!("{MUTATING}/exeat")
}

fn secret_of(server: &ApiServer) -> Bundles {
    Bundles { client: server.client(), namespace: "exeat-system".to_owned(), clock: Arc::new(SystemClock) }
}

/// Fills the Secret as a replica does; what is to be trusted then.
fn fill(server: &ApiServer) -> String {
    let state = State::first("exeat-webhook.exeat-system.svc", None, SystemClock.now()).unwrap();
    server.change(SECRET, |secret| {
        let filled = state.write(serde_json::from_value(secret.clone()).unwrap());
        *secret = serde_json::to_value(filled).unwrap();
    });
    state.bundle()
}

/// Heals by what a replica knows until the latch is released.
async fn heal_once(server: &ApiServer, known: &str) {
    let (sender, bundle) = watch::channel(None);
    let readiness = Readiness::new();
    let latch = readiness.latch("configuration");
    let secret = secret_of(server);
    let healing = heal::<MutatingWebhookConfiguration>(Api::all(server.client()), "exeat", bundle, &secret, latch);
    let ready = async {
        sender.send_replace(Some(known.to_owned()));
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
    let server = ApiServer::new();
    let bundle = fill(&server);
    heal_once(&server, &bundle).await;
    assert!(server.trusted()[..2].iter().all(|trusted| *trusted == bundle));
}

#[tokio::test]
async fn a_replica_that_is_behind_takes_no_newer_root_away() {
    let server = ApiServer::new();
    let bundle = fill(&server);
    heal_once(&server, "what was trusted before").await;
    assert!(server.trusted()[..2].iter().all(|trusted| *trusted == bundle));
    let before = server.get(&configuration_path());
    heal_once(&server, "what was trusted before").await;
    assert_eq!(server.get(&configuration_path()), before, "nothing is written");
}

#[tokio::test]
async fn what_changed_since_it_was_seen_is_left_to_the_next_look() {
    let server = ApiServer::new();
    fill(&server);
    let api: Api<MutatingWebhookConfiguration> = Api::all(server.client());
    let seen = api.get("exeat").await.unwrap();
    server.change(&configuration_path(), |found| found["webhooks"][0]["clientConfig"]["caBundle"] = json!("bmV3ZXI="));
    correct(&api, &seen, "older", &secret_of(&server)).await.unwrap_err();
    assert_eq!(server.trusted()[0], "newer");
    let seen = api.get("exeat").await.unwrap();
    assert!(correct(&api, &seen, "older", &secret_of(&server)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_configuration_that_does_not_exist_holds_nobody_up() {
    let server = ApiServer::new();
    server.remove(&configuration_path());
    heal_once(&server, "roots").await;
    assert_eq!(server.get(&configuration_path()), None);
}

#[tokio::test]
async fn a_bundle_is_held_when_all_webhooks_of_both_hold_it() {
    let server = ApiServer::new();
    let held = async |bundle: &str| is_held(&server.client(), "exeat", bundle).await.unwrap();
    assert!(!held("roots").await);
    for (path, webhook) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        assert!(!held("roots").await);
        let path = [configuration_path(), configuration_path().replace("mutating", "validating")][path].clone();
        server.change(&path, |found| found["webhooks"][webhook]["clientConfig"]["caBundle"] = json!("cm9vdHM="));
    }
    assert!(held("roots").await);
    server.remove(&configuration_path());
    assert!(held("roots").await, "one that does not exist calls nobody");
}
