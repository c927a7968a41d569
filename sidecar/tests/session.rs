//! A session's life as an agent's SDK sees it: issuer, TLS, stream and listener are real, only the clock is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::time::{Duration, Instant};

use common::issuer::{Says, TestIssuer};
use common::{World, active, aws, refusal, start_time};
use exeat_sidecar::args::{Provider, Wait};
use exeat_wire::{Refusal, StreamMessage};
use jiff::SignedDuration;
use serde_json::json;

#[tokio::test]
async fn the_first_call_of_an_aws_sdk_succeeds() {
    let world = World::aws(Says::Credential(aws(1, 0))).await;
    let answer = world.ask_until(|answer| answer.status == 200).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(
        answer.json(),
        json!({
            "AccessKeyId": "AKID1",
            "SecretAccessKey": "secret-1",
            "Token": "session-token-1",
            "Expiration": "2026-01-01T00:30:00Z",
            "AccountId": "123456789012",
        })
    );
    assert!(world.started().await);
    let holders = world.issuer.script.holders.lock().unwrap().clone();
    assert!(holders.iter().all(|holder| holder.len() == 64 && *holder == holders[0]), "{holders:?}");
}

#[tokio::test]
async fn plain_json_holds_the_credential_and_its_session() {
    let world = World::aws(Says::Credential(aws(1, 0))).await;
    world.ask_until(|answer| answer.status == 200).await;
    let answer = world.ask_json().await;
    let body = answer.json();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!((&body["session"], &body["policy"]), (&json!("agent-0a1b-1"), &json!("report-writer")));
    assert_eq!(body["credential"]["kind"], "aws");
    assert_eq!(body["credential"]["secretAccessKey"], "secret-1");
    assert_eq!(body["expiresAt"], "2026-01-01T00:30:00Z");
}

#[tokio::test]
async fn fifty_first_requests_are_one_call() {
    let issuer = TestIssuer::start(Says::Credential(aws(1, 0))).await;
    issuer.script.open.send_replace(false);
    issuer.opens_with(StreamMessage::Heartbeat);
    let roots = issuer.roots.clone();
    let world = World::start_with(Provider::Aws, issuer, roots, None).await;
    world.issuer.fetched(1).await;
    let authorization = format!("Authorization: {}\r\n", world.secret());
    let requests = futures::future::join_all((0..50).map(|_| world.get("/aws/credentials", &authorization)));
    let opened = async {
        tokio::task::yield_now().await;
        world.issuer.script.open.send_replace(true);
    };
    let (answers, ()) = futures::future::join(requests, opened).await;
    for answer in answers {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(world.issuer.fetches(), 1);
}

#[tokio::test]
async fn a_call_that_takes_long_is_503_well_before_an_sdk_gives_up() {
    let issuer = TestIssuer::start(Says::Credential(aws(1, 0))).await;
    issuer.script.open.send_replace(false);
    let roots = issuer.roots.clone();
    let world = World::start_with(Provider::Aws, issuer, roots, None).await;
    let mut shortest = Duration::MAX;
    for _ in 0..3 {
        let since = Instant::now();
        let answer = world.ask().await;
        shortest = shortest.min(since.elapsed());
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
        assert_eq!(answer.code(), "CredentialPending");
    }
    assert!(shortest >= Duration::from_millis(650) && shortest < Duration::from_secs(1), "{shortest:?}");
    assert!(!world.started().await);
}

#[tokio::test]
async fn a_denial_is_4xx_with_the_reason_in_every_protocol_and_ends_the_start_up_probe() {
    let world = World::aws(Says::Refusal(403, refusal("PodNotCovered", false))).await;
    let answer = world.ask_until(|answer| answer.status == 403).await;
    for (key, value) in [("code", "PodNotCovered"), ("Code", "PodNotCovered"), ("Message", "why: PodNotCovered")] {
        assert_eq!(answer.json()[key], value);
    }
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let answer = world.ask_json().await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "PodNotCovered"));
    assert_eq!(answer.json()["retryable"], false);
    assert!(world.started().await);
    world.issuer.script.open.send_replace(false);
    world.advance(400);
    world.issuer.push(StreamMessage::Heartbeat).await;
    world.issuer.fetched(2).await;
    let since = Instant::now();
    assert_eq!(world.ask().await.status, 403);
    assert!(since.elapsed() < Duration::from_millis(600), "a denial is not held up by a later call");
}

