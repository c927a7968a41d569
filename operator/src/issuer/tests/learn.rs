//! What sidecars tell of their agents' calls, and who may.

use super::world::{POD_UID, POLICY, PROVIDER, World, session, session_name};
use crate::issuer::authn::signer::claims;
use crate::issuer::mint::Desk;
use exeat_crds::authority;
use exeat_wire::{ObservedCall, ObservedReport, Operation};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

const ROLE: &str = "arn:aws:iam::123456789012:role/agents/a";

/// A pod with one session under a policy of AWS in this mode.
fn world(mode: &str) -> World {
    let provider = json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialProvider", "metadata": {"name": "aws", "uid": "prov"},
        "spec": {"aws": {"region": "eu-west-1"}, "bindings": [{
            "name": "b", "namespaces": ["agents"], "principals": [ROLE], "maxActions": ["s3:*"], "allowObserve": true}]},
    });
    let policy = json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy",
        "metadata": {"name": "reader", "namespace": "agents", "uid": "pol"},
        "spec": {
            "providerRef": {"name": "aws"}, "principal": ROLE, "subjects": {"serviceAccounts": ["sa"]},
            "allow": [{"actions": ["s3:GetObject"], "resources": ["*"]}], "mode": mode, "acceptEnforcement": "PrincipalOnly",
        },
    });
    let read = |value: &Value| serde_json::from_value(value.clone()).unwrap();
    let authority =
        authority::resolve(&read(&policy), Some(&serde_json::from_value(provider.clone()).unwrap())).unwrap();
    let mut first = session(1);
    first["spec"]["request"]["authorityHash"] = json!(authority.hash);
    let world = World::new(0);
    let mut objects = world.objects.lock().unwrap();
    objects.put(&session_name(1), first);
    objects.put(POLICY, policy);
    objects.put(PROVIDER, provider);
    drop(objects);
    world
}

/// A replica that has seen the session.
async fn desk(world: &World) -> Desk {
    let desk = world.desk(None);
    desk.authenticator.warm_up().await.unwrap();
    desk.view.on_session(&Event::Apply(serde_json::from_value(world.object(&session_name(1))).unwrap()));
    desk
}

fn token(world: &World) -> String {
    world.signers.lock().unwrap()[0].sign(&claims("agents", "agent", POD_UID))
}

fn call(operation: &str, calls: u32, denied: u32) -> ObservedCall {
    let what = Operation::Aws { service: "S3".into(), operation: operation.into() };
    ObservedCall { what, calls, denied, first: true }
}

fn report(calls: Vec<ObservedCall>) -> ObservedReport {
    ObservedReport { session: session_name(1), first: true, calls, dropped: 0 }
}

fn actions(world: &World) -> Vec<(String, i64, i64)> {
    let suggested = world.object(POLICY)["status"]["suggested"].clone();
    let of = |a: &Value| {
        (a["action"].as_str().unwrap().to_owned(), a["calls"].as_i64().unwrap(), a["denied"].as_i64().unwrap())
    };
    suggested["actions"].as_array().into_iter().flatten().map(of).collect()
}

#[tokio::test]
async fn what_is_told_comes_to_the_policys_status_in_one_write() {
    let world = world("Observe");
    let desk = desk(&world).await;
    let vault = ObservedCall { what: Operation::Vault { verb: "read".into(), path: "x".into() }, ..call("", 3, 0) };
    let told = report(vec![
        call("ListObjectsV2", 2, 0),
        call("HeadObject", 1, 0),
        call("GetObject", 4, 1),
        call("Get*", 5, 0),
        vault,
    ]);
    for _ in 0..2 {
        desk.learn(&token(&world), "a".into(), told.clone()).await.unwrap();
    }
    assert_eq!(world.count("PATCH policy"), 0, "nothing is written for a report");
    desk.write_suggestions().await;
    assert_eq!(world.count("PATCH policy"), 1);
    assert_eq!(actions(&world), [("s3:GetObject".to_owned(), 10, 2), ("s3:ListBucket".to_owned(), 4, 0)]);
    let suggested = world.object(POLICY)["status"]["suggested"].clone();
    assert_eq!(
        (&suggested["omitted"], &suggested["principal"], &suggested["workloads"]),
        (&json!(16), &json!(ROLE), &json!(["Pod/agent"]))
    );
    desk.write_suggestions().await;
    assert_eq!(world.count("PATCH policy"), 1, "nothing new, nothing written");
}

#[tokio::test]
async fn another_replicas_write_is_joined_and_none_is_lost() {
    let world = world("Observe");
    let (one, other) = (desk(&world).await, desk(&world).await);
    for desk in [&one, &other] {
        desk.learn(&token(&world), "a".into(), report(vec![call("GetObject", 3, 0)])).await.unwrap();
    }
    one.write_suggestions().await;
    // Between the other's read and its write somebody touches the policy.
    world.change_before(world.points() + 1, |objects| {
        objects.edit(POLICY, |policy| policy["metadata"]["labels"] = json!({"a": "b"}))
    });
    other.write_suggestions().await;
    assert_eq!(actions(&world), [("s3:GetObject".to_owned(), 6, 0)]);
}

#[tokio::test]
async fn who_is_not_the_sidecar_of_an_observed_session_is_not_heard() {
    let world = world("Observe");
    let desk = desk(&world).await;
    let told = report(vec![call("GetObject", 1, 0)]);
    let refused = async |key: &str, report: ObservedReport| {
        desk.learn(&token(&world), key.into(), report).await.unwrap_err().code
    };
    let other = ObservedReport { session: session_name(2), ..told.clone() };
    assert_eq!(refused("a", other).await, "NotObserving");
    world.objects.lock().unwrap().edit(&session_name(1), |session| {
        session["status"]["issuance"] = json!({"holder": {"key": "a", "restarts": 0, "container": "c0"}});
    });
    assert_eq!(
        refused("b", told.clone()).await,
        "HolderConflict",
        "somebody else of the pod with a token of its account"
    );
    assert_eq!(desk.learn("x.y.z", "a".into(), told.clone()).await.unwrap_err().code, "TokenInvalid");
    desk.write_suggestions().await;
    assert_eq!(world.count("PATCH policy"), 0);

    let world = self::world("Enforce");
    let refusal = self::desk(&world).await.learn(&token(&world), "a".into(), told).await.unwrap_err();
    assert_eq!((refusal.code.as_str(), refusal.retryable), ("NotObserving", false));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_tells_without_end_is_told_to_wait() {
    let world = world("Observe");
    let desk = desk(&world).await;
    let mut codes = Vec::new();
    for _ in 0..8 {
        let told = desk.learn(&token(&world), "a".into(), report(vec![call("GetObject", 1, 0)])).await;
        codes.push(told.map_or_else(|refusal| refusal.code, |()| "taken".to_owned()));
    }
    assert_eq!(codes.iter().filter(|code| *code == "taken").count(), 6, "{codes:?}");
    assert_eq!(codes.last().unwrap(), "RateLimited");
}
