//! What an agent uses under a policy in mode Observe is told to the issuer, and nothing is without one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;

use common::issuer::{Says, TestIssuer};
use common::{PATIENCE, World, aws, vault};
use exeat_sidecar::args::{Provider, Wait};
use exeat_wire::{CredentialResponse, ObservedReport, Operation};
use tokio::net::UdpSocket;
use tokio::time::timeout;

async fn world(provider: Provider, credential: CredentialResponse) -> World {
    let issuer = TestIssuer::start(Says::Credential(credential)).await;
    let roots = issuer.roots.clone();
    let world = World::start_as(provider, issuer, roots, None, Wait::Decision, true).await;
    let held = async { while world.ask_json().await.status != 200 {} };
    timeout(PATIENCE, held).await.expect("a credential in time");
    world
}

fn observed(response: CredentialResponse) -> CredentialResponse {
    CredentialResponse { observe: true, ..response }
}

async fn send(world: &World, datagrams: &[&str]) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for datagram in datagrams {
        socket.send_to(datagram.as_bytes(), ("127.0.0.1", world.port)).await.unwrap();
    }
}

fn call(operation: &str, status: u16) -> String {
    format!(r#"{{"Version":1,"Type":"ApiCall","Service":"S3","Api":"{operation}","FinalHttpStatusCode":{status}}}"#)
}

async fn reports(world: &World, wanted: impl FnMut(&Vec<ObservedReport>) -> bool) -> Vec<ObservedReport> {
    let mut reports = world.issuer.script.reports.subscribe();
    timeout(PATIENCE, reports.wait_for(wanted)).await.expect("a report in time").unwrap().clone()
}

fn s3(operation: &str) -> Operation {
    Operation::Aws { service: "S3".into(), operation: operation.into() }
}

#[tokio::test]
async fn datagrams_of_sdks_are_counted_and_told_once() {
    let world = world(Provider::Aws, observed(aws(1, 0))).await;
    let (get, denied) = (call("GetObject", 200), call("DeleteObject", 403));
    let attempt = get.replace("ApiCall\"", "ApiCallAttempt\"");
    send(&world, &["junk", &attempt, &get, &get, &denied, &"x".repeat(20_000)]).await;
    let told = reports(&world, |reports| !reports.is_empty()).await;
    assert!(told[0].first && told[0].session == "agent-0a1b-1" && told[0].dropped == 0, "{told:?}");
    let counts: Vec<_> = told[0].calls.iter().map(|c| (c.what.clone(), c.calls, c.denied, c.first)).collect();
    assert_eq!(counts, [(s3("DeleteObject"), 1, 1, true), (s3("GetObject"), 2, 0, true)]);
    world.counted("exeat_sidecar_observed_datagrams_total 3").await;
    world.counted("exeat_sidecar_observed_reports_total 1").await;
}

#[tokio::test]
async fn what_is_left_at_the_end_is_told_before_the_sidecar_goes() {
    let world = world(Provider::Aws, observed(aws(1, 0))).await;
    send(&world, &[&call("PutObject", 200)]).await;
    world.counted("exeat_sidecar_observed_datagrams_total 1").await;
    world.shutdown.trigger();
    world.task.await.unwrap().unwrap();
    let told = world.issuer.script.reports.borrow().clone();
    assert_eq!(told.iter().flat_map(|r| &r.calls).map(|c| c.what.clone()).collect::<Vec<_>>(), [s3("PutObject")]);
}

#[tokio::test]
async fn under_a_policy_that_enforces_nothing_is_told() {
    let world = world(Provider::Aws, aws(1, 0)).await;
    send(&world, &[&call("GetObject", 200)]).await;
    world.counted("exeat_sidecar_observed_datagrams_total 1").await;
    world.shutdown.trigger();
    world.task.await.unwrap().unwrap();
    assert!(world.issuer.script.reports.borrow().is_empty());
}

#[tokio::test]
async fn calls_to_vault_are_told_as_they_were_judged() {
    let world = world(Provider::Vault, observed(vault("http://127.0.0.1:1", Some("hvs.session")))).await;
    for path in ["secret/data/reports/q3", "secret/data/other", "secret/data/../x", "sys/internal/ui/mounts/secret"] {
        world.get(&format!("/v1/{path}"), "X-Vault-Request: true\r\n").await;
    }
    let told = reports(&world, |reports| !reports.is_empty()).await;
    let vault = |path: &str| Operation::Vault { verb: "read".into(), path: path.into() };
    let counts: Vec<_> = told[0].calls.iter().map(|c| (c.what.clone(), c.calls, c.denied)).collect();
    assert_eq!(counts, [(vault("secret/data/other"), 1, 1), (vault("secret/data/reports/q3"), 1, 0)]);
}