#[tokio::test]
async fn a_pending_session_is_5xx_until_the_stream_says_active() {
    let issuer = TestIssuer::start(Says::Refusal(404, refusal("SessionNotFound", true))).await;
    issuer.opens_with(StreamMessage::Waiting(refusal("SessionNotFound", true)));
    let roots = issuer.roots.clone();
    let world = World::start_with(Provider::Aws, issuer, roots, None).await;
    let answer = world.ask_until(|answer| answer.code() == "SessionNotFound").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(!world.started().await);
    world.issuer.says(Says::Credential(aws(1, 0)));
    world.hears(active()).await;
    world.ask_until(|answer| answer.status == 200).await;
    assert!(world.started().await);
}

/// People may take hours: the agent starts and reads which approval it waits for, unless its author wants it to wait.
#[tokio::test]
async fn while_people_are_asked_an_agent_starts_unless_it_is_to_wait_for_them() {
    for (wait, starts) in [(Wait::Decision, true), (Wait::Approval, false)] {
        let pending = Refusal {
            message: "approval reports-1 waits for 1 of security".into(),
            ..refusal("ApprovalPending", true)
        };
        let issuer = TestIssuer::start(Says::Refusal(503, pending.clone())).await;
        issuer.opens_with(StreamMessage::Waiting(pending));
        let roots = issuer.roots.clone();
        let world = World::start_waiting(Provider::Aws, issuer, roots, None, wait).await;
        let answer = world.ask_until(|answer| answer.code() == "ApprovalPending").await;
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains("approval reports-1 waits for 1 of security"), "{answer:?}");
        assert_eq!(world.started().await, starts);
        world.issuer.says(Says::Credential(aws(1, 0)));
        world.hears(active()).await;
        world.ask_until(|answer| answer.status == 200).await;
        assert!(world.started().await);
    }
}

#[tokio::test]
async fn a_credential_is_renewed_at_half_of_its_life_without_a_failed_call() {
    let world = World::aws(Says::Credential(aws(1, 0))).await;
    world.ask_until(|answer| answer.status == 200).await;
    for (round, now) in [(2, 901), (3, 1802), (4, 2703)] {
        world.issuer.says(Says::Credential(aws(round, now)));
        world.clock.set(start_time() + SignedDuration::from_secs(now));
        world.issuer.push(StreamMessage::Heartbeat).await;
        let key = format!("AKID{round}");
        world
            .ask_until(|answer| {
                assert_eq!(answer.status, 200, "{answer:?}");
                answer.json()["AccessKeyId"] == key
            })
            .await;
        assert_eq!(world.issuer.fetches(), round);
    }
}

#[tokio::test]
async fn a_revocation_on_the_stream_is_answered_at_once_and_not_undone_by_asking() {
    let world = World::aws(Says::Credential(aws(1, 0))).await;
    world.ask_until(|answer| answer.status == 200).await;
    world.issuer.push(StreamMessage::Stopped(refusal("SessionRevoked", false))).await;
    let answer = world.ask_until(|answer| answer.status != 200).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "SessionRevoked"));
    world.advance(400);
    world.issuer.push(StreamMessage::Heartbeat).await;
    world.counted(r#"fetches_total{outcome="minted"} 2"#).await;
    for _ in 0..20 {
        let answer = world.ask().await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "SessionRevoked"), "{answer:?}");
    }
}

#[tokio::test]
async fn another_grant_is_fetched_and_the_old_credential_replaced() {
    let world = World::aws(Says::Credential(aws(1, 0))).await;
    world.ask_until(|answer| answer.status == 200).await;
    let mut changed = aws(2, 0);
    changed.digest = "d-2".into();
    world.issuer.says(Says::Credential(changed));
    world.hears(StreamMessage::Active { session: "agent-0a1b-1".into(), digest: "d-2".into() }).await;
    world
        .ask_until(|answer| {
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.json()["AccessKeyId"] == "AKID2"
        })
        .await;
}

