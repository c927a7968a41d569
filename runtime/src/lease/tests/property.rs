//! Under any order of requests, failures, pauses and wall clocks, at most one gate is open.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use tokio::time::{Instant, sleep_until};

use super::super::election::elect_on;
use super::super::{Leadership, LeaseConfig, WriteGate};
use super::config;
use super::world::{Brake, Braked, Fault, Link, Server};
use crate::clock::ManualClock;

const TICK: Duration = Duration::from_millis(50);
const TROUBLE: Duration = Duration::from_secs(90);
const CALM: Duration = Duration::from_secs(60);

/// What one node goes through.
#[derive(Clone, Debug)]
struct Plan {
    faults: Vec<Fault>,
    /// Start and length, in milliseconds.
    pauses: Vec<(u64, u64)>,
    /// When, in milliseconds, and how far, in seconds, the wall clock jumps.
    jumps: Vec<(u64, i64)>,
    skew_seconds: i64,
}

fn fault() -> impl Strategy<Value = Fault> {
    let time = |most: u64| (0..most).prop_map(Duration::from_millis);
    prop_oneof![
        4 => (time(4_000), time(4_000)).prop_map(|(way, back)| Fault::Slow { way, back }),
        1 => Just(Fault::Lost),
        2 => time(30_000).prop_map(|way| Fault::Late { way }),
        1 => Just(Fault::Refused),
        2 => Just(Fault::Misreported),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        prop::collection::vec(fault(), 0..25),
        prop::collection::vec((0..90_000_u64, 0..30_000_u64), 0..3),
        prop::collection::vec((0..90_000_u64, -3_600..3_600_i64), 0..3),
        -86_400..86_400_i64,
    )
        .prop_map(|(faults, pauses, jumps, skew_seconds)| Plan { faults, pauses, jumps, skew_seconds })
}

/// One node, on which a fresh process starts whenever the last one ended.
struct Node {
    number: usize,
    starts: usize,
    link: Link,
    brake: Brake,
    clock: ManualClock,
    config: LeaseConfig,
    process: Leadership,
    gates: Vec<WriteGate>,
}

impl Node {
    fn new(number: usize, server: &Server, plan: &Plan, config: &LeaseConfig) -> Self {
        let link = Link::to(server);
        link.fail(plan.faults.iter().copied());
        let epoch: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = ManualClock::new(epoch + SignedDuration::from_secs(plan.skew_seconds));
        let brake = Brake::default();
        let process = start(&link, &brake, &clock, config, format!("node-{number}-0"));
        let gates = vec![process.gate()];
        Self { number, starts: 0, link, brake, clock, config: config.clone(), process, gates }
    }

    fn restart_if_ended(&mut self) {
        if self.process.has_ended() {
            self.starts += 1;
            let identity = format!("node-{}-{}", self.number, self.starts);
            self.process = start(&self.link, &self.brake, &self.clock, &self.config, identity);
            self.gates.push(self.process.gate());
        }
    }
}

fn start(link: &Link, brake: &Brake, clock: &ManualClock, config: &LeaseConfig, identity: String) -> Leadership {
    let config = LeaseConfig { identity, ..config.clone() };
    let brake = brake.clone();
    elect_on(link.clone(), config, clock.clone(), |run| tokio::spawn(Braked { run, brake }))
}

/// Lets the plans happen. Returns the most gates ever open at once, and how many are open after a calm minute.
fn most_gates_open(plans: &[Plan], config: &LeaseConfig) -> (usize, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let server = Server::default();
        let mut nodes: Vec<_> =
            plans.iter().enumerate().map(|(number, plan)| Node::new(number, &server, plan, config)).collect();
        let begin = Instant::now();
        let (mut elapsed, mut most, mut open) = (Duration::ZERO, 0, 0);
        while elapsed < TROUBLE + CALM {
            for (node, plan) in nodes.iter_mut().zip(plans) {
                live(node, plan, elapsed);
            }
            elapsed += TICK;
            sleep_until(begin + elapsed).await;
            open = nodes.iter().flat_map(|node| &node.gates).filter(|gate| gate.check().is_ok()).count();
            most = most.max(open);
        }
        (most, open)
    })
}

fn live(node: &mut Node, plan: &Plan, elapsed: Duration) {
    let millis = u64::try_from(elapsed.as_millis()).unwrap();
    let paused = plan.pauses.iter().any(|(start, length)| (*start..start + length).contains(&millis));
    node.brake.set(paused && elapsed < TROUBLE);
    node.clock.advance(SignedDuration::try_from(TICK).unwrap());
    let tick = u64::try_from(TICK.as_millis()).unwrap();
    for (_, seconds) in plan.jumps.iter().filter(|(at, _)| (millis..millis + tick).contains(at)) {
        node.clock.advance(SignedDuration::from_secs(*seconds));
    }
    if elapsed >= TROUBLE {
        node.link.heal();
    }
    node.restart_if_ended();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn two_gates_are_never_open_at_once_and_one_is_in_the_end(plans in prop::collection::vec(plan(), 2..4)) {
        let (most, last) = most_gates_open(&plans, &config("unused"));
        prop_assert!(most <= 1, "{most} gates were open at once");
        prop_assert_eq!(last, 1, "nobody leads after a calm minute");
    }
}

#[test]
fn the_property_sees_a_gate_that_stays_open_longer_than_the_lease() {
    let hung = Plan { faults: Vec::new(), pauses: vec![(5_000, 60_000)], jumps: Vec::new(), skew_seconds: 0 };
    let calm = Plan { pauses: Vec::new(), ..hung.clone() };
    let unsafe_config = LeaseConfig { renew_deadline: Duration::from_secs(40), ..config("unused") };
    assert_eq!(most_gates_open(&[hung.clone(), calm.clone()], &unsafe_config).0, 2);
    assert_eq!(most_gates_open(&[hung, calm], &config("unused")), (1, 1));
}
