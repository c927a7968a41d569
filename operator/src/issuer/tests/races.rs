//! Whatever comes between two steps of a mint: nothing is released that was revoked or changed before the last look at it.

use super::world::{Change, POD, POLICY, PROVIDER, World, caller, pod, session, session_name};
use exeat_wire::{CredentialResponse, Refusal};
use proptest::prelude::*;
use serde_json::json;
use std::time::Duration;

/// A change that must keep a credential in, and the object by whose last read it is seen.
struct Harm {
    name: &'static str,
    seen_by: &'static str,
    change: Change,
    /// Whether it does no harm before the first look.
    midway: bool,
}

/// The session that is served.
const SERVED: i32 = 2;

fn on_session(edit: fn(&mut serde_json::Value)) -> impl Fn(&mut super::world::Objects) {
    move |objects| objects.edit(&session_name(SERVED), edit)
}

fn harms() -> Vec<Harm> {
    let harm =
        |name, seen_by, change| Harm { name, seen_by, change, midway: ["shortened", "replaced"].contains(&name) };
    vec![
        harm("revoked", "served", |o| on_session(|s| s["spec"]["revoke"] = json!({"reason": "leak"}))(o)),
        harm("ended", "served", |o| on_session(|s| s["status"]["phase"] = json!("Completed"))(o)),
        harm("expired", "served", |o| on_session(|s| s["status"]["expiresAt"] = json!("2026-01-01T11:59:00Z"))(o)),
        harm("shortened", "served", |o| on_session(|s| s["status"]["expiresAt"] = json!("2026-01-01T12:30:00Z"))(o)),
        harm("grant forged", "served", |o| on_session(|s| s["status"]["grant"]["digest"] = json!("forged"))(o)),
        harm("replaced", "served", |o| {
            let mut other = session(SERVED);
            other["metadata"]["uid"] = json!("another");
            o.put(&session_name(SERVED), other);
        }),
        harm("gone", "served", |o| drop(o.all.remove(&session_name(SERVED)))),
        harm("policy tightened", POLICY, |o| {
            o.edit(POLICY, |p| p["spec"]["allow"][0]["actions"] = json!(["get pods"]))
        }),
        harm("policy replaced", POLICY, |o| o.edit(POLICY, |p| p["metadata"]["uid"] = json!("another"))),
        harm("policy deleted", POLICY, |o| drop(o.all.remove(POLICY))),
        harm("ceiling lowered", PROVIDER, |o| {
            o.edit(PROVIDER, |p| p["spec"]["bindings"][0]["maxActions"] = json!(["get *"]));
        }),
        harm("deny added", PROVIDER, |o| {
            o.edit(PROVIDER, |p| p["spec"]["bindings"][0]["deny"] = json!(["get secrets"]));
        }),
        harm("provider deleted", PROVIDER, |o| drop(o.all.remove(PROVIDER))),
        harm("another sidecar bound", "first", |o| {
            o.put(POD, pod(1, "c1"));
            let holder = json!({"key": "b", "restarts": 1, "container": "c1"});
            o.edit(&session_name(1), |s| s["status"]["issuance"]["holder"] = holder);
        }),
    ]
}

/// What others write all the time, and what must not keep a credential in.
const HARMLESS: [(&str, Change); 4] = [
    ("another replica mints", |o| {
        let issued = json!({"credentialID": "other", "expiresAt": "2026-01-01T12:30:00Z", "handle": "handle"});
        o.edit(&session_name(SERVED), |s| {
            let mut issuance = issued;
            issuance["holder"] = s["status"]["issuance"]["holder"].clone();
            s["status"]["issuance"] = issuance;
        });
    }),
    ("a stream is noted", |o| {
        let stream = json!({"replica": "issuer-1", "since": "2026-01-01T12:00:00Z"});
        o.edit(&session_name(SERVED), |s| s["status"]["issuance"]["stream"] = stream);
    }),
    ("the controller writes a condition", |o| {
        o.edit(&session_name(1), |s| s["status"]["message"] = json!("still active"));
    }),
    ("the policy's status is written", |o| o.edit(POLICY, |p| p["status"] = json!({"authorityHash": "h"}))),
];

/// A mint by a replica that has seen the sessions, and reads what they rest on beside them, or by one that has not.
fn run(world: &World, seen: bool) -> Result<CredentialResponse, Refusal> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let desk = world.desk(None);
        if seen {
            world.see(&desk);
        }
        let served = desk.serve_session(&caller("a"), &session_name(SERVED)).await;
        desk.audit.flush(Duration::from_secs(5)).await;
        served
    })
}

fn points() -> usize {
    let world = World::new(SERVED);
    run(&world, true).unwrap();
    world.points()
}

