//! Several policies in one pod: each protocol has its own credential, and what becomes of one policy is nothing to the others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::fs;

use common::issuer::Says;
use common::{PATIENCE, World, aws, kubernetes, refusal, vault};
use exeat_sidecar::args::Provider;
use exeat_wire::{CredentialResponse, StreamMessage};
use serde_json::Value;
use tokio::time::timeout;

/// A credential of this policy's own session.
fn of(policy: &str, response: CredentialResponse) -> Says {
    Says::Credential(CredentialResponse { session: format!("agent-{policy}-1"), policy: policy.into(), ..response })
}

async fn three() -> World {
    World::several(&[
        (Provider::Aws, "reports", of("reports", aws(1, 0))),
        (Provider::Kubernetes, "pods", of("pods", kubernetes(1, 0))),
        (Provider::Vault, "secrets", of("secrets", vault("http://127.0.0.1:1", Some("token")))),
    ])
    .await
}

async fn until(what: &str, wanted: impl AsyncFn() -> bool) {
    let ask = async {
        while !wanted().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, ask).await.unwrap_or_else(|_| panic!("{what}"));
}

async fn json_of(world: &World, policy: &str) -> common::Answer {
    let headers = format!("Authorization: Bearer {}\r\n", world.secret());
    world.get(&format!("/exeat/v1/credential?policy={policy}"), &headers).await
}

#[tokio::test]
async fn each_protocol_is_served_from_its_own_policy() {
    let world = three().await;
    until("all are held", async || world.started().await).await;
    assert_eq!(world.ask().await.json()["AccessKeyId"], "AKID1");
    assert_eq!(fs::read_to_string(world.run_file("kubernetes/token")).unwrap(), "token-1");
    let denied = world.get("/v1/secret/data/payroll", "X-Vault-Request: true\r\n").await;
    assert_eq!(denied.status, 403, "judged by the rules of the policy for Vault: {denied:?}");
    for policy in ["reports", "pods", "secrets"] {
        assert_eq!(json_of(&world, policy).await.json()["policy"], policy);
    }
    let unnamed = world.ask_json().await;
    assert_eq!((unnamed.status, unnamed.code().as_str()), (400, "PolicyNotNamed"));
    let holders = world.issuer.script.holders.lock().unwrap().clone();
    assert!(holders.len() >= 3 && holders.iter().all(|key| *key == holders[0]), "one key for the pod: {holders:?}");
    let named = world.issuer.script.named.lock().unwrap().clone();
    assert!(named.iter().all(|named| named == "reports,pods,secrets"), "{named:?}");
}

#[tokio::test]
async fn the_end_of_one_policy_leaves_the_others_serving() {
    let world = three().await;
    until("all are held", async || world.started().await).await;
    world.advance(1);
    world.issuer.revoke("pods").await;
    until("the token goes", async || !world.run_file("kubernetes/token").exists()).await;
    let status: Value = world.get("/kubernetes/denied/api/v1/pods", "").await.json();
    assert_eq!(status["reason"], "SessionRevoked");
    assert_eq!(world.ask().await.json()["AccessKeyId"], "AKID1");
    assert_eq!(json_of(&world, "secrets").await.status, 200);
    assert!(world.started().await, "a denial is known: the pod goes on");
}

#[tokio::test]
async fn start_up_waits_for_each_and_a_denial_is_as_good_as_a_credential() {
    let world = World::several(&[
        (Provider::Aws, "reports", of("reports", aws(1, 0))),
        (Provider::Kubernetes, "pods", Says::Refusal(503, refusal("PolicyNotReady", true))),
    ])
    .await;
    until("the first is held", async || world.ask().await.status == 200).await;
    assert!(!world.started().await, "the other may still come right");
    world
        .issuer
        .script
        .by_policy
        .lock()
        .unwrap()
        .insert("pods".into(), Says::Refusal(403, refusal("PodNotCovered", false)));
    until("its denial is known", async || {
        world.advance(60);
        world.started().await
    })
    .await;
}

#[tokio::test]
async fn what_an_older_issuer_says_of_some_session_is_believed_of_none() {
    // It knows nothing of policies in calls, and gives the same credential for each.
    let world = World::several(&[
        (Provider::Aws, "reports", of("reports", aws(1, 0))),
        (Provider::Kubernetes, "pods", of("reports", aws(1, 0))),
    ])
    .await;
    until("its own is held", async || world.ask().await.status == 200).await;
    world.issuer.push(StreamMessage::Stopped(refusal("SessionRevoked", false))).await;
    world.issuer.push(StreamMessage::Heartbeat).await;
    until("the mismatch is told", async || {
        world.get("/kubernetes/denied/api/v1/pods", "").await.body.contains("too old for several")
    })
    .await;
    assert_eq!(world.ask().await.status, 200, "what was said of no policy is said to none");
}

#[tokio::test]
async fn counters_tell_the_policies_apart() {
    let world = three().await;
    for provider in ["aws", "kubernetes", "vault"] {
        world.counted(&format!(r#"exeat_sidecar_fetches_total{{outcome="minted",provider="{provider}"}} 1"#)).await;
    }
    let text = world.get("/metrics", "").await.body;
    assert_eq!(text.matches("# TYPE exeat_sidecar_fetches_total ").count(), 1, "{text}");
    let refused = world.get("/metrics", "X-Forwarded-For: 10.0.0.1\r\n").await;
    assert_eq!(refused.status, 403, "behind the guard as ever");
}
