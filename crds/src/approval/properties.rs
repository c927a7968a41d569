use super::fixtures::{ask, at, required, says};
use super::*;
use crate::v1alpha1::{ApprovalDecision, ApprovalPhase, RequiredApprovals, Verdict};
use proptest::prelude::*;

const GROUPS: [&str; 3] = ["a", "b", "c"];
const PEOPLE: [&str; 5] = ["p0", "p1", "p2", "p3", "p4"];
const NOW: &str = "2026-01-01T13:00:00Z";

/// Tries every way to seat people: written apart from the matching, for small numbers.
fn can_be_met(seats: &[String], people: &[(String, Vec<String>)]) -> bool {
    let Some((seat, rest)) = seats.split_first() else { return true };
    (0..people.len()).any(|i| {
        let mut others = people.to_vec();
        let (_, groups) = others.remove(i);
        groups.contains(seat) && can_be_met(rest, &others)
    })
}

fn groups_of(mask: u8) -> Vec<String> {
    GROUPS.iter().enumerate().filter(|(i, _)| mask & (1 << i) != 0).map(|(_, g)| (*g).to_owned()).collect()
}

fn demand() -> impl Strategy<Value = Vec<RequiredApprovals>> {
    prop::collection::vec(0i32..3, 3).prop_map(|counts| {
        let all: Vec<(&str, i32)> = GROUPS.iter().copied().zip(counts).filter(|(_, c)| *c > 0).collect();
        required(&all)
    })
}

fn word() -> impl Strategy<Value = (usize, u8, bool, u8)> {
    (0usize..5, 0u8..8, prop::bool::weighted(0.1), 0u8..8)
}

/// Each person once, as the map key has it.
fn decisions(request: &crate::v1alpha1::ApprovalRequest, words: &[(usize, u8, bool, u8)]) -> Vec<ApprovalDecision> {
    let mut seen = [false; 5];
    let mut all = Vec::new();
    for (person, groups, denies, flaw) in words {
        if std::mem::replace(&mut seen[*person], true) {
            continue;
        }
        let decision = if *denies { Verdict::Deny } else { Verdict::Approve };
        let groups = groups_of(*groups);
        let names: Vec<&str> = groups.iter().map(String::as_str).collect();
        let mut said = says(request, PEOPLE[*person], &names, decision, NOW);
        match flaw {
            0 => said.digest = "other".into(),
            1 => said.time = Some("2026-01-01T16:00:01Z".into()),
            2 => said.time = None,
            _ => {}
        }
        all.push(said);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_quorum_is_met_exactly_when_distinct_people_fill_every_seat(demand in demand(), masks in prop::collection::vec(0u8..8, 0..5), minimum in 0i32..5) {
        let people: Vec<(String, Vec<String>)> = masks.iter().enumerate().map(|(i, m)| (format!("p{i}"), groups_of(*m))).collect();
        let seats: Vec<String> = demand.iter().flat_map(|r| vec![r.group.clone(); r.count as usize]).collect();
        let counted = people.iter().filter(|(_, groups)| groups.iter().any(|g| seats.contains(g))).count();
        let expected = can_be_met(&seats, &people) && (counted as i32) >= minimum;
        let views: Vec<(&str, &[String])> = people.iter().map(|(n, g)| (n.as_str(), g.as_slice())).collect();
        prop_assert_eq!(missing(&demand, minimum, &views).is_empty(), expected);
    }

    #[test]
    fn the_order_of_words_changes_nothing_and_a_denial_always_wins(demand in demand(), words in prop::collection::vec(word(), 0..6), turn in 0usize..6) {
        let groups: Vec<(&str, i32)> = demand.iter().map(|r| (r.group.as_str(), r.count)).collect();
        let request = ask(&groups, 1);
        let said = decisions(&request, &words);
        let mut turned = said.clone();
        turned.rotate_left(turn % said.len().max(1));
        let approved = state(&request, &said, at(NOW)) == State::Approved;
        prop_assert_eq!(approved, state(&request, &turned, at(NOW)) == State::Approved);
        if said.iter().any(|d| d.decision == Verdict::Deny) {
            let denied = matches!(state(&request, &said, at(NOW)), State::Denied { .. });
            prop_assert!(denied);
        }
    }

    /// Words come one by one and turn, time goes on, sessions use what they find: whatever the order, nothing is opened against a denial, after the
    /// time, without the people, or more often than asked; what is final stays, and a no stands for its cool-down from when it was seen.
    #[test]
    fn no_order_of_events_opens_a_session_that_nobody_approved(
        words in prop::collection::vec(word(), 1..6),
        steps in prop::collection::vec((0u8..4, 0i64..5400), 1..30),
    ) {
        let request = ask(&[("a", 1), ("b", 1)], 2);
        let said = decisions(&request, &words);
        let mut object = super::fixtures::approval(request.clone(), vec![]);
        let (mut now, mut next, mut opened) = (at("2026-01-01T12:30:00Z"), 0, 0);
        for (step, seconds) in steps {
            now = now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
            let before = object.status.clone().unwrap_or_default();
            match step {
                0 if next < said.len() => {
                    object.spec.decisions.push(said[next].clone());
                    next += 1;
                }
                1 => object.status = Some(status(&object, now).0),
                3 => {
                    let count = object.spec.decisions.len().max(1);
                    let one = object.spec.decisions.get_mut(usize::try_from(seconds).unwrap() % count);
                    one.into_iter().for_each(|said| said.decision = Verdict::Deny);
                }
                _ if usable(&object, "new", now) => {
                    opened += 1;
                    let denied = object.spec.decisions.iter().any(|d| d.decision == Verdict::Deny);
                    prop_assert!(!denied);
                    prop_assert!(now < at(before.valid_until.as_ref().unwrap()));
                    prop_assert!(opened <= request.uses);
                    let good: Vec<_> = object.spec.decisions.iter().filter(|d| is_eligible(&request, d, now)).collect();
                    prop_assert!(good.len() >= 2);
                    object.status = Some(consume(&before, &format!("s{opened}")));
                }
                _ => {}
            }
            let after = object.status.clone().unwrap_or_default();
            if before.phase.is_some_and(|p| p.is_final()) && before.phase != Some(ApprovalPhase::Expired) {
                prop_assert_eq!(before.phase, after.phase);
            }
            prop_assert!(after.used >= before.used);
            if matches!(after.phase, Some(ApprovalPhase::Denied | ApprovalPhase::Withdrawn)) {
                let (seen, until) = (at(after.decided_at.as_ref().unwrap()), at(after.cool_down_until.as_ref().unwrap()));
                prop_assert_eq!(until.duration_since(seen), jiff::SignedDuration::from_mins(30));
                prop_assert!(after.valid_until.is_none() && (before.phase == after.phase || seen == now));
                prop_assert_eq!(refusal(&object, now).is_some(), now < until);
            }
        }
    }
}
