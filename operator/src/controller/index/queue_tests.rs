use super::*;
use exeat_crds::v1alpha1::{ApprovalPhase, ApprovalRequest, ApprovalSpec, ApprovalStatus};
use exeat_crds::{approval, condition};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

const MOST: usize = 3;

fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    start.checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

fn question(name: &str) -> Approval {
    let mut approval = Approval::new(name, ApprovalSpec { request: ApprovalRequest::default(), decisions: vec![] });
    approval.metadata.namespace = Some("agents".into());
    approval
}

fn settled(approval: &Approval, phase: ApprovalPhase, reason: &str, now: Timestamp) -> Approval {
    let decided_at = (phase != ApprovalPhase::Expired).then(|| now.to_string());
    let mut status = ApprovalStatus { phase: Some(phase), decided_at, ..ApprovalStatus::default() };
    condition::set(&mut status.conditions, "Decided", true, reason, "", None, now);
    Approval { status: Some(status), ..approval.clone() }
}

/// The API server, what its watch has not told yet, and who is asking.
#[derive(Default)]
struct World {
    queue: Queue,
    server: BTreeMap<String, Approval>,
    untold: VecDeque<Event<Approval>>,
    under_way: Vec<Key<Approval>>,
}

impl World {
    fn begin(&mut self, name: &str, now: Timestamp) {
        let key = Key::from_obj(&question(name));
        if self.queue.take_place(&key, MOST, now) {
            self.under_way.push(key);
        }
    }

    /// The API server takes or refuses what is under way, or takes it and the answer is lost.
    fn answer(&mut self, how: u8) {
        let Some(key) = self.under_way.pop() else { return };
        if how > 0 && !self.server.contains_key(&key.name) {
            let approval = question(&key.name);
            self.untold.push_back(Event::Apply(approval.clone()));
            self.server.insert(key.name.clone(), approval);
        }
        self.queue.asked(&key, how == 0);
    }

    fn settle(&mut self, name: &str, how: u8, now: Timestamp) {
        let Some(approval) = self.server.get_mut(name).filter(|a| a.status.is_none()) else { return };
        *approval = match how {
            0 => settled(approval, ApprovalPhase::Approved, "Ready", now),
            1 => settled(approval, ApprovalPhase::Denied, "ApprovalDenied", now),
            _ => settled(approval, ApprovalPhase::Expired, "ApprovalUnneeded", now),
        };
        self.untold.push_back(Event::Apply(approval.clone()));
    }

    fn tell(&mut self) {
        if let Some(event) = self.untold.pop_front() {
            self.queue.follow(&event);
        }
    }

    /// The watch starts anew, with a list of what is there.
    fn list(&mut self) {
        self.untold.clear();
        self.queue.follow(&Event::Init);
        self.server.values().for_each(|a| self.queue.follow(&Event::InitApply(a.clone())));
        self.queue.follow(&Event::InitDone);
    }

    fn open(&self) -> usize {
        self.server.values().filter(|a| a.status.is_none()).count()
    }

    fn in_vain(&self, now: Timestamp) -> usize {
        let since = now.checked_sub(VAIN_COUNTS).unwrap();
        let vain_at = |a: &Approval| approval::moot_at(a).or_else(|| approval::refused_at(a));
        self.server.values().filter(|a| vain_at(a).is_some_and(|t| t > since)).count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever asks at once, whatever is refused or lost, however late the watch is: the bound holds, and no place is lost.
    #[test]
    fn the_bound_holds_in_every_order(steps in prop::collection::vec((0u8..8, 0u8..12, 0u8..3), 1..120)) {
        let mut world = World::default();
        for (second, (step, name, how)) in steps.into_iter().enumerate() {
            let (now, name) = (at(second.try_into().unwrap()), format!("q{name}"));
            match step {
                0..=2 => world.begin(&name, now),
                3 | 4 => world.answer(how),
                5 => world.settle(&name, how, now),
                6 => world.tell(),
                _ if how == 0 => world.list(),
                _ => world.tell(),
            }
            prop_assert!(world.open() <= MOST);
            prop_assert!(world.open() + world.in_vain(now) <= 2 * MOST);
        }
        while !world.under_way.is_empty() {
            world.answer(1);
        }
        while !world.untold.is_empty() {
            world.tell();
        }
        let now = at(200);
        let room = world.open() < MOST && world.open() + world.in_vain(now) < 2 * MOST;
        prop_assert_eq!(world.queue.has_room("agents", MOST, now), room);
        prop_assert!(world.queue.asking.is_empty());
    }
}

#[test]
fn who_asks_again_and_again_in_vain_waits_for_the_hour_to_pass() {
    for (how, room) in [(0, true), (1, false), (2, false)] {
        let mut world = World::default();
        for n in 0..2 * MOST {
            let name = format!("q{n}");
            world.begin(&name, at(60));
            world.answer(1);
            world.settle(&name, how, at(60));
            world.list();
        }
        assert_eq!(world.queue.has_room("agents", MOST, at(61)), room, "{how}");
        assert!(world.queue.has_room("others", MOST, at(61)));
        assert!(world.queue.has_room("agents", MOST, at(3660)));
    }
}

#[test]
fn one_of_those_who_would_ask_the_same_does_and_a_lost_question_gives_its_place_back() {
    let mut queue = Queue::default();
    let key = Key::from_obj(&question("a"));
    assert!(queue.take_place(&key, 1, at(0)) && !queue.take_place(&key, 1, at(0)));
    queue.asked(&key, false);
    assert!(queue.take_place(&key, 1, at(1)), "its answer may have been lost: it is asked again");
    queue.asked(&key, false);
    assert!(!queue.has_room("agents", 1, at(2)));
    assert!(queue.has_room("agents", 1, at(601)), "it was never seen");
}
