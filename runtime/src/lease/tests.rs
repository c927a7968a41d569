mod property;
mod world;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::{Instant, sleep};

use self::world::{Fault, Link, Server};
use super::*;
use crate::clock::ManualClock;

fn config(identity: &str) -> LeaseConfig {
    LeaseConfig {
        name: "exeat-controller".to_owned(),
        namespace: "exeat-system".to_owned(),
        identity: identity.to_owned(),
        duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
    }
}

fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn start(link: &Link, identity: &str) -> Leadership {
    elect(link.clone(), config(identity), ManualClock::new(noon()))
}

fn spec(server: &Server) -> LeaseSpec {
    server.lease().unwrap().spec.unwrap()
}

fn held_by(identity: &str) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(15),
        lease_transitions: Some(4),
        acquire_time: Some(MicroTime(noon())),
        renew_time: Some(MicroTime(noon())),
        ..LeaseSpec::default()
    }
}

async fn stored(server: &Server, spec: LeaseSpec) {
    let mut lease = Lease { spec: Some(spec), ..Lease::default() };
    lease.metadata.name = Some("exeat-controller".to_owned());
    Link::to(server).create(&lease).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_free_lease_is_taken_at_once_and_says_by_whom() {
    let link = Link::default();
    let one = start(&link, "one");
    assert_eq!(one.gate().check(), Err(NotLeader), "closed until the lease is held");
    let begin = Instant::now();
    assert_eq!(one.acquired().await, Ok(()));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(one.gate().remaining(), Some(Duration::from_secs(10)));
    let lease = link.server.lease().unwrap();
    assert_eq!(lease.metadata.namespace.as_deref(), Some("exeat-system"));
    let spec = lease.spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("one"));
    assert_eq!(spec.lease_duration_seconds, Some(15));
    assert_eq!(spec.acquire_time, Some(MicroTime(noon())));
    assert_eq!(spec.renew_time, Some(MicroTime(noon())));
}

