//! The loopback listener against callers that are no SDK of this pod.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use axum::Router;
use common::issuer::Says;
use common::{POD_UID, World, aws};
use exeat_sidecar::app::{self, AppError};
use exeat_sidecar::args::Provider;
use exeat_sidecar::server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn held() -> World {
    let world = World::aws(Says::Credential(aws(1, 0))).await;
    world.ask_until(|answer| answer.status == 200).await;
    world
}

#[tokio::test]
async fn a_request_with_the_mark_of_a_proxy_a_browser_or_a_rebound_name_is_refused_on_every_path() {
    let world = held().await;
    let (port, secret) = (world.port, world.secret());
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    for path in
        ["/aws/credentials", "/exeat/v1/credential", "/metrics", "/health/started", "/kubernetes/denied", "/none"]
    {
        let table = [
            (format!("GET {path}"), "Host: evil.example\r\n".to_owned(), 403, "HostNotAllowed"),
            (format!("GET {path}"), "Host: 127.0.0.1\r\n".to_owned(), 403, "HostNotAllowed"),
            (format!("GET {path}"), format!("{host}{host}"), 400, "HostMissing"),
            (format!("GET {path}"), String::new(), 400, "HostMissing"),
            (format!("GET {path}"), format!("{host}X-Forwarded-For: 10.0.0.1\r\n"), 403, "RequestForwarded"),
            (format!("GET {path}"), format!("{host}Forwarded: for=10.0.0.1\r\n"), 403, "RequestForwarded"),
            (format!("GET {path}"), format!("{host}Origin: http://evil.example\r\n"), 403, "BrowserRefused"),
            (format!("GET {path}"), format!("{host}Sec-Fetch-Site: cross-site\r\n"), 403, "BrowserRefused"),
            (format!("GET http://127.0.0.1:{port}{path}"), host.clone(), 400, "RequestLineInvalid"),
            (format!("POST {path}"), format!("{host}Content-Length: 65537\r\n"), 413, "BodyTooLarge"),
            (format!("CONNECT 127.0.0.1:{port}"), host.clone(), 405, "ConnectRefused"),
        ];
        for (line, headers, status, code) in table {
            let raw = format!("{line} HTTP/1.1\r\n{headers}Authorization: {secret}\r\nConnection: close\r\n\r\n");
            let answer = world.send(&raw).await;
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "{raw}");
            assert!(!answer.body.contains("AKID"), "{raw}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
    }
}

#[tokio::test]
async fn without_the_secret_there_is_no_credential() {
    let world = held().await;
    let secret = world.secret();
    let flipped = format!("{}{}", if secret.starts_with('0') { '1' } else { '0' }, &secret[1..]);
    for (path, header, code) in [
        ("/aws/credentials", String::new(), "LoopbackSecretMissing"),
        ("/aws/credentials", format!("Authorization: {flipped}\r\n"), "LoopbackSecretWrong"),
        ("/aws/credentials", format!("Authorization: Bearer {secret}\r\n"), "LoopbackSecretWrong"),
        ("/aws/credentials", format!("Authorization: {POD_UID}\r\n"), "LoopbackSecretWrong"),
        ("/exeat/v1/credential", String::new(), "LoopbackSecretMissing"),
        ("/exeat/v1/credential", format!("Authorization: {secret}\r\n"), "LoopbackSecretWrong"),
        ("/exeat/v1/credential", format!("Authorization: Bearer {flipped}\r\n"), "LoopbackSecretWrong"),
    ] {
        let answer = world.get(path, &header).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, code), "{path} {header}");
        assert!(answer.body.contains("/var/run/exeat/token"), "the message names the fix: {answer:?}");
    }
}

#[tokio::test]
async fn the_pods_uid_opens_aws_where_the_webhook_says_so() {
    let world = World::start(Provider::Aws, Says::Credential(aws(1, 0)), Some(POD_UID)).await;
    world.ask_until(|answer| answer.status == 200).await;
    assert_eq!(world.get("/aws/credentials", &format!("Authorization: {POD_UID}\r\n")).await.status, 200);
    let json = world.get("/exeat/v1/credential", &format!("Authorization: Bearer {POD_UID}\r\n")).await;
    assert_eq!(json.status, 401);
}

#[tokio::test]
async fn metrics_and_health_hold_no_secret() {
    let world = held().await;
    let metrics = world.get("/metrics", "").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.body.contains(r#"exeat_sidecar_state{state="held"} 1"#), "{}", metrics.body);
    assert!(metrics.body.contains(r#"exeat_sidecar_fetches_total{outcome="minted"} 1"#), "{}", metrics.body);
    let health = world.get("/health/started", "").await;
    assert_eq!(health.status, 200);
    for answer in [metrics, health] {
        for secret in ["AKID", "secret-1", "session-token", world.secret().as_str()] {
            assert!(!answer.body.contains(secret), "{}", answer.body);
        }
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_json_errors() {
    let world = held().await;
    let answer = world.get("/latest/meta-data/iam/security-credentials/", "").await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "PathNotFound"));
    let answer = world.get("/kubernetes/denied/api", "").await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "ProtocolNotServed"));
    let port = world.port;
    let raw = format!(
        "POST /aws/credentials HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let answer = world.send(&raw).await;
    assert_eq!((answer.status, answer.code().as_str()), (405, "MethodNotAllowed"));
}

#[tokio::test]
async fn an_oversized_head_is_refused() {
    let world = held().await;
    let answer = world.get("/aws/credentials", &format!("X-Padding: {}\r\n", "a".repeat(20_000))).await;
    assert_eq!(answer.status, 431);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_cut_off() {
    let listener = server::bind(0).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(server::serve(listener, Router::new(), 1));
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
    let since = tokio::time::Instant::now();
    let mut rest = Vec::new();
    let _ = connection.read_to_end(&mut rest).await;
    assert_eq!(since.elapsed(), Duration::from_secs(15));
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_fix() {
    let taken = app::listen(0).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = app::listen(port).await.unwrap_err();
    assert!(matches!(error, AppError::PortTaken(taken) if taken == port), "{error:?}");
    assert!(error.to_string().contains("exeat.dev/port"), "{error}");
    assert_eq!(error.exit_code(), 3);
}
