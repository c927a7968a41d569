//! Sessions that go before anybody has ended their access.

use super::world::{World, session_name};
use crate::issuer::mint::Desk;
use crate::issuer::revoke;
use exeat_crds::CredentialSession;
use exeat_providers::{Made, SessionId};
use exeat_runtime::clock::Clock;
use exeat_runtime::lease::WriteGate;
use jiff::SignedDuration;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn session(world: &World, issuance: &Value) -> CredentialSession {
    world.objects.lock().unwrap().edit(&session_name(1), |s| {
        s["status"]["revocation"] = json!({"mode": "Immediate", "effectiveBy": "2026-01-01T13:00:00Z"});
        s["status"]["issuance"] = issuance.clone();
    });
    serde_json::from_value(world.object(&session_name(1))).unwrap()
}

/// Made for a session of this name a while ago.
fn made(world: &World, name: &str, uid: &str, seconds: i64) -> Made {
    let session = SessionId {
        name: name.into(),
        uid: uid.into(),
        namespace: "agents".into(),
        service_account: String::new(),
        policy: String::new(),
    };
    Made { session, since: world.clock.now() - SignedDuration::from_secs(seconds) }
}

/// The names of sessions that have something at the provider.
fn left(world: &World) -> Vec<String> {
    world.made.lock().unwrap().iter().map(|m| m.session.name.clone()).collect()
}

/// What a replica with the Lease does in some seconds. `meanwhile` happens once it looks.
async fn lead(desk: &Arc<Desk>, seconds: u64, meanwhile: impl FnOnce()) {
    let work = revoke::run(Arc::clone(desk), WriteGate::always_open());
    let time = async {
        meanwhile();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    };
    tokio::select! {
        biased;
        () = work => panic!("it ended"),
        () = time => {}
    }
    desk.audit.flush(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_deleted_with_a_credential_loses_it_at_once() {
    for (issuance, revoked) in [
        (json!({"handle": "handle"}), 1),
        (json!({"handle": "handle", "revokedAt": "2026-01-01T11:59:00Z"}), 0),
        (json!({}), 0),
    ] {
        let world = World::new(1);
        let (desk, session) = (Arc::new(world.desk(None)), session(&world, &issuance));
        desk.view.on_session(&Event::InitDone);
        desk.view.on_session(&Event::Apply(session.clone()));
        lead(&desk, 1, || {
            world.objects.lock().unwrap().all.remove(&session_name(1));
            desk.view.on_session(&Event::Delete(session));
        })
        .await;
        assert_eq!((world.count("revoke"), world.count("AccessRevoked")), (revoked, revoked), "{issuance}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_sessions_that_went_while_nobody_looked_is_swept_and_recorded() {
    let world = World::new(1);
    let (desk, name) = (Arc::new(world.desk(None)), session_name(1));
    // One that lives, one whose name another one has now, one that is gone, and one whose mint may be under way.
    let all = [(name.as_str(), "session-1", 600), (&name, "before", 600), ("old", "gone", 60), ("young", "new", 58)];
    world.made.lock().unwrap().extend(all.map(|(name, uid, age)| made(&world, name, uid, age)));
    lead(&desk, 10, || {}).await;
    assert_eq!(left(&world).len(), 4, "which sessions there are is not known yet");
    // The view has not heard of the one that lives: the API server has.
    desk.view.on_session(&Event::InitDone);
    lead(&desk, 3, || {}).await;
    assert_eq!(left(&world), [name.as_str(), "young"]);
    assert_eq!((world.count("revoke"), world.count("AccessRevoked")), (2, 2));
    desk.view.on_session(&Event::Apply(session(&world, &json!({"handle": "handle"}))));
    world.clock.advance(SignedDuration::from_secs(2));
    lead(&desk, 3, || {}).await;
    assert_eq!(left(&world), [name], "the young one is old now");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_without_any_credential_costs_nothing_and_what_a_broken_mint_left_is_swept() {
    let world = World::new(1);
    let (desk, name) = (Arc::new(world.desk(None)), session_name(1));
    world.made.lock().unwrap().push(made(&world, &name, "session-1", 600));
    session(&world, &json!({}));
    world.see(&desk);
    desk.view.on_session(&Event::InitDone);
    lead(&desk, 3, || {}).await;
    assert_eq!(left(&world), [name.as_str()], "it may be served yet");
    world.objects.lock().unwrap().edit(&name, |s| s["status"]["phase"] = json!("Completed"));
    world.see(&desk);
    lead(&desk, 3, || {}).await;
    assert!(left(&world).is_empty());
    assert_eq!(world.count(&format!("PATCH {name}")), 0, "there is nothing to put on record");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_cut_off_sweeps_nothing() {
    let world = World::new(1);
    let desk = Arc::new(world.desk(None));
    desk.view.on_session(&Event::InitDone);
    world.made.lock().unwrap().push(made(&world, "old", "gone", 600));
    tokio::time::advance(Duration::from_secs(20)).await;
    lead(&desk, 60, || {}).await;
    assert_eq!(left(&world), ["old"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_comes_late_is_looked_at_at_once() {
    let world = World::new(1);
    let desk = Arc::new(world.desk(None));
    world.made.lock().unwrap().push(made(&world, "old", "gone", 600));
    lead(&desk, 3, || desk.view.on_session(&Event::InitDone)).await;
    assert!(left(&world).is_empty());
}
