//! What a noisy tenant can make the API server do: nothing by tokens that are none, its share by tokens that are good.

use super::world::{NAMESPACE_RATE, POD_UID, World, caller, session_name};
use crate::issuer::admit::{Admitted, MINT_BURST, MINT_BURST_SECONDS, STREAM_BURST, UNDER_WAY_OF_NAMESPACE};
use crate::issuer::authn::PodIdentity;
use crate::issuer::authn::signer::{Signer, claims};
use crate::issuer::mint::Desk;
use crate::issuer::streams::MAX_OF_POD;
use exeat_wire::{CredentialResponse, Refusal};
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::advance;

/// More than a namespace's burst.
const PODS: usize = 40;

/// Calls that pass at once before a bucket of this rate is empty.
const fn burst(rate: u32) -> usize {
    rate as usize * 10
}

/// A replica that has read the cluster's keys.
async fn desk(world: &World) -> Desk {
    let desk = world.desk(None);
    desk.authenticator.warm_up().await.unwrap();
    desk
}

fn sign(world: &World, claims: &Value) -> String {
    world.signers.lock().unwrap()[0].sign(claims)
}

/// A pod of a namespace, and its token.
fn add_pod(world: &World, namespace: &str, number: usize) -> String {
    let (name, uid) = (format!("{namespace}-{number}"), format!("uid-{namespace}-{number}"));
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "uid": uid}, "status": {"phase": "Running"}});
    world.objects.lock().unwrap().put(&name, pod);
    sign(world, &claims(namespace, &name, &uid))
}

fn agents_token(world: &World) -> String {
    sign(world, &claims("agents", "agent", POD_UID))
}

async fn ask(desk: &Desk, token: &str) -> Result<CredentialResponse, Refusal> {
    desk.serve(token, "a".into(), None, None).await
}

async fn open(desk: &Desk, token: &str) -> Result<Admitted, Refusal> {
    desk.admit_stream(token, "a".into(), Vec::new()).await
}

