//! Containers with policies of their own: each group is served at its own port, by its own secret, from its own policies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::fs;
use std::io::ErrorKind;
use std::net::UdpSocket;

use common::issuer::Says;
use common::{Answer, PATIENCE, World, aws, kubernetes, refusal};
use exeat_sidecar::app::AppError;
use exeat_sidecar::args::Provider;
use exeat_sidecar::server::MAX_CONNECTIONS;
use exeat_wire::CredentialResponse;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const AWS: &str = "/aws/credentials";
const JSON: &str = "/exeat/v1/credential";

fn of(policy: &str, response: CredentialResponse) -> Says {
    Says::Credential(CredentialResponse { session: format!("agent-{policy}-1"), policy: policy.into(), ..response })
}

/// The pod's containers have `writer`, one has `cleaner` and `pods`, another `cleaner` alone.
async fn three() -> World {
    let policies = [
        (Provider::Aws, "writer", of("writer", aws(1, 0))),
        (Provider::Aws, "cleaner", of("cleaner", aws(2, 0))),
        (Provider::Kubernetes, "pods", of("pods", kubernetes(1, 0))),
    ];
    let world = World::grouped(&policies, &["writer", "cleaner,pods", "cleaner"]).await;
    until("all are held", async || world.started().await).await;
    world
}

async fn until(what: &str, wanted: impl AsyncFn() -> bool) {
    let ask = async {
        while !wanted().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, ask).await.unwrap_or_else(|_| panic!("{what}"));
}

async fn asks(world: &World, group: usize, secret: &str) -> Answer {
    world.get_at(group, AWS, &format!("Authorization: {secret}\r\n")).await
}

async fn asks_json(world: &World, group: usize, query: &str) -> Answer {
    let headers = format!("Authorization: Bearer {}\r\n", world.secret_of(group));
    world.get_at(group, &format!("{JSON}{query}"), &headers).await
}

#[tokio::test]
async fn each_group_gets_its_own_policy_and_by_its_own_secret_alone() {
    let world = three().await;
    let secrets: Vec<String> = (0..3).map(|group| world.secret_of(group)).collect();
    for (group, key) in [(0, "AKID1"), (1, "AKID2"), (2, "AKID2")] {
        assert_eq!(asks(&world, group, &secrets[group]).await.json()["AccessKeyId"], key, "group {group}");
        for other in (0..3).filter(|other| *other != group) {
            let refused = asks(&world, group, &secrets[other]).await;
            assert_eq!(refused.status, 401, "group {group} by the secret of {other}: {refused:?}");
            assert!(!refused.body.contains("AKID"), "{refused:?}");
        }
    }
    let named = world.issuer.script.named.lock().unwrap().clone();
    assert!(named.iter().all(|named| named == "writer,cleaner,pods"), "one sidecar of the pod: {named:?}");
}

#[tokio::test]
async fn what_a_group_has_not_is_not_there_by_any_path() {
    let world = three().await;
    for (group, path) in
        [(0, "/kubernetes/denied/api/v1/pods"), (2, "/api/v1/pods"), (0, "/v1/secret/data/a"), (1, "/azure/token")]
    {
        let answer = world.get_at(group, path, &format!("Authorization: {}\r\n", world.secret_of(group))).await;
        assert!(answer.status >= 400 && answer.code() != "SessionRevoked", "{group} {path}: {answer:?}");
    }
    let told = world.get_at(0, "/kubernetes/denied/api/v1/pods", "").await;
    assert_eq!((told.status, told.code().as_str()), (404, "ProtocolNotServed"));
    for (group, query, status) in [
        (0, "", 200),
        (0, "?policy=writer", 200),
        (0, "?policy=cleaner", 400),
        (0, "?policy=pods", 400),
        (1, "", 400),
        (1, "?policy=cleaner", 200),
        (1, "?policy=pods", 200),
        (1, "?policy=writer", 400),
        (2, "?policy=pods", 400),
    ] {
        assert_eq!(asks_json(&world, group, query).await.status, status, "group {group}{query}");
    }
}

#[tokio::test]
async fn files_of_a_group_are_in_its_own_folder_and_named_as_it_sees_them() {
    let world = three().await;
    assert_eq!(fs::read_to_string(world.file_of(1, "kubernetes/token")).unwrap(), "token-1");
    assert!(!world.run_file("kubernetes").exists() && !world.file_of(2, "kubernetes").exists());
    let config = fs::read_to_string(world.file_of(1, "kubernetes/kubeconfig")).unwrap();
    assert!(config.contains(world.run_file("kubernetes/token").to_str().unwrap()), "{config}");
    let folders = [world.run_file("token"), world.file_of(1, "token"), world.file_of(1, "kubernetes/token")];
    world.shutdown.trigger();
    until("all is removed", async || folders.iter().all(|file| !file.exists())).await;
}

#[tokio::test]
async fn a_revoked_policy_ends_in_each_group_that_has_it_and_in_no_other() {
    let world = three().await;
    world.advance(1);
    world.issuer.revoke("cleaner").await;
    for group in [1, 2] {
        until("its group is told", async || {
            asks(&world, group, &world.secret_of(group)).await.code() == "SessionRevoked"
        })
        .await;
    }
    assert_eq!(asks(&world, 0, &world.secret_of(0)).await.json()["AccessKeyId"], "AKID1");
    assert_eq!(fs::read_to_string(world.file_of(1, "kubernetes/token")).unwrap(), "token-1");
}

