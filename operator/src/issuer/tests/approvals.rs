//! What people approved is looked at before every mint: their no, at any step, keeps the credential in.

use super::world::{Change, Objects, POLICY, PROVIDER, World, caller, session_name};
use crate::issuer::fixtures::{APPROVAL, approved, guard};
use exeat_crds::approval;
use exeat_wire::{CredentialResponse, Refusal};
use serde_json::{Value, json};
use std::time::Duration;

/// One active session that people let open: its provider asks for the approval of one of `security`.
pub(super) fn world() -> World {
    let world = World::new(0);
    let mut objects = world.objects.lock().unwrap();
    let (mut policy, mut provider) = (objects.all[POLICY].clone(), objects.all[PROVIDER].clone());
    guard(&mut policy, &mut provider);
    let (session, approval) = approved(&policy, &provider);
    objects.put(POLICY, policy);
    objects.put(PROVIDER, provider);
    objects.put(&session_name(1), session);
    objects.put(APPROVAL, serde_json::to_value(approval).unwrap());
    drop(objects);
    world
}

fn run(world: &World) -> Result<CredentialResponse, Refusal> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let desk = world.desk(None);
        let served = desk.serve_session(&caller("a"), &session_name(1)).await;
        desk.audit.flush(Duration::from_secs(5)).await;
        served
    })
}

fn edit(objects: &mut Objects, change: impl FnOnce(&mut Value)) {
    objects.edit(APPROVAL, change);
}

const HARMS: [(&str, Change); 8] = [
    ("a person says no", |o| {
        edit(o, |a| {
            let digest = a["spec"]["request"]["digest"].clone();
            let no = json!({"approver": "bob", "decision": "Deny", "digest": digest, "time": "2026-01-01T12:00:00Z"});
            a["spec"]["decisions"].as_array_mut().unwrap().push(no);
        })
    }),
    ("who said yes says no", |o| edit(o, |a| a["spec"]["decisions"][0]["decision"] = json!("Deny"))),
    ("the approval is gone", |o| drop(o.all.remove(APPROVAL))),
    ("its words are gone", |o| edit(o, |a| a["spec"]["decisions"] = json!([]))),
    ("it opened another session", |o| edit(o, |a| a["status"]["consumers"] = json!(["another"]))),
    ("it is about something else", |o| {
        edit(o, |a| {
            a["spec"]["request"]["allow"][0]["actions"] = json!(["*"]);
            let request = serde_json::from_value(a["spec"]["request"].clone()).unwrap();
            let digest = json!(approval::digest(&request));
            a["spec"]["request"]["digest"] = digest.clone();
            a["spec"]["decisions"][0]["digest"] = digest;
        })
    }),
    ("the owner said it", |o| edit(o, |a| a["spec"]["decisions"][0]["approver"] = json!("olga"))),
    ("the session names none", |o| {
        o.edit(&session_name(1), |s| {
            s["status"].as_object_mut().unwrap().remove("approvalRef");
        })
    }),
];

#[test]
fn what_people_approved_is_minted_and_looked_at_again_before_release() {
    let world = world();
    run(&world).unwrap();
    assert!(world.last(&format!("GET {APPROVAL}")) > world.last("mint"));
}

#[test]
fn no_word_of_a_person_before_the_last_look_lets_a_credential_out() {
    let undisturbed = world();
    run(&undisturbed).unwrap();
    for (name, change) in HARMS {
        let mut refused = 0;
        for point in 0..=undisturbed.points() {
            let world = world();
            world.change_before(point, change);
            let outcome = run(&world);
            let changed = world.last("change");
            let object = if name.starts_with("the session") { session_name(1) } else { APPROVAL.to_owned() };
            let last_look = world.last(&format!("GET {object}"));
            match outcome {
                Ok(_) => assert!(
                    changed > last_look || changed.is_none(),
                    "{name} before step {point}: {:?}",
                    world.log.lock().unwrap()
                ),
                Err(refusal) => {
                    refused += 1;
                    assert_eq!(refusal.code, "ApprovalWithdrawn", "{name} before step {point}");
                    assert!(!refusal.retryable);
                }
            }
        }
        assert!(refused > undisturbed.points() / 2, "{name}: {refused}");
    }
}
