//! App Service's protocol on a real listener, as Azure's SDKs speak it.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::issuer::Says;
use common::{APP, Answer, POD_UID, World, azure, refusal};
use exeat_sidecar::args::Provider;

const STORAGE: &str = "api-version=2019-08-01&resource=https%3A%2F%2Fstorage.azure.com";

/// As an SDK asks: with the value of IDENTITY_HEADER.
async fn ask(world: &World, query: &str) -> Answer {
    world.get(&format!("/azure/token?{query}"), &format!("X-IDENTITY-HEADER: {POD_UID}\r\nMetadata: true\r\n")).await
}

async fn azure_world(says: Says) -> World {
    World::start(Provider::Azure, says, Some(POD_UID)).await
}

#[tokio::test]
async fn a_token_comes_for_each_resource_of_the_grant_and_no_other() {
    let world = azure_world(Says::Credential(azure(1, 0))).await;
    let answer = ask(&world, STORAGE).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let body = answer.json();
    assert_eq!(body["access_token"], "storage-1");
    assert_eq!(body["expires_on"], "1767227400", "a string of seconds: {body}");
    assert_eq!((&body["token_type"], &body["client_id"]), (&"Bearer".into(), &APP.into()));
    let other = ask(&world, &format!("api-version=2019-08-01&resource=api://reports/.default&client_id={APP}")).await;
    assert_eq!((other.status, other.json()["access_token"].as_str()), (200, Some("reports-1")));
    for (query, status, code) in [
        ("api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net", 403, "ResourceNotGranted"),
        (&format!("{STORAGE}&client_id=11111111-2222-3333-4444-555555555550"), 403, "IdentityNotGranted"),
        (&format!("{STORAGE}&mi_res_id=%2Fsubscriptions%2Fx"), 403, "IdentityNotGranted"),
        ("api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure.com", 400, "ApiVersionUnsupported"),
        ("api-version=2019-08-01", 400, "ResourceMissing"),
        ("", 400, "ApiVersionUnsupported"),
    ] {
        let answer = ask(&world, query).await;
        let body = answer.json();
        assert_eq!((answer.status, body["error"].as_str()), (status, Some(code)), "{query}");
        assert_eq!(body["statusCode"], status, "{body}");
        assert!(!answer.body.contains("storage-1") && !answer.body.contains("reports-1"), "{body}");
    }
    world.counted(r#"exeat_sidecar_requests_total{outcome="served",protocol="azure"} 2"#).await;
    world.counted(r#"exeat_sidecar_requests_total{outcome="denied",protocol="azure"} 6"#).await;
}

#[tokio::test]
async fn nothing_is_told_without_the_value_of_identity_header() {
    let world = azure_world(Says::Credential(azure(1, 0))).await;
    let path = format!("/azure/token?{STORAGE}");
    for (headers, code) in [
        (String::new(), "LoopbackSecretMissing"),
        ("X-IDENTITY-HEADER: other\r\n".to_owned(), "LoopbackSecretWrong"),
        (format!("X-IDENTITY-HEADER: {POD_UID}\r\nX-IDENTITY-HEADER: {POD_UID}\r\n"), "LoopbackSecretWrong"),
        (format!("Authorization: {POD_UID}\r\n"), "LoopbackSecretMissing"),
        (format!("secret: {POD_UID}\r\n"), "LoopbackSecretMissing"),
    ] {
        let answer = world.get(&path, &headers).await;
        let body = answer.json();
        assert_eq!((answer.status, body["error"].as_str()), (401, Some(code)), "{headers}");
        assert!(body["message"].as_str().unwrap().contains("IDENTITY_HEADER"), "{body}");
    }
    let forwarded = world.get(&path, &format!("X-IDENTITY-HEADER: {POD_UID}\r\nX-Forwarded-For: 10.0.0.1\r\n")).await;
    assert_eq!(forwarded.status, 403);
    assert_eq!(world.ask().await.status, 404, "AWS's protocol is not served");
    let json = world.ask_json().await;
    assert_eq!((json.status, json.json()["credential"]["kind"].as_str()), (200, Some("azure")));
}

#[tokio::test]
async fn a_denial_is_final_and_a_wait_is_not() {
    for (retryable, status) in [(false, 403), (true, 503)] {
        let world = azure_world(Says::Refusal(status, refusal("ApprovalDenied", retryable))).await;
        let answer = ask(&world, STORAGE).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("retry-after").is_some(), retryable);
        assert_eq!(answer.json()["message"], "exeat: ApprovalDenied: why: ApprovalDenied");
    }
}

#[tokio::test]
async fn a_pod_of_another_kind_is_told_where_to_go() {
    let world = World::start(Provider::Aws, Says::Credential(common::aws(1, 0)), Some(POD_UID)).await;
    let answer = ask(&world, STORAGE).await;
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI"), "{answer:?}");
}