#[tokio::test(start_paused = true)]
async fn a_silent_holder_is_waited_for_by_the_own_clock_whatever_time_it_wrote() {
    for renewed in ["1990-01-01T00:00:00Z", "2090-01-01T00:00:00Z"] {
        let server = Server::default();
        let renew_time = Some(MicroTime(renewed.parse().unwrap()));
        stored(&server, LeaseSpec { renew_time, ..held_by("gone") }).await;
        let begin = Instant::now();
        let one = start(&Link::to(&server), "one");
        one.acquired().await.unwrap();
        let waited = begin.elapsed();
        assert!(waited >= Duration::from_secs(15) && waited < Duration::from_secs(18), "{waited:?}");
        assert_eq!(spec(&server).lease_transitions, Some(5));
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_with_a_longer_lease_is_waited_for_that_long() {
    let server = Server::default();
    stored(&server, LeaseSpec { lease_duration_seconds: Some(60), ..held_by("gone") }).await;
    let begin = Instant::now();
    start(&Link::to(&server), "one").acquired().await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn the_leader_stays_while_it_renews_even_with_a_wall_clock_that_stands_still() {
    let server = Server::default();
    let one = start(&Link::to(&server), "one");
    one.acquired().await.unwrap();
    let two = start(&Link::to(&server), "two");
    let mut last = spec(&server).renew_time.unwrap();
    for _ in 0..20 {
        sleep(Duration::from_secs(3)).await;
        assert_eq!((one.gate().check(), two.gate().check()), (Ok(()), Err(NotLeader)));
        let renewed = spec(&server).renew_time.unwrap();
        assert!(renewed > last, "a write without a change is no sign of life");
        last = renewed;
    }
    assert_eq!(spec(&server).lease_transitions.unwrap_or(0), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hung_renewal_closes_the_gate_on_time_and_ends_the_leadership() {
    let link = Link::default();
    let one = start(&link, "one");
    one.acquired().await.unwrap();
    let begin = Instant::now();
    link.fail([Fault::Lost; 50]);
    sleep(Duration::from_millis(9_999)).await;
    assert_eq!(one.gate().check(), Ok(()));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(one.gate().check(), Err(NotLeader));
    let end = one.ended().await;
    assert_eq!((begin.elapsed(), end.clone()), (Duration::from_secs(10), LeaseEnd::Expired));
    assert_eq!((end.code(), NotLeader.code()), ("LeaseExpired", "NotLeader"));
}

#[tokio::test(start_paused = true)]
async fn one_request_that_hangs_or_fails_does_not_end_the_leadership() {
    let link = Link::default();
    let one = start(&link, "one");
    one.acquired().await.unwrap();
    for fault in [Fault::Lost, Fault::Refused, Fault::Misreported, Fault::Late { way: Duration::from_secs(3) }] {
        link.fail([fault]);
        for _ in 0..80 {
            sleep(Duration::from_millis(100)).await;
            assert_eq!(one.gate().check(), Ok(()), "{fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_gate_counts_from_before_the_renewal_was_sent() {
    let link = Link::default();
    let one = start(&link, "one");
    one.acquired().await.unwrap();
    let slow = Fault::Slow { way: Duration::from_secs(1), back: Duration::from_secs(2) };
    link.fail([slow]);
    sleep(Duration::from_millis(5_001)).await;
    let left = one.gate().remaining().unwrap();
    assert_eq!(left, Duration::from_millis(10_000 - 3_001), "3 s of the 10 were spent on the answer");
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_taken_over_at_the_next_attempt() {
    let server = Server::default();
    let one = start(&Link::to(&server), "one");
    one.acquired().await.unwrap();
    let two = start(&Link::to(&server), "two");
    sleep(Duration::from_secs(7)).await;
    let gate = one.gate();
    let begin = Instant::now();
    assert_eq!(one.release().await, LeaseEnd::Released);
    assert_eq!(gate.check(), Err(NotLeader));
    assert_eq!(spec(&server).holder_identity, None);
    two.acquired().await.unwrap();
    assert!(begin.elapsed() <= Duration::from_millis(2_400), "{:?}", begin.elapsed());
    assert_eq!(spec(&server).lease_transitions, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_release_without_an_answer_ends_in_bounded_time_with_the_gate_closed() {
    let link = Link::default();
    let one = start(&link, "one");
    one.acquired().await.unwrap();
    link.fail([Fault::Lost; 5]);
    let (gate, begin) = (one.gate(), Instant::now());
    assert_eq!(one.release().await, LeaseEnd::Released);
    assert_eq!((gate.check(), begin.elapsed()), (Err(NotLeader), Duration::from_secs(10)));
}

#[tokio::test(start_paused = true)]
async fn who_loses_the_lease_to_another_learns_to_whom_behind_a_closed_gate() {
    let link = Link::default();
    let one = start(&link, "one");
    one.acquired().await.unwrap();
    link.server.edit(|lease| lease.spec = Some(held_by("usurper")));
    let end = one.ended().await;
    assert_eq!(end, LeaseEnd::TakenOver { holder: "usurper".to_owned() });
    assert_eq!((end.code(), end.to_string().contains("usurper")), ("LeaseTakenOver", true));
    assert_eq!(one.gate().check(), Err(NotLeader));
    assert_eq!(spec(&link.server), held_by("usurper"), "the new holder's record is left alone");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_ends_the_leadership_and_those_who_knew_the_holder_wait() {
    let server = Server::default();
    let one = start(&Link::to(&server), "one");
    one.acquired().await.unwrap();
    let two = start(&Link::to(&server), "two");
    sleep(Duration::from_secs(3)).await;
    server.delete();
    let begin = Instant::now();
    assert_eq!(one.ended().await, LeaseEnd::TakenOver { holder: String::new() });
    assert!(begin.elapsed() <= Duration::from_secs(2));
    two.acquired().await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn another_writers_labels_are_kept_and_cost_no_leadership() {
    let link = Link::default();
    let one = start(&link, "one");
    one.acquired().await.unwrap();
    let label = ("team".to_owned(), "platform".to_owned());
    link.server.edit(|lease| lease.metadata.labels = Some([label.clone()].into()));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(one.gate().check(), Ok(()));
    assert_eq!(link.server.lease().unwrap().metadata.labels, Some([label].into()));
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_ahead_closes_the_gate_until_the_next_renewal() {
    let link = Link::default();
    let clock = ManualClock::new(noon());
    let one = elect(link, config("one"), clock.clone());
    one.acquired().await.unwrap();
    clock.advance(SignedDuration::from_secs(60));
    assert_eq!(one.gate().check(), Err(NotLeader), "as after a suspended virtual machine");
    sleep(Duration::from_millis(2_001)).await;
    assert_eq!(one.gate().check(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_leadership_leaves_the_gate_closed() {
    let one = start(&Link::default(), "one");
    one.acquired().await.unwrap();
    let gate = one.gate();
    drop(one);
    assert_eq!(gate.check(), Err(NotLeader));
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_server_is_asked_until_it_answers() {
    let link = Link::default();
    link.fail([Fault::Refused, Fault::Lost, Fault::Misreported, Fault::Refused]);
    start(&link, "one").acquired().await.unwrap();
    assert_eq!(spec(&link.server).holder_identity.as_deref(), Some("one"));
}

#[test]
fn a_gate_without_an_election_is_open() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { assert_eq!(WriteGate::always_open().check(), Ok(())) });
}
