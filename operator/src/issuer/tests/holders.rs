//! Two sidecars, or a sidecar and somebody with its token, at two replicas.

use super::world::{NOW, POD, POD_UID, World, caller, pod, session, session_name};
use crate::issuer::stream;
use exeat_runtime::shutdown::Shutdown;
use exeat_wire::{CredentialResponse, Refusal};
use futures::StreamExt;
use kube::runtime::watcher::Event;
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

pub(super) type Outcome = Result<CredentialResponse, Refusal>;

/// Runs a request of key `a` at one replica and of key `b` at another, for these sessions. `turns` says whose API request is next.
pub(super) fn race(world: &World, sessions: &[String; 2], turns: &[bool]) -> [Outcome; 2] {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let gates = [Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0))];
        let requests = [("a", 0), ("b", 1)].map(|(key, n)| {
            let desk = world.desk(Some(Arc::clone(&gates[n])));
            let session = sessions[n].clone();
            tokio::spawn(async move { desk.serve_session(&caller(key), &session).await })
        });
        for second in turns {
            let before = world.points();
            let n = usize::from(*second);
            gates[n].add_permits(1);
            // Until the request is answered, or there is none left.
            while world.points() == before && !requests[n].is_finished() {
                yield_now().await;
            }
        }
        gates.iter().for_each(|gate| gate.add_permits(1000));
        let [a, b] = requests;
        [a.await.unwrap(), b.await.unwrap()]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// However the requests of two replicas interleave, and whichever sessions they serve: one key gets credentials, the other none.
    #[test]
    fn two_replicas_do_not_serve_two_keys(turns in prop::collection::vec(any::<bool>(), 0..40), sessions in any::<[bool; 2]>()) {
        let world = World::new(2);
        let outcomes = race(&world, &sessions.map(|second| session_name(if second { 2 } else { 1 })), &turns);
        let served: Vec<_> = ["a", "b"].into_iter().zip(&outcomes).filter(|(_, o)| o.is_ok()).map(|(key, _)| key).collect();
        prop_assert_eq!(served.len(), 1, "{:?}", outcomes);
        let bound = world.object(&session_name(1))["status"]["issuance"]["holder"]["key"].clone();
        prop_assert_eq!(bound, json!(served[0]));
        let refused = outcomes.into_iter().find_map(Result::err).unwrap();
        prop_assert_eq!((refused.code.as_str(), refused.retry_after_seconds), ("HolderConflict", Some(2)));
    }
}

async fn ask(world: &World, key: &str, number: i32) -> Outcome {
    world.desk(None).serve_session(&caller(key), &session_name(number)).await
}

#[tokio::test]
async fn the_next_session_of_a_pod_knows_its_sidecar() {
    let world = World::new(1);
    ask(&world, "a", 1).await.unwrap();
    world.objects.lock().unwrap().put(&session_name(2), session(2));
    assert_eq!(ask(&world, "b", 2).await.unwrap_err().code, "HolderConflict");
    ask(&world, "a", 2).await.unwrap();
    let second = world.object(&session_name(2));
    assert_eq!(second["status"]["issuance"]["holder"]["key"], json!("a"), "it repeats the record");
}

#[tokio::test]
async fn a_restarted_sidecar_takes_over_and_its_predecessor_is_out() {
    let world = World::new(1);
    ask(&world, "a", 1).await.unwrap();
    assert_eq!(ask(&world, "b", 1).await.unwrap_err().code, "HolderConflict");
    world.objects.lock().unwrap().put(POD, pod(1, "c1"));
    ask(&world, "b", 1).await.unwrap();
    let issuance = world.object(&session_name(1))["status"]["issuance"].clone();
    assert_eq!(issuance["holder"], json!({"key": "b", "restarts": 1, "container": "c1"}));
    assert_eq!(issuance["credentialID"], "id", "what else is on record stays");
    assert_eq!(ask(&world, "a", 1).await.unwrap_err().code, "HolderConflict");
}

#[tokio::test]
async fn a_conflict_is_reported_on_session_and_pod_but_not_for_each_request() {
    let world = World::new(1);
    let desk = world.desk(None);
    desk.serve_session(&caller("a"), &session_name(1)).await.unwrap();
    for _ in 0..5 {
        let refused = desk.serve_session(&caller("b"), &session_name(1)).await.unwrap_err();
        assert_eq!(refused.session, Some(session_name(1)));
    }
    desk.audit.flush(Duration::from_secs(5)).await;
    let said = |what: &str| world.log.lock().unwrap().iter().filter(|l| *l == what).count();
    assert_eq!(said("HolderConflict"), 3, "one audit record, one Event on the session and one on the pod");
    assert_eq!(said("mint"), 1);
}

#[tokio::test]
async fn without_its_first_session_a_pod_gets_nothing() {
    let world = World::new(2);
    world.objects.lock().unwrap().all.remove(&session_name(1));
    assert_eq!(ask(&world, "a", 2).await.unwrap_err().code, "SessionNotFound");
    assert_eq!(world.last("mint"), None);
}

#[tokio::test]
async fn a_stream_ends_when_another_key_is_bound_and_a_second_keys_is_refused() {
    let world = World::new(1);
    let desk = Arc::new(world.desk(None));
    let see = |world: &World| {
        let session = serde_json::from_value(world.object(&session_name(1))).unwrap();
        desk.view.on_session(&Event::Apply(session));
    };
    let none = desk.may_stream(&caller("a")).await.unwrap();
    assert_eq!(none, None, "a stream may open before any mint");
    see(&world);
    let mut lines = Box::pin(stream::lines(
        Arc::clone(&desk),
        caller("a"),
        none,
        desk.streams.reserve(POD_UID).unwrap(),
        Shutdown::manual(),
    ));
    let line = lines.next().await.unwrap().unwrap();
    assert!(line.starts_with(br#"{"type":"active""#), "{line:?}");
    desk.serve_session(&caller("a"), &session_name(1)).await.unwrap();
    see(&world);
    assert_eq!(desk.may_stream(&caller("b")).await.unwrap_err().code, "HolderConflict");
    world.objects.lock().unwrap().put(POD, pod(1, "c1"));
    assert!(desk.may_stream(&caller("b")).await.is_ok(), "a restarted sidecar's stream may open before its first mint");
    desk.serve_session(&caller("b"), &session_name(1)).await.unwrap();
    see(&world);
    while let Some(line) = lines.next().await {
        assert!(line.unwrap().starts_with(br#"{"type":"heartbeat""#), "nothing but heartbeats before its end");
    }
}

#[tokio::test(start_paused = true)]
async fn the_bound_keys_streams_that_come_and_go_at_once_cost_no_read() {
    let world = World::new(1);
    let desk = world.desk(None);
    desk.serve_session(&caller("a"), &session_name(1)).await.unwrap();
    desk.view.on_session(&Event::Apply(serde_json::from_value(world.object(&session_name(1))).unwrap()));
    let before = world.points();
    let holder = desk.may_stream(&caller("a")).await.unwrap();
    assert_eq!(holder.map(|h| h.key), Some("a".to_owned()));
    desk.note_loss(POD_UID, NOW.parse().unwrap(), false).await;
    assert_eq!(world.points(), before);
}
