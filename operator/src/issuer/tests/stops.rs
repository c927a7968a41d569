//! What a stream says when policies and providers change under the session that it serves.

use super::approvals;
use super::world::{POLICY, PROVIDER, World, caller, session, session_name};
use crate::issuer::fixtures::{APPROVAL, read};
use crate::issuer::mint::Desk;
use crate::issuer::sessions::{View, Writers};
use crate::issuer::stream::lines;
use exeat_crds::{AgentCredentialPolicy, Approval, CredentialProvider, CredentialSession};
use exeat_runtime::shutdown::Shutdown;
use exeat_wire::StreamMessage;
use futures::stream::{BoxStream, StreamExt};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A replica that watches a world by hand, and one sidecar's stream to it.
struct Replica {
    world: World,
    view: Arc<View>,
    writers: Writers,
    desk: Arc<Desk>,
}

type Lines = BoxStream<'static, StreamMessage>;

impl Replica {
    /// It knows what there is.
    fn new(world: World) -> Self {
        let (view, writers) = View::empty();
        let desk = Arc::new(Desk { view: Arc::clone(&view), ..world.desk(None) });
        let mut replica = Self { world, view, writers, desk };
        replica.sees_provider(Event::Apply);
        replica.sees_policy(Event::Apply);
        for number in [1, 2] {
            replica.sees_session(number);
        }
        replica
    }

    fn sees_policy(&mut self, event: fn(AgentCredentialPolicy) -> Event<AgentCredentialPolicy>) {
        let event = event(read(&self.world.object(POLICY)));
        self.writers.policies.apply_watcher_event(&event);
        self.view.on_policy(&event);
    }

    fn sees_provider(&mut self, event: fn(CredentialProvider) -> Event<CredentialProvider>) {
        let event = event(read(&self.world.object(PROVIDER)));
        self.writers.providers.apply_watcher_event(&event);
        self.view.on_provider(&event);
    }

    fn sees_approval(&self, event: fn(Approval) -> Event<Approval>) {
        self.view.on_approval(&event(read(&self.world.object(APPROVAL))));
    }

    fn sees_session(&mut self, number: i32) {
        let found = self.world.object(&session_name(number));
        if !found.is_null() {
            let event = Event::Apply(read::<CredentialSession>(&found));
            self.writers.sessions.apply_watcher_event(&event);
            self.view.on_session(&event);
        }
    }

    fn edit(&self, name: &str, edit: impl FnOnce(&mut Value)) {
        self.world.objects.lock().unwrap().edit(name, edit);
    }

    /// What is said, but for heartbeats.
    fn stream(&self) -> Lines {
        let caller = caller("a");
        let place = self.desk.streams.reserve(&caller.pod.pod_uid).unwrap();
        let lines = lines(Arc::clone(&self.desk), caller, None, place, Shutdown::manual());
        let said = lines.map(|line| serde_json::from_slice(&line.unwrap()).unwrap());
        said.filter(|said| futures::future::ready(*said != StreamMessage::Heartbeat)).boxed()
    }
}

async fn active(lines: &mut Lines) -> String {
    match lines.next().await.unwrap() {
        StreamMessage::Active { session, .. } => session,
        other => panic!("{other:?}"),
    }
}

async fn withheld(lines: &mut Lines) -> String {
    match lines.next().await.unwrap() {
        StreamMessage::Waiting(refusal) => refusal.code,
        other => panic!("{other:?}"),
    }
}

