//! A replica is gone: what becomes of its streams on record.

use super::world::{World, session_name};
use crate::issuer::mint::Desk;
use crate::issuer::orphans::{Suspects, look};
use jiff::SignedDuration;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

/// A replica with the Lease that knows the world's sessions.
fn leader(world: &World) -> Desk {
    let desk = world.desk(None);
    for number in [1, 2] {
        let found = world.object(&session_name(number));
        if !found.is_null() {
            desk.view.on_session(&Event::Apply(serde_json::from_value(found).unwrap()));
        }
    }
    desk
}

fn note(world: &World, number: i32, replica: &str) {
    let stream = json!({"replica": replica, "since": "2026-01-01T11:00:00Z"});
    world.objects.lock().unwrap().edit(&session_name(number), |s| s["status"]["issuance"] = json!({"stream": stream}));
}

fn lost(world: &World, number: i32) -> Value {
    world.object(&session_name(number))["status"]["issuance"]["stream"]["lostAt"].clone()
}

#[tokio::test]
async fn a_stream_of_a_replica_that_is_gone_is_lost_unless_another_one_takes_it() {
    for taken in [false, true] {
        let world = World::new(1);
        note(&world, 1, "one");
        world.objects.lock().unwrap().put("one", json!({"kind": "Pod", "metadata": {"name": "one"}}));
        let (desk, mut suspects) = (leader(&world), Suspects::default());
        let mut look = async |seconds: i64| {
            world.clock.advance(SignedDuration::from_secs(seconds));
            look(&desk, "exeat-system", &mut suspects).await;
        };
        look(0).await;
        look(600).await;
        assert_eq!(lost(&world, 1), Value::Null, "its replica lives");
        world.objects.lock().unwrap().all.remove("one");
        look(10).await;
        if taken {
            note(&world, 1, "two");
        }
        look(20).await;
        // The leader's own view has not heard of it yet: what is written is decided on a fresh read.
        assert_eq!(lost(&world, 1), if taken { Value::Null } else { json!("2026-01-01T12:10:10Z") });
    }
}

#[tokio::test]
async fn the_next_leader_starts_anew_and_only_the_session_in_use_counts() {
    let world = World::new(2);
    note(&world, 1, "gone");
    note(&world, 2, "gone");
    look(&leader(&world), "exeat-system", &mut Suspects::default()).await;
    world.clock.advance(SignedDuration::from_secs(30));
    let (desk, mut suspects) = (leader(&world), Suspects::default());
    look(&desk, "exeat-system", &mut suspects).await;
    assert_eq!(lost(&world, 2), Value::Null, "this one has only just found it");
    world.clock.advance(SignedDuration::from_secs(20));
    look(&desk, "exeat-system", &mut suspects).await;
    assert_eq!(lost(&world, 2), json!("2026-01-01T12:00:30Z"));
    assert_eq!(lost(&world, 1), Value::Null, "the pod uses session 2");
}