fn check(world: &World, what: &str, harms: &[&Harm], outcome: &Result<CredentialResponse, Refusal>) {
    let log = world.log.lock().unwrap().clone();
    let at = |what: &str| log.iter().rposition(|l| l == what);
    if let Some(minted) = at("mint") {
        assert!(at("CredentialsIntended") < Some(minted), "{what}: minted before the intent was on record: {log:?}");
        assert!(
            at(&format!("PATCH {}", session_name(1))) < Some(minted)
                || !world.object(&session_name(1))["status"]["issuance"]["holder"].is_null(),
            "{what}"
        );
        if outcome.is_err() {
            assert!(at("revoke") > Some(minted), "{what}: what was minted is not taken back: {log:?}");
        }
    }
    if outcome.is_err() {
        return;
    }
    assert!(at("CredentialsIssued").is_some() || at("CredentialsRenewed").is_some(), "{what}: {log:?}");
    let Some(changed) = log.iter().position(|l| l == "change") else { return };
    for harm in harms {
        let object = match harm.seen_by {
            "served" => session_name(SERVED),
            "first" => session_name(1),
            other => other.to_owned(),
        };
        let looks = format!("GET {object}");
        if harm.midway && log.iter().position(|l| *l == looks) > Some(changed) {
            continue;
        }
        let looked = world.last(&looks);
        assert!(
            looked < Some(changed),
            "{what}: released although the change came before the last look at {object}: {log:?}"
        );
    }
}

#[test]
fn an_undisturbed_mint_is_released_once_all_of_it_is_on_record() {
    let world = World::new(SERVED);
    let response = run(&world, false).unwrap();
    assert_eq!(response.session, session_name(SERVED));
    let issuance = &world.object(&session_name(SERVED))["status"]["issuance"];
    assert_eq!((&issuance["credentialID"], &issuance["holder"]["key"]), (&json!("id"), &json!("a")));
    assert_eq!(world.object(&session_name(1))["status"]["issuance"]["holder"]["container"], json!("c0"));
    let minted = world.last("mint");
    for object in [&session_name(SERVED), POLICY, PROVIDER, &session_name(1)] {
        assert!(world.last(&format!("GET {object}")) > minted, "{object} is looked at again after the mint");
    }
}

/// Every harmful change at every point, one at a time.
#[test]
fn no_change_before_the_last_look_lets_a_credential_out() {
    let points = points();
    let mut refused = 0;
    for (harm, seen) in harms().iter().flat_map(|harm| [(harm, false), (harm, true)]) {
        for point in 0..=points {
            let world = World::new(SERVED);
            world.change_before(point, harm.change);
            let outcome = run(&world, seen);
            refused += usize::from(outcome.is_err());
            check(&world, &format!("{} before step {point} (seen: {seen})", harm.name), &[harm], &outcome);
        }
        let world = World::new(SERVED);
        world.change_before(0, harm.change);
        assert_eq!(run(&world, seen).is_ok(), harm.midway, "{} from the start", harm.name);
    }
    assert!(refused > harms().len() * points, "{refused}");
}

/// What a replica has seen of a session may be old: what the session rests on by now counts.
#[test]
fn what_was_supposed_wrongly_is_read_again() {
    let world = World::new(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let desk = world.desk(None);
        world
            .objects
            .lock()
            .unwrap()
            .edit(&session_name(1), |s| s["spec"]["request"]["policyRef"]["name"] = json!("writer"));
        world.see(&desk);
        world.objects.lock().unwrap().put(&session_name(1), session(1));
        desk.serve_session(&caller("a"), &session_name(1)).await.unwrap();
    });
    let asked = |what: &str| world.count(&format!("GET {what}"));
    assert_eq!(
        (asked(&session_name(1)), asked(POLICY)),
        (3, 4),
        "once as supposed and once as it is, before and after"
    );
}

#[test]
fn what_others_write_meanwhile_keeps_no_credential_in() {
    for (name, change) in HARMLESS {
        for point in 0..=points() {
            let world = World::new(SERVED);
            world.change_before(point, change);
            let outcome = run(&world, point % 2 == 0);
            assert!(outcome.is_ok(), "{name} before step {point}: {outcome:?}");
            assert_eq!(world.object(&session_name(1))["status"]["issuance"]["holder"]["key"], json!("a"), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Several changes, harmful or not, at any points.
    #[test]
    fn no_ordering_of_changes_lets_a_credential_out(
        picks in prop::collection::vec((0usize..14, 0usize..24), 1..4),
        noise in prop::collection::vec((0usize..HARMLESS.len(), 0usize..24), 0..3),
        seen: bool,
    ) {
        let harms = harms();
        let world = World::new(SERVED);
        for (which, point) in &picks {
            world.change_before(*point, harms[*which].change);
        }
        for (which, point) in &noise {
            world.change_before(*point, HARMLESS[*which].1);
        }
        let outcome = run(&world, seen);
        // A change by which a look is judged must be the first of all: the others are judged by the exhaustive test.
        let earliest = picks.iter().chain(&noise).map(|(_, point)| *point).min();
        let seen: Vec<_> =
            picks.iter().filter(|(_, point)| Some(*point) == earliest).map(|(which, _)| &harms[*which]).collect();
        check(&world, &format!("{picks:?} {noise:?}"), &seen, &outcome);
    }
}