async fn silent(lines: &mut Lines) {
    let said = timeout(Duration::from_secs(60), lines.next()).await;
    assert!(said.is_err(), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_authority_reaches_the_stream_before_anybody_has_ended_the_session() {
    let mut replica = Replica::new(World::new(1));
    let mut lines = replica.stream();
    assert_eq!(active(&mut lines).await, session_name(1));
    let before = replica.world.object(&session_name(1));

    replica.edit(POLICY, |p| p["spec"]["allow"][0]["actions"] = json!(["list pods"]));
    replica.sees_policy(Event::Apply);
    assert_eq!(withheld(&mut lines).await, "AuthorityChanged");
    replica.edit(POLICY, |p| p["spec"]["allow"][0]["actions"] = json!(["get pods", "list pods"]));
    replica.sees_policy(Event::Apply);
    assert_eq!(active(&mut lines).await, session_name(1), "it was taken back");

    replica.edit(PROVIDER, |p| p["spec"]["bindings"][0]["maxActions"] = json!(["list *"]));
    replica.sees_provider(Event::Apply);
    assert_eq!(withheld(&mut lines).await, "ActionNotAllowed");
    replica.edit(PROVIDER, |p| p["spec"]["bindings"][0]["maxActions"] = json!(["get *", "list *"]));
    replica.sees_provider(Event::Apply);
    active(&mut lines).await;

    replica.sees_policy(Event::Delete);
    assert_eq!(withheld(&mut lines).await, "PolicyDeleted");
    let after = replica.world.object(&session_name(1));
    assert_eq!((&before["status"]["phase"], &before["spec"]), (&after["status"]["phase"], &after["spec"]));
}

#[tokio::test(start_paused = true)]
async fn a_no_reaches_the_stream_before_anybody_has_ended_the_session() {
    let replica = Replica::new(approvals::world());
    replica.sees_approval(Event::Apply);
    let mut lines = replica.stream();
    assert_eq!(active(&mut lines).await, session_name(1));
    replica.edit(APPROVAL, |a| a["status"]["used"] = json!(1));
    replica.sees_approval(Event::Apply);
    silent(&mut lines).await;
    replica.edit(APPROVAL, |a| a["spec"]["decisions"][0]["decision"] = json!("Deny"));
    replica.sees_approval(Event::Apply);
    assert_eq!(withheld(&mut lines).await, "ApprovalWithdrawn");
    assert_eq!(replica.world.object(&session_name(1))["status"]["phase"], "Active");
}

#[tokio::test(start_paused = true)]
async fn an_approval_that_goes_takes_what_rests_on_it_along() {
    let replica = Replica::new(approvals::world());
    let mut lines = replica.stream();
    assert_eq!(withheld(&mut lines).await, "ApprovalWithdrawn", "it was not seen yet");
    replica.sees_approval(Event::Apply);
    active(&mut lines).await;
    replica.sees_approval(Event::Delete);
    assert_eq!(withheld(&mut lines).await, "ApprovalWithdrawn");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_goes_is_told_and_the_controllers_end_follows() {
    let mut replica = Replica::new(World::new(1));
    let mut lines = replica.stream();
    active(&mut lines).await;
    replica.sees_provider(Event::Delete);
    assert_eq!(withheld(&mut lines).await, "ProviderNotFound");
    replica.edit(&session_name(1), |s| {
        s["status"]["phase"] = json!("Revoked");
        s["status"]["reason"] = json!("ProviderNotFound");
    });
    replica.sees_session(1);
    let said = lines.next().await.unwrap();
    assert!(matches!(&said, StreamMessage::Stopped(r) if r.code == "ProviderNotFound"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn what_changes_no_authority_is_told_to_nobody() {
    let mut replica = Replica::new(World::new(1));
    let mut lines = replica.stream();
    active(&mut lines).await;
    replica.edit(POLICY, |p| p["status"] = json!({"authorityHash": "h"}));
    replica.edit(PROVIDER, |p| p["metadata"]["labels"] = json!({"team": "platform"}));
    replica.sees_policy(Event::Apply);
    replica.sees_provider(Event::Apply);
    silent(&mut lines).await;
}

/// The list that follows a lost watch tells of no deletion.
#[tokio::test(start_paused = true)]
async fn a_policy_that_went_while_nobody_watched_is_missed_in_the_next_list() {
    let mut replica = Replica::new(World::new(1));
    let mut lines = replica.stream();
    active(&mut lines).await;
    for event in [Event::Init, Event::InitDone] {
        replica.writers.policies.apply_watcher_event(&event);
        replica.view.on_policy(&event);
    }
    assert_eq!(withheld(&mut lines).await, "PolicyDeleted");
}

/// A new session may be seen before the policy that it was decided under.
#[tokio::test(start_paused = true)]
async fn the_next_session_is_served_once_its_policy_is_seen_whichever_comes_first() {
    for policy_first in [true, false] {
        let mut replica = Replica::new(World::new(1));
        let mut lines = replica.stream();
        active(&mut lines).await;
        replica.edit(POLICY, |p| p["spec"]["session"]["duration"] = json!("30m"));
        let policy = read(&replica.world.object(POLICY));
        let provider = read(&replica.world.object(PROVIDER));
        let authority = exeat_crds::authority::resolve(&policy, Some(&provider)).unwrap();
        let mut next = session(2);
        next["spec"]["request"]["authorityHash"] = json!(authority.hash);
        replica.world.objects.lock().unwrap().put(&session_name(2), next);
        if policy_first {
            replica.sees_policy(Event::Apply);
        } else {
            replica.sees_session(2);
        }
        assert_eq!(withheld(&mut lines).await, "AuthorityChanged");
        replica.sees_policy(Event::Apply);
        replica.sees_session(2);
        assert_eq!(active(&mut lines).await, session_name(2));
    }
}

fn record(world: &World) -> Value {
    world.object(&session_name(1))["status"]["issuance"]["stream"]["replica"].clone()
}

/// Who opens streams and leaves them must not make us write each time, whatever stands on record; who stays is on record before he would be
/// called lost.
#[tokio::test(start_paused = true)]
async fn a_stream_is_put_on_record_only_once_it_has_stood_for_seconds() {
    let elsewhere = json!({"replica": "issuer-9", "since": super::world::NOW});
    let lost = json!({"replica": "issuer-9", "since": super::world::NOW, "lostAt": super::world::NOW});
    for stands in [Value::Null, elsewhere, lost] {
        let mut replica = Replica::new(World::new(1));
        replica.edit(&session_name(1), |s| s["status"]["issuance"]["stream"] = stands.clone());
        replica.sees_session(1);
        for _ in 0..20 {
            active(&mut replica.stream()).await;
        }
        let writes = || replica.world.count(&format!("PATCH {}", session_name(1)));
        assert_eq!((record(&replica.world), writes()), (stands["replica"].clone(), 0));
        let mut stays = replica.stream();
        active(&mut stays).await;
        silent(&mut stays).await;
        assert_eq!((record(&replica.world), writes()), (json!("issuer-0"), 1), "{stands}");
    }
}