/// Both calls' refusals.
async fn refusals(desk: &Desk, token: &str) -> [Refusal; 2] {
    [ask(desk, token).await.unwrap_err(), open(desk, token).await.err().unwrap()]
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_bad_tokens_costs_the_api_server_nothing() {
    let world = World::new(1);
    let desk = desk(&world).await;
    let stranger = Signer::new("k1");
    let before = world.points();
    for n in 0..20 {
        // Each is another token, and names the pod that lives.
        let good = |change: fn(&mut Value)| {
            let mut claims = claims("agents", "agent", POD_UID);
            claims["jti"] = json!(n);
            change(&mut claims);
            claims
        };
        for (what, token) in [
            ("signed by another", stranger.sign(&good(|_| {}))),
            ("expired", sign(&world, &good(|c| c["exp"] = json!(1000)))),
            ("for others", sign(&world, &good(|c| c["aud"] = json!(["other.exeat.dev"])))),
            ("of another cluster", sign(&world, &good(|c| c["iss"] = json!("https://elsewhere")))),
            ("of no pod", sign(&world, &good(|c| drop(c["kubernetes.io"].as_object_mut().unwrap().remove("pod"))))),
            ("no token", format!("x{n}.y.z")),
        ] {
            for refusal in refusals(&desk, &token).await {
                assert_eq!((refusal.code.as_str(), refusal.retryable), ("TokenInvalid", false), "{what}");
            }
        }
    }
    assert_eq!(world.points(), before, "the API server was asked");
    let genuine = ask(&desk, &agents_token(&world)).await.unwrap_err();
    assert_eq!(genuine.code, "SessionNotFound", "what they name is not used up: {genuine:?}");
}

#[tokio::test(start_paused = true)]
async fn made_up_keys_make_the_clusters_keys_be_read_once_in_five_seconds() {
    let world = World::new(1);
    let desk = desk(&world).await;
    let read = || world.count("GET jwks");
    let token = |n: usize| sign_as(&world, &format!("made-up-{n}"));
    for round in 1..=3 {
        advance(Duration::from_secs(5)).await;
        let tokens: Vec<_> = (0..50).map(token).collect();
        let refused = join_all(tokens.iter().map(|token| ask(&desk, token))).await;
        assert!(refused.iter().all(|r| r.as_ref().unwrap_err().code == "TokenInvalid"));
        assert_eq!(read(), 1 + round);
        advance(Duration::from_millis(1)).await;
        // Whether that key is a new one is not known: it is not the sidecar's fault, which must not give up.
        let later = ask(&desk, &token(0)).await.unwrap_err();
        assert_eq!((later.code.as_str(), later.retry_after_seconds), ("TokenInvalid", Some(5)));
    }
    assert_eq!(world.count("POST tokenreviews"), 0);

    world.signers.lock().unwrap()[0] = Signer::new("k2");
    let rotated = agents_token(&world);
    assert!(ask(&desk, &rotated).await.unwrap_err().retryable, "the flood has just had the keys read");
    advance(Duration::from_secs(5)).await;
    assert_eq!(ask(&desk, &rotated).await.unwrap_err().code, "SessionNotFound", "and then the new key is known");
}

fn sign_as(world: &World, kid: &str) -> String {
    world.signers.lock().unwrap()[0].sign_as(kid, &claims("agents", "agent", POD_UID))
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_floods_with_good_tokens_costs_the_api_server_its_share_and_no_more() {
    let world = World::new(1);
    let desk = desk(&world).await;
    let tokens: Vec<_> = (0..PODS).map(|n| add_pod(&world, "noisy", n)).collect();
    let other = add_pod(&world, "quiet", 0);
    let share = burst(NAMESPACE_RATE);
    let reviews = || world.count("POST tokenreviews");

    let mut said = BTreeMap::new();
    for token in tokens.iter().chain(&tokens) {
        *said.entry(ask(&desk, token).await.unwrap_err().code).or_insert(0) += 1;
    }
    let expected =
        BTreeMap::from([("RateLimited".to_owned(), 2 * PODS - share), ("SessionNotFound".to_owned(), share)]);
    assert_eq!((said, reviews()), (expected, share), "before the token is reviewed");
    let refused = ask(&desk, &tokens[PODS - 1]).await.unwrap_err();
    assert!(refused.message.contains("namespace \"noisy\"") && refused.retry_after_seconds == Some(1), "{refused:?}");

    // From the other end: those that were not proved a moment ago.
    let opened = join_all(tokens.iter().rev().map(|token| open(&desk, token))).await;
    assert_eq!(opened.iter().filter(|o| o.is_ok()).count(), share, "streams have a share of their own");
    assert!(opened.iter().filter_map(|o| o.as_ref().err()).all(|r| r.code == "RateLimited" && r.retryable));
    assert_eq!(reviews(), 2 * share);
    assert_eq!(ask(&desk, &other).await.unwrap_err().code, "SessionNotFound", "the other namespace is served");
    assert!(open(&desk, &other).await.is_ok());

    let before = reviews();
    advance(Duration::from_secs(2)).await;
    for token in &tokens {
        let _ = ask(&desk, token).await;
    }
    assert_eq!(reviews() - before, 2 * NAMESPACE_RATE as usize, "and then at its rate");
}

/// The API server answers one request after the other: what the others of a namespace ask for stands before a quiet one's.
#[tokio::test]
async fn a_namespace_has_few_requests_under_way_so_that_another_one_is_answered() {
    let world = World::new(1);
    let answers = Arc::new(Semaphore::new(2));
    let desk = Arc::new(world.desk(Some(Arc::clone(&answers))));
    desk.authenticator.warm_up().await.unwrap();
    let start = |token: String| {
        let desk = Arc::clone(&desk);
        tokio::spawn(async move { desk.serve(&token, "a".into(), None, None).await })
    };
    let noisy: Vec<_> = (0..3 * UNDER_WAY_OF_NAMESPACE / 2).map(|n| start(add_pod(&world, "noisy", n))).collect();
    for _ in 0..100 {
        yield_now().await;
    }
    let quiet = start(add_pod(&world, "quiet", 0));
    // A review and a look at the pod, of each that is under way and of the quiet one.
    for _ in 0..2 * (UNDER_WAY_OF_NAMESPACE + 1) {
        answers.add_permits(1);
        for _ in 0..100 {
            yield_now().await;
        }
    }
    assert!(quiet.is_finished());
    answers.add_permits(100);
    for request in noisy.into_iter().chain([quiet]) {
        assert_eq!(request.await.unwrap().unwrap_err().code, "SessionNotFound", "each had its turn");
    }
}

#[tokio::test(start_paused = true)]
async fn one_pod_alone_does_not_use_up_its_namespaces_share() {
    let world = World::new(1);
    let desk = desk(&world).await;
    let (one, two) = (add_pod(&world, "noisy", 1), add_pod(&world, "noisy", 2));
    for _ in 0..30 {
        let _ = ask(&desk, &one).await;
        let _ = open(&desk, &one).await;
    }
    assert_eq!(world.count("POST tokenreviews"), burst(1), "a stream asks nothing that a request has just asked");
    let refused = ask(&desk, &one).await.unwrap_err();
    assert!(refused.code == "RateLimited" && refused.message.contains("pod \"noisy-1\""), "{refused:?}");
    assert_eq!(ask(&desk, &two).await.unwrap_err().code, "SessionNotFound");
    assert!(open(&desk, &two).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_asks_for_one_credential_after_the_other_is_given_few() {
    let world = World::new(1);
    let desk = desk(&world).await;
    let (caller, session) = (caller("a"), session_name(1));
    let request = || desk.serve_session(&caller, &session);
    for _ in 0..MINT_BURST {
        request().await.unwrap();
    }
    let refused = request().await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.retry_after_seconds), ("RateLimited", Some(4)));
    assert_eq!(world.count("mint"), MINT_BURST as usize);
    advance(Duration::from_secs(3)).await;
    request().await.unwrap();
    assert!(request().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_can_be_given_nothing_for_now_is_told_so_before_the_token_is_reviewed() {
    let world = World::new(1);
    let desk = desk(&world).await;
    let (caller, session) = (caller("a"), session_name(1));
    for _ in 0..MINT_BURST {
        desk.serve_session(&caller, &session).await.unwrap();
    }
    let before = world.points();
    let refused = ask(&desk, &agents_token(&world)).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.retry_after_seconds), ("RateLimited", Some(4)));
    assert!(refused.message.contains("new credentials instead of its last one"), "{refused:?}");
    assert_eq!(world.points(), before, "the API server was asked");
}

#[tokio::test(start_paused = true)]
async fn a_namespaces_credentials_have_a_share_that_all_its_pods_use_up() {
    let world = World::new(1);
    let desk = desk(&world).await;
    let pod = |namespace: &str, n: usize| PodIdentity {
        namespace: namespace.into(),
        service_account: "sa".into(),
        pod: format!("pod-{n}"),
        pod_uid: format!("uid-{namespace}-{n}"),
    };
    let share = (NAMESPACE_RATE * MINT_BURST_SECONDS) as usize;
    let given = |namespace: &str| (0..2 * PODS).filter(|n| desk.admit_mint(&pod(namespace, *n)).is_ok()).count();
    assert_eq!(given("noisy"), share);
    let refused = desk.admit_mint(&pod("noisy", 2 * PODS - 1)).unwrap_err();
    assert!(refused.message.contains("namespace \"noisy\"") && refused.retryable, "{refused:?}");
    assert_eq!(given("quiet"), share, "another namespace has its own");
    advance(Duration::from_secs(3)).await;
    assert_eq!(given("noisy"), 3 * NAMESPACE_RATE as usize);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pods_token_is_refused_at_once_and_asked_about_once() {
    let world = World::new(1);
    let desk = desk(&world).await;
    let token = add_pod(&world, "agents", 1);
    assert_eq!(ask(&desk, &token).await.unwrap_err().code, "SessionNotFound");
    world.objects.lock().unwrap().all.remove("agents-1");
    let before = world.points();
    for _ in 0..100 {
        for refusal in refusals(&desk, &token).await {
            assert_eq!((refusal.code.as_str(), refusal.retryable), ("TokenInvalid", false));
        }
    }
    assert_eq!(world.points(), before + 2, "a review, and a look at the pod beside it");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_opens_streams_is_proved_once_in_half_a_minute() {
    let world = World::new(1);
    let desk = desk(&world).await;
    let token = add_pod(&world, "agents", 1);
    let reviews = || world.count("POST tokenreviews");
    for _ in 0..STREAM_BURST {
        open(&desk, &token).await.ok().unwrap();
    }
    assert_eq!(reviews(), 1);
    assert_eq!(ask(&desk, &token).await.unwrap_err().code, "SessionNotFound");
    assert_eq!(reviews(), 2, "who asks for a credential is proved each time");
    advance(Duration::from_secs(31)).await;
    open(&desk, &token).await.ok().unwrap();
    assert_eq!(reviews(), 3);
    world.objects.lock().unwrap().all.remove("agents-1");
    assert!(ask(&desk, &token).await.is_err());
    let refused = open(&desk, &token).await.err().unwrap();
    assert_eq!(refused.code, "TokenInvalid", "what was refused since is not taken as proved");
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_long_before_its_credential_ends_waits_for_it_and_costs_nothing() {
    let world = World::new(1);
    let desk = desk(&world).await;
    let token = agents_token(&world);
    world.see(&desk);
    ask(&desk, &token).await.unwrap();
    ask(&desk, &token).await.unwrap();
    let before = world.points();
    let refused = ask(&desk, &token).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.retryable), ("RateLimited", true));
    assert_eq!(refused.retry_after_seconds, Some(61), "a tenth of its life, at most a minute");
    assert_eq!(world.points(), before, "the API server was asked");
    advance(Duration::from_secs(61)).await;
    ask(&desk, &token).await.unwrap();
    assert!(ask(&desk, &token).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_pod_has_few_streams_and_one_more_is_refused_without_asking_the_api_server() {
    let world = World::new(1);
    let desk = desk(&world).await;
    let token = add_pod(&world, "agents", 1);
    let mut places = Vec::new();
    for _ in 0..MAX_OF_POD {
        places.push(open(&desk, &token).await.ok().unwrap().place.serving());
    }
    let before = world.points();
    let refused = open(&desk, &token).await.err().unwrap();
    assert_eq!((refused.code.as_str(), refused.retry_after_seconds), ("RateLimited", Some(20)));
    assert!(refused.message.contains("3 streams"), "{refused:?}");
    assert_eq!(world.points(), before);
    assert_eq!(ask(&desk, &token).await.unwrap_err().code, "SessionNotFound", "it may still ask for credentials");
    places.pop();
    assert!(open(&desk, &token).await.is_ok());
}
