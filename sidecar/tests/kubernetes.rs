//! Delivery by kubeconfig and token file, and what a client is told without them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::fs;

use common::issuer::{Says, TestIssuer};
use common::{PATIENCE, World, aws, kubernetes, refusal};
use exeat_sidecar::args::Provider;
use exeat_wire::StreamMessage;
use serde_json::{Value, json};
use tokio::time::timeout;

async fn world(says: Says) -> World {
    World::start(Provider::Kubernetes, says, None).await
}

fn server(world: &World) -> String {
    let config: Value = serde_json::from_slice(&fs::read(world.run_file("kubernetes/kubeconfig")).unwrap()).unwrap();
    config["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned()
}

/// Asks until the answer is as wanted: the probe's own path, which speaks after the files are written.
async fn until_json(world: &World, status: u16) -> Value {
    let ask = async {
        loop {
            let answer = world.ask_json().await;
            if answer.status == status {
                return answer.json();
            }
        }
    };
    timeout(PATIENCE, ask).await.expect("the answer in time")
}

#[tokio::test]
async fn files_are_there_with_the_first_credential_and_follow_its_renewal() {
    let world = world(Says::Credential(kubernetes(1, 0))).await;
    let body = until_json(&world, 200).await;
    assert_eq!(body["credential"]["token"], "token-1");
    assert!(world.started().await);
    assert_eq!(server(&world), "https://kubernetes.default.svc");
    assert_eq!(fs::read_to_string(world.run_file("kubernetes/token")).unwrap(), "token-1");
    assert_eq!(fs::read_to_string(world.run_file("kubernetes/ca.crt")).unwrap(), "PEM");
    world.issuer.says(Says::Credential(kubernetes(2, 901)));
    world.advance(901);
    world.issuer.push(StreamMessage::Heartbeat).await;
    let renewed = async { while world.ask_json().await.json()["credential"]["token"] != "token-2" {} };
    timeout(PATIENCE, renewed).await.expect("the renewal in time");
    assert_eq!(fs::read_to_string(world.run_file("kubernetes/token")).unwrap(), "token-2");
}

#[tokio::test]
async fn a_revocation_takes_the_token_and_kubectl_is_told_why() {
    let world = world(Says::Credential(kubernetes(1, 0))).await;
    until_json(&world, 200).await;
    let stale = world.get("/kubernetes/denied/api/v1/pods", "").await;
    assert_eq!((stale.status, stale.json()["reason"].as_str()), (503, Some("KubeconfigStale")));
    let discovery = world.get("/kubernetes/denied/api", "").await;
    assert_eq!((discovery.status, discovery.body.starts_with("KubeconfigStale: ")), (403, true), "{}", discovery.body);
    world.issuer.push(StreamMessage::Stopped(refusal("SessionRevoked", false))).await;
    until_json(&world, 403).await;
    let port = world.port;
    assert_eq!(server(&world), format!("http://127.0.0.1:{port}/kubernetes/denied"));
    assert!(!world.run_file("kubernetes/token").exists());
    for path in ["/api?timeout=32s", "/apis", "/version", "/openapi/v3?timeout=32s"] {
        let answer = world.get(&format!("/kubernetes/denied{path}"), "").await;
        assert_eq!((answer.status, answer.header("content-type")), (403, Some("text/plain; charset=utf-8")), "{path}");
        assert_eq!(answer.body, "SessionRevoked: why: SessionRevoked\n");
    }
    let prefix_dropped = world.get("/api/v1/pods", "").await;
    assert_eq!((prefix_dropped.status, prefix_dropped.json()["reason"].as_str()), (403, Some("SessionRevoked")));
    for path in ["", "/", "/api/v1/pods?limit=500", "/apis/apps/v1/namespaces/agents/deployments"] {
        for method in ["GET", "POST", "DELETE"] {
            let raw = format!(
                "{method} /kubernetes/denied{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
            );
            let answer = world.send(&raw).await;
            assert_eq!((answer.status, answer.header("content-type")), (403, Some("application/json")), "{raw}");
            let status = answer.json();
            assert_eq!((&status["kind"], &status["apiVersion"]), (&json!("Status"), &json!("v1")));
            assert_eq!(
                (&status["reason"], &status["message"]),
                (&json!("SessionRevoked"), &json!("why: SessionRevoked"))
            );
            assert_eq!((&status["code"], &status["status"]), (&json!(403), &json!("Failure")));
        }
    }
}

#[tokio::test]
async fn a_credential_of_another_kind_is_refused_with_the_fix() {
    let issuer = TestIssuer::start(Says::Credential(aws(1, 0))).await;
    issuer.opens_with(StreamMessage::Heartbeat);
    let roots = issuer.roots.clone();
    let world = World::start_with(Provider::Kubernetes, issuer, roots, None).await;
    let refusal = until_json(&world, 403).await;
    assert_eq!(refusal["code"], "ProviderKindChanged");
    assert!(refusal["message"].as_str().unwrap().contains("create the pod again"), "{refusal}");
    let answer = world.ask().await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "ProtocolNotServed"));
}

#[tokio::test]
async fn at_the_end_nothing_is_left_on_the_volume() {
    let world = world(Says::Credential(kubernetes(1, 0))).await;
    until_json(&world, 200).await;
    world.shutdown.trigger();
    timeout(PATIENCE, world.task).await.expect("a prompt end").unwrap().unwrap();
    let left: Vec<_> = fs::read_dir(world.folder.path().join("run/kubernetes")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!world.folder.path().join("run/token").exists());
}
