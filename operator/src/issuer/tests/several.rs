//! Several policies in one pod: one sidecar, one key, one stream, a session of each.

use super::holders::{Outcome, race};
use super::world::{POD_UID, World, caller, session, session_name};
use crate::issuer::hold::Caller;
use crate::issuer::stream;
use exeat_crds::names;
use exeat_runtime::shutdown::Shutdown;
use exeat_wire::{StreamLine, StreamMessage};
use futures::StreamExt;
use kube::runtime::watcher::Event;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

fn writers() -> String {
    names::session_name("agent", POD_UID, "writer", 1)
}

fn of_policy(policy: &str, name: &str) -> Value {
    let mut object = session(1);
    object["metadata"]["name"] = json!(name);
    object["metadata"]["uid"] = json!(format!("session-{policy}"));
    object["spec"]["request"]["policyRef"]["name"] = json!(policy);
    object["spec"]["request"]["primary"] = json!("reader");
    object
}

/// A pod with policies `reader`, its first, and `writer`.
fn world() -> World {
    let world = World::new(0);
    for (policy, name) in [("reader", session_name(1)), ("writer", writers())] {
        world.objects.lock().unwrap().put(&name, of_policy(policy, &name));
    }
    world
}

async fn ask(world: &World, key: &str, session: &str) -> Outcome {
    world.desk(None).serve_session(&caller(key), session).await
}

#[tokio::test]
async fn one_sidecar_fetches_for_all_policies_of_its_pod() {
    for first in [writers(), session_name(1)] {
        let world = world();
        ask(&world, "a", &first).await.unwrap();
        for session in [session_name(1), writers()] {
            assert_eq!(ask(&world, "b", &session).await.unwrap_err().code, "HolderConflict", "{session} after {first}");
            ask(&world, "a", &session).await.unwrap();
        }
        let record = world.object(&session_name(1))["status"]["issuance"]["holder"]["key"].clone();
        assert_eq!(record, json!("a"), "it stands on the first session of the pod's first policy");
    }
}

#[tokio::test]
async fn nothing_is_minted_before_there_is_where_the_sidecar_is_on_record() {
    let world = world();
    let anchor = world.object(&session_name(1));
    world.objects.lock().unwrap().all.remove(&session_name(1));
    let refused = ask(&world, "a", &writers()).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.retryable), ("SessionNotFound", true));
    assert_eq!(world.last("mint"), None);
    world.objects.lock().unwrap().put(&session_name(1), anchor);
    ask(&world, "a", &writers()).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// However the requests of two replicas interleave, and whichever of the pod's policies they are for: one key gets credentials.
    #[test]
    fn two_replicas_do_not_serve_two_keys_of_a_pod(turns in prop::collection::vec(any::<bool>(), 0..40), policies in any::<[bool; 2]>()) {
        let outcomes = race(&world(), &policies.map(|writer| if writer { writers() } else { session_name(1) }), &turns);
        prop_assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1, "{:?}", outcomes);
        let refused = outcomes.into_iter().find_map(Result::err).unwrap();
        prop_assert_eq!(refused.code.as_str(), "HolderConflict");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_names_its_policy_and_a_stream_tells_of_each() {
    let world = world();
    let desk = Arc::new(world.desk(None));
    let see = |name: &str| desk.view.on_session(&Event::Apply(serde_json::from_value(world.object(name)).unwrap()));
    see(&session_name(1));
    see(&writers());
    let of_both = Caller { policies: vec!["reader".into(), "writer".into(), "none".into()], ..caller("a") };
    let place = desk.streams.reserve(POD_UID).unwrap();
    let mut lines = Box::pin(stream::lines(Arc::clone(&desk), of_both, None, place, Shutdown::manual()));
    let mut next = async || -> StreamLine {
        loop {
            let line: StreamLine = serde_json::from_slice(&lines.next().await.unwrap().unwrap()).unwrap();
            if line.message != StreamMessage::Heartbeat {
                return line;
            }
        }
    };
    for (policy, session) in [("reader", session_name(1)), ("writer", writers())] {
        let line = next().await;
        assert_eq!(line.policy.as_deref(), Some(policy));
        assert!(matches!(&line.message, StreamMessage::Active { session: told, .. } if *told == session), "{line:?}");
    }
    let unknown = next().await;
    assert!(matches!(&unknown.message, StreamMessage::Waiting(r) if r.code == "SessionNotFound"), "{unknown:?}");

    assert!(timeout(Duration::from_secs(20), next()).await.is_err(), "nothing has changed");
    for session in [session_name(1), writers()] {
        let stream = &world.object(&session)["status"]["issuance"]["stream"];
        assert_eq!(stream["replica"], "issuer-0", "{session}: each session says where the sidecar's stream is");
    }

    world.objects.lock().unwrap().edit(&writers(), |s| s["spec"]["revoke"] = json!({"reason": "looks odd"}));
    see(&writers());
    let line = next().await;
    assert_eq!(line.policy.as_deref(), Some("writer"), "nothing is said of the other");
    assert!(matches!(&line.message, StreamMessage::Stopped(r) if r.code == "SessionRevoked"), "{line:?}");
}