#[tokio::test]
async fn a_shared_kubernetes_policy_leaves_no_token_in_any_group() {
    let policies = [
        (Provider::Aws, "writer", of("writer", aws(1, 0))),
        (Provider::Kubernetes, "pods", of("pods", kubernetes(1, 0))),
    ];
    let world = World::grouped(&policies, &["writer,pods", "pods"]).await;
    until("all are held", async || world.started().await).await;
    let files = [world.run_file("kubernetes/token"), world.file_of(1, "kubernetes/token")];
    assert!(files.iter().all(|file| fs::read_to_string(file).unwrap() == "token-1"));
    world.advance(1);
    world.issuer.revoke("pods").await;
    until("both tokens go", async || files.iter().all(|file| !file.exists())).await;
}

#[tokio::test]
async fn the_probe_waits_for_all_groups_and_counters_tell_policies_of_one_kind_apart() {
    let policies = [
        (Provider::Aws, "writer", of("writer", aws(1, 0))),
        (Provider::Aws, "cleaner", Says::Refusal(503, refusal("PolicyNotReady", true))),
    ];
    let world = World::grouped(&policies, &["writer", "cleaner"]).await;
    until("the pod's own is held", async || asks(&world, 0, &world.secret_of(0)).await.status == 200).await;
    assert!(!world.started().await, "the container's own may still come right");
    let denied = Says::Refusal(403, refusal("PodNotCovered", false));
    world.issuer.script.by_policy.lock().unwrap().insert("cleaner".into(), denied);
    until("its denial is known", async || {
        world.advance(60);
        world.started().await
    })
    .await;
    let counted = world.get("/metrics", "").await.body;
    let count = |outcome: &str, policy: &str| {
        // Labels of a registry come in any order.
        let labels = [format!("outcome=\"{outcome}\""), format!("policy=\"{policy}\"")];
        let fetches = counted.lines().filter(|line| line.starts_with("exeat_sidecar_fetches_total{"));
        fetches.filter(|line| labels.iter().all(|label| line.contains(label)) && !line.ends_with(" 0")).count()
    };
    let counts = [("minted", "writer"), ("refused", "writer"), ("minted", "cleaner"), ("refused", "cleaner")];
    assert_eq!(counts.map(|(outcome, policy)| count(outcome, policy)), [1, 0, 0, 1], "{counted}");
}

/// Asks on a connection that stays.
async fn asks_on(connection: &mut TcpStream) {
    let port = connection.peer_addr().unwrap().port();
    let head = format!("GET /health/started HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
}

async fn is_answered(connection: &mut TcpStream) {
    let mut answer = [0; 1024];
    let read = timeout(PATIENCE, connection.read(&mut answer)).await.expect("an answer in time").unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200 "), "{:?}", String::from_utf8_lossy(&answer[..read]));
}

#[tokio::test]
async fn listeners_share_the_connections_that_one_has_alone() {
    let world = three().await;
    let (mut served, mut waiting) = (Vec::new(), Vec::new());
    for port in &world.ports {
        for _ in 0..MAX_CONNECTIONS / 3 {
            let mut connection = TcpStream::connect(("127.0.0.1", *port)).await.unwrap();
            asks_on(&mut connection).await;
            is_answered(&mut connection).await;
            served.push(connection);
        }
        let mut connection = TcpStream::connect(("127.0.0.1", *port)).await.unwrap();
        asks_on(&mut connection).await;
        waiting.push(connection);
    }
    // Were one more accepted, it would be answered before these, which ask after it.
    for connection in &mut served {
        asks_on(connection).await;
        is_answered(connection).await;
    }
    for connection in &waiting {
        let read = connection.try_read(&mut [0]);
        assert!(read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "a listener takes more than its share");
    }
    drop(served);
    for connection in &mut waiting {
        is_answered(connection).await;
    }
}

#[tokio::test]
async fn start_up_of_all_and_what_is_counted_are_told_at_the_first_listener_alone() {
    let policies = [
        (Provider::Aws, "writer", Says::Refusal(503, refusal("PolicyNotReady", true))),
        (Provider::Aws, "cleaner", of("cleaner", aws(2, 0))),
    ];
    let world = World::grouped(&policies, &["writer", "cleaner"]).await;
    until("the container's own has started", async || world.get_at(1, "/health/started", "").await.status == 200).await;
    assert_eq!(world.get_at(0, "/health/started", "").await.status, 503, "the pod's has not");
    let elsewhere = world.get_at(1, "/metrics", "").await;
    assert_eq!((elsewhere.status, elsewhere.code().as_str()), (404, "PathNotFound"));
    let counted = world.get_at(0, "/metrics", "").await.body;
    assert!(counted.contains("policy=\"writer\"") && counted.contains("policy=\"cleaner\""), "{counted}");
    for (group, path) in [(0, "/metrics"), (1, "/metrics"), (1, "/health/started")] {
        let forwarded = world.get_at(group, path, "X-Forwarded-For: 10.0.0.1\r\n").await;
        assert_eq!(forwarded.status, 403, "behind the guard: {group} {path}");
    }
}

#[tokio::test]
async fn a_taken_port_for_datagrams_is_named_whichever_groups_it_is() {
    let policies =
        [(Provider::Aws, "writer", of("writer", aws(1, 0))), (Provider::Aws, "cleaner", of("cleaner", aws(2, 0)))];
    let world = World::begin_grouped(&policies, &["writer", "cleaner"], true).await;
    let _taken = UdpSocket::bind(("127.0.0.1", world.ports[1])).unwrap();
    let error = timeout(PATIENCE, world.task).await.expect("an end in time").unwrap().unwrap_err();
    assert!(matches!(error, AppError::Listen { port, .. } if port == world.ports[1]), "{error}");
}