#[tokio::test]
async fn without_issuers_it_serves_until_the_grace_ends_and_recovers_when_they_are_back() {
    let mut world = World::aws(Says::Credential(aws(1, 0))).await;
    world.ask_until(|answer| answer.status == 200).await;
    world.counted("exeat_sidecar_stream_connected 1").await;
    world.issuer.stop().await;
    world.counted("exeat_sidecar_stream_connected 0").await;
    world.advance(1199);
    assert_eq!(world.ask().await.status, 200, "renewals fail, the credential lives");
    world.advance(1);
    let answer = world.ask_until(|answer| answer.status != 200).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "IssuerUnreachable"));
    assert!(answer.body.contains("NetworkPolicies"), "{answer:?}");
    world.issuer.says(Says::Credential(aws(2, 1200)));
    world.issuer.resume().await;
    world.advance(60);
    let answer = world.ask_until(|answer| answer.status == 200).await;
    assert_eq!(answer.json()["AccessKeyId"], "AKID2");
}

#[tokio::test]
async fn a_throttled_renewal_serves_on_and_after_expiry_names_its_reason() {
    let world = World::aws(Says::Credential(aws(1, 0))).await;
    world.ask_until(|answer| answer.status == 200).await;
    world.issuer.says(Says::Refusal(429, refusal("ProviderThrottled", true)));
    world.advance(901);
    world.issuer.push(StreamMessage::Heartbeat).await;
    world.counted(r#"fetches_total{outcome="refused"} 1"#).await;
    assert_eq!(world.ask().await.status, 200);
    world.advance(898);
    world.issuer.push(StreamMessage::Heartbeat).await;
    world.counted(r#"fetches_total{outcome="refused"} 2"#).await;
    assert_eq!(world.ask().await.status, 200);
    world.advance(1);
    let answer = world.ask_until(|answer| answer.status != 200).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "ProviderThrottled"));
}

#[tokio::test]
async fn after_the_sessions_end_it_is_4xx_and_the_next_session_is_taken() {
    let mut last = aws(1, 0);
    last.session_expires_at.clone_from(&last.expires_at);
    let world = World::aws(Says::Credential(last)).await;
    world.ask_until(|answer| answer.status == 200).await;
    world.issuer.says(Says::Refusal(403, refusal("SessionExpired", false)));
    world.advance(1800);
    world.issuer.push(StreamMessage::Heartbeat).await;
    let answer = world.ask_until(|answer| answer.status == 403).await;
    assert_eq!(answer.code(), "SessionExpired");
    let mut next = aws(2, 1800);
    next.session = "agent-0a1b-2".into();
    world.issuer.says(Says::Credential(next));
    world.hears(StreamMessage::Active { session: "agent-0a1b-2".into(), digest: "d-1".into() }).await;
    let answer = world.ask_until(|answer| answer.status == 200).await;
    assert_eq!(answer.json()["AccessKeyId"], "AKID2");
}

#[tokio::test]
async fn an_issuer_that_the_injected_roots_do_not_prove_gets_no_token() {
    let issuer = TestIssuer::start(Says::Credential(aws(1, 0))).await;
    let others = TestIssuer::start(Says::Credential(aws(1, 0))).await.roots;
    let world = World::start_with(Provider::Aws, issuer, others, None).await;
    let answer = world.ask_until(|answer| answer.code() == "IssuerUnreachable").await;
    assert!(answer.status == 503 && answer.body.contains("certificate"), "{answer:?}");
    assert_eq!(world.issuer.fetches(), 0);
}

#[tokio::test]
async fn a_proxys_error_page_is_not_taken_for_a_denial() {
    let world = World::aws(Says::Other(403, "<html>blocked</html>")).await;
    let answer = world.ask_until(|answer| answer.code() == "IssuerUnreachable").await;
    assert!(answer.status == 503 && answer.body.contains("403"), "{answer:?}");
    assert!(!world.started().await);
}
