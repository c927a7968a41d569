use super::super::fixtures::{approval, ask, at, says};
use super::super::{is_eligible, status};
use super::*;
use crate::v1alpha1::ApprovalStatus;
use Verdict::{Approve, Deny};
use proptest::prelude::*;

const NOW: &str = "2026-01-01T13:00:00.7Z";
const STAMP: &str = "2026-01-01T13:00:00Z";
const LATE: &str = "2026-01-01T16:00:01Z";

fn groups(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// What a client writes: nothing of what is stamped.
fn written(who: &str, decision: Verdict) -> ApprovalDecision {
    ApprovalDecision { time: None, ..says(&ask(&[("security", 1), ("data", 1)], 1), who, &[], decision, NOW) }
}

fn with(decisions: &[ApprovalDecision]) -> Approval {
    approval(ask(&[("security", 1), ("data", 1)], 1), decisions.to_vec())
}

fn stamped(who: &str, decision: Verdict) -> ApprovalDecision {
    ApprovalDecision { groups: groups(&["security"]), time: Some(STAMP.into()), ..written(who, decision) }
}

fn as_user<'a>(username: &'a str, groups: &'a [String]) -> Writer<'a> {
    Writer { username, uid: Some("u-1"), groups }
}

fn by(who: &str, old: &Approval, new: &Approval, now: &str) -> Result<Decided, Refused> {
    decide(old, new, as_user(who, &groups(&["security", "system:authenticated", "others"])), at(now))
}

fn one(index: usize, decision: ApprovalDecision) -> Result<Decided, Refused> {
    Ok(Decided::One { index, decision: Box::new(decision) })
}

#[test]
fn what_a_client_wrote_in_the_stamps_is_overwritten() {
    let forged = ApprovalDecision {
        uid: Some("root".into()),
        groups: groups(&["security", "data", "system:masters"]),
        time: Some("1999-01-01T00:00:00Z".into()),
        comment: Some("fine\u{202E}\n\u{1b}[31m".into()),
        ..written("alice", Approve)
    };
    let expected =
        ApprovalDecision { uid: Some("u-1".into()), comment: Some("fine[31m".into()), ..stamped("alice", Approve) };
    assert_eq!(by("alice", &with(&[]), &with(&[forged]), NOW), one(0, expected));
}

#[test]
fn groups_of_the_cluster_itself_and_groups_that_are_not_asked_for_are_not_kept() {
    let mut old = with(&[]);
    old.spec.request.required = super::super::fixtures::required(&[("system:authenticated", 1), ("security", 1)]);
    let mut new = old.clone();
    new.spec.decisions = vec![written("alice", Approve)];
    let decided = by("alice", &old, &new, NOW).unwrap();
    assert!(matches!(decided, Decided::One { decision, .. } if decision.groups == ["security"]));
}

#[test]
fn others_stay_and_ones_own_yes_may_become_a_no() {
    let bob = stamped("bob", Approve);
    let old = with(&[bob.clone(), stamped("alice", Approve)]);
    let denies = ApprovalDecision { decision: Deny, ..stamped("alice", Approve) };
    let now = "2026-01-01T14:00:00Z";
    let expected = ApprovalDecision { uid: Some("u-1".into()), time: Some(now.into()), ..denies.clone() };
    assert_eq!(by("alice", &old, &with(&[bob.clone(), denies]), now), one(1, expected));
    let added = by("alice", &with(std::slice::from_ref(&bob)), &with(&[written("alice", Deny), bob]), NOW).unwrap();
    assert!(matches!(added, Decided::One { index: 0, decision } if decision.decision == Deny));
}

#[test]
fn repeating_oneself_changes_nothing_at_any_time() {
    let old = with(&[stamped("alice", Approve)]);
    assert_eq!(by("alice", &old, &old, LATE), Ok(Decided::Nothing));
    let again = ApprovalDecision { comment: Some("\u{200B}".into()), ..written("alice", Approve) };
    assert_eq!(by("alice", &old, &with(&[again]), LATE), one(0, stamped("alice", Approve)));
    let later =
        ApprovalDecision { time: Some(LATE.into()), uid: None, groups: groups(&["data"]), ..stamped("alice", Approve) };
    assert_eq!(by("alice", &old, &with(&[later]), LATE), one(0, stamped("alice", Approve)));
}

#[test]
fn each_refusal_names_the_field_and_the_fix() {
    let (empty, yes) = (with(&[]), with(&[written("alice", Approve)]));
    let both = with(&[stamped("alice", Approve), stamped("bob", Approve)]);
    let mut other_request = yes.clone();
    other_request.spec.request.uses = 999;
    let mut other_digest = yes.clone();
    other_digest.spec.decisions[0].digest = "0".repeat(64);
    let comment = ApprovalDecision { comment: Some("more".into()), ..stamped("alice", Approve) };
    let regrouped = ApprovalDecision { groups: groups(&["data"]), ..stamped("bob", Approve) };
    for (what, who, old, new, now, reason, parts) in [
        (
            "request",
            "alice",
            &empty,
            other_request,
            NOW,
            "ApproverNotEligible",
            ["spec.request", "write to spec.decisions only"],
        ),
        (
            "another's name",
            "mallory",
            &empty,
            yes.clone(),
            NOW,
            "ApproverNotEligible",
            ["approver=\"alice\"].approver", "you are \"mallory\""],
        ),
        (
            "another's groups",
            "alice",
            &both,
            with(&[stamped("alice", Approve), regrouped]),
            NOW,
            "ApproverNotEligible",
            ["approver=\"bob\"", "in your own name"],
        ),
        (
            "another's word dropped",
            "bob",
            &with(&[stamped("alice", Approve)]),
            with(&[written("bob", Approve)]),
            NOW,
            "ApproverNotEligible",
            ["\"alice\" would be taken away", "--field-manager=$USER"],
        ),
        (
            "one's own word dropped",
            "alice",
            &both,
            with(&[stamped("bob", Approve)]),
            NOW,
            "ApproverNotEligible",
            ["\"alice\" would be taken away", "/spec/decisions/-"],
        ),
        (
            "two at once",
            "alice",
            &empty,
            with(&[written("alice", Approve), written("bob", Approve)]),
            NOW,
            "ApproverNotEligible",
            ["2 decisions at once", "write one decision"],
        ),
        (
            "no to yes",
            "alice",
            &with(&[stamped("alice", Deny)]),
            yes.clone(),
            NOW,
            "ApproverNotEligible",
            ["only change from Approve to Deny", "leave it"],
        ),
        (
            "another comment",
            "alice",
            &with(&[stamped("alice", Approve)]),
            with(&[comment]),
            NOW,
            "ApproverNotEligible",
            ["you have decided Approve", "leave it"],
        ),
        (
            "excluded",
            "carol",
            &empty,
            with(&[written("carol", Approve)]),
            NOW,
            "ApproverNotEligible",
            ["\"carol\" asked for this, owns policy \"writer\" or changed it last", "ask somebody else"],
        ),
        ("digest", "alice", &empty, other_digest, NOW, "GrantChanged", [".digest", "read spec.request again"]),
        (
            "deadline",
            "alice",
            &empty,
            yes.clone(),
            LATE,
            "ApprovalExpired",
            ["2026-01-01T16:00:00Z (spec.request.deadline)", "asks again"],
        ),
        (
            "account",
            "system:serviceaccount:a:b",
            &empty,
            with(&[written("system:serviceaccount:a:b", Deny)]),
            NOW,
            "ApproverNotEligible",
            ["is no person", "decide as yourself"],
        ),
        (
            "nobody",
            "",
            &empty,
            with(&[written("", Deny)]),
            NOW,
            "ApproverNotEligible",
            ["is no person", "decide as yourself"],
        ),
    ] {
        let refused = by(who, old, &new, now).unwrap_err();
        assert_eq!(refused.reason.as_str(), reason, "{what}: {refused}");
        for part in parts {
            assert!(refused.message.contains(part), "{what}: {part:?} is not in {refused}");
        }
    }
    let outside = groups(&["others", "system:masters"]);
    let refused = decide(&empty, &yes, as_user("alice", &outside), at(NOW)).unwrap_err();
    assert!(refused.message.contains("in none of the groups that must approve (security, data)"), "{refused}");
}

#[test]
fn a_denial_needs_no_group_and_the_excluded_may_deny() {
    for who in ["carol", "alice"] {
        let decided = decide(&with(&[]), &with(&[written(who, Deny)]), as_user(who, &[]), at(NOW)).unwrap();
        assert!(matches!(decided, Decided::One { decision, .. } if decision.groups.is_empty()), "{who}");
    }
}

/// Each of phases and words, before and after the deadline: what is final stays, what opened sessions can be taken back.
#[test]
fn who_may_still_say_what() {
    use ApprovalPhase::{Approved, Denied, Expired, Pending, Withdrawn};
    for (phase, used, yes, no, late_yes, late_no) in [
        (Pending, 0, true, true, false, false),
        (Approved, 0, false, true, false, true),
        (Approved, 3, false, true, false, true),
        (Expired, 0, false, false, false, false),
        (Expired, 3, false, true, false, true),
        (Denied, 0, false, false, false, false),
        (Withdrawn, 3, false, false, false, false),
    ] {
        let mut asked = with(&[]);
        asked.status = Some(ApprovalStatus { phase: Some(phase), used, ..ApprovalStatus::default() });
        let may = |verdict, now| may_decide(&asked, verdict, as_user("alice", &groups(&["security"])), at(now)).is_ok();
        let said = (may(Approve, NOW), may(Deny, NOW), may(Approve, LATE), may(Deny, LATE));
        assert_eq!(said, (yes, no, late_yes, late_no), "{phase:?} used {used}");
    }
    let mut unreadable = with(&[]);
    unreadable.spec.request.deadline = "soon".into();
    assert!(may_decide(&unreadable, Approve, as_user("alice", &groups(&["security"])), at(NOW)).is_err());
}

#[test]
fn nobody_is_taken_who_is_not_needed_any_more_and_a_no_always_is() {
    let data = ApprovalDecision { groups: groups(&["data"]), ..stamped("ben", Approve) };
    let met = with(&[stamped("ann", Approve), data]);
    let write = |old: &Approval, who: &str, decision| {
        let mut new = old.clone();
        new.spec.decisions.push(written(who, decision));
        by(who, old, &new, NOW)
    };
    let refused = write(&met, "alice", Approve).unwrap_err();
    assert!(
        refused.message.contains("everybody who is needed has approved; leave it; a no is still taken"),
        "{refused}"
    );
    assert!(write(&met, "alice", Deny).is_ok());
    assert!(matches!(by("ann", &met, &met, NOW), Ok(Decided::Nothing)), "who said it may repeat it");

    let full: Vec<_> = (0..MAX_PEOPLE).map(|n| stamped(&format!("p{n}"), Approve)).collect();
    let refused = write(&with(&full), "alice", Approve).unwrap_err();
    assert!(refused.message.contains("the last place is kept for a no"), "{refused}");
    assert!(write(&with(&full), "alice", Deny).is_ok());
}

proptest! {
    /// Many people say yes, in whatever groups and order: never more than the list takes, and whoever says no is heard.
    #[test]
    fn there_is_always_room_for_a_no(
        counts in (0i32..8, 0i32..8), people in prop::collection::vec((0usize..24, any::<bool>(), any::<bool>()), 0..40)
    ) {
        let asked: Vec<_> = [("security", counts.0), ("data", counts.1)].into_iter().filter(|(_, n)| *n > 0).collect();
        prop_assume!(!asked.is_empty());
        let mut object = approval(ask(&asked, 1), vec![]);
        let say = |object: &Approval, who: &str, decision, mine: &[String]| {
            let mut new = object.clone();
            new.spec.decisions.retain(|d| d.approver != who);
            new.spec.decisions.push(ApprovalDecision { digest: object.spec.request.digest.clone(), ..written(who, decision) });
            decide(object, &new, as_user(who, mine), at(NOW))
        };
        for (person, security, data) in people {
            let mine: Vec<String> = [("security", security), ("data", data)].into_iter().filter(|(_, is)| *is).map(|(g, _)| g.to_owned()).collect();
            let who = format!("p{person}");
            if object.spec.decisions.iter().all(|d| d.approver != who)
                && let Ok(Decided::One { decision, .. }) = say(&object, &who, Approve, &mine)
            {
                prop_assert!(state(&object.spec.request, &object.spec.decisions, at(NOW)) != State::Approved);
                object.spec.decisions.push(*decision);
                object.status = Some(status(&object, at(NOW)).0);
            }
            prop_assert!(object.spec.decisions.len() <= MAX_PEOPLE);
            for who in ["stranger", who.as_str()] {
                prop_assert!(say(&object, who, Deny, &[]).is_ok(), "{who} is not heard");
            }
        }
    }

    /// Whoever writes whatever: what is stored as a yes counts as one, in the writer's name, and everybody else's word is as it was.
    #[test]
    fn what_is_stored_counts_and_is_the_writers_own(
        who in prop_oneof![Just("alice"), Just("bob"), Just("carol"), Just("system:admin")],
        name in prop_oneof![Just("alice"), Just("bob"), Just("carol"), Just("system:admin")],
        verdict in prop_oneof![Just(Approve), Just(Deny)],
        mine in proptest::sample::subsequence(vec!["security", "data", "others"], 0..=3),
        claimed in proptest::sample::subsequence(vec!["security", "data", "system:masters"], 0..=3),
        bob_said in any::<bool>(),
        minutes in 0i64..300,
    ) {
        let now = at("2026-01-01T12:00:00Z") + jiff::SignedDuration::from_mins(minutes);
        let old = if bob_said { with(&[stamped("bob", Approve)]) } else { with(&[]) };
        let mut new = old.clone();
        new.spec.decisions.retain(|d| d.approver != name);
        new.spec.decisions.push(ApprovalDecision { groups: groups(&claimed), ..written(name, verdict) });
        let mine = groups(&mine);
        let Ok(Decided::One { index, decision }) = decide(&old, &new, as_user(who, &mine), now) else { return Ok(()) };
        prop_assert_eq!(&decision.approver, who);
        let repeated = old.spec.decisions.contains(&decision);
        if decision.decision == Approve && !repeated {
            prop_assert!(is_eligible(&old.spec.request, &decision, now));
            prop_assert!(!decision.groups.is_empty());
        }
        prop_assert!(repeated || decision.groups.iter().all(|g| mine.contains(g) && g != "others"));
        let mut stored = new.clone();
        stored.spec.decisions[index] = *decision;
        for before in &old.spec.decisions {
            prop_assert!(before.approver == who || stored.spec.decisions.contains(before));
        }
        prop_assert_eq!(decide(&old, &stored, as_user(who, &mine), now).map(|d| matches!(d, Decided::Nothing)), Ok(repeated), "asked again");
        status(&stored, now);
    }
}
