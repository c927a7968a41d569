use super::super::fixtures::{approval, at, settle, told};
use super::*;
use ApprovalPhase::{Approved, Denied, Expired, Withdrawn};
use EventKind::{Decided, Pending, Reminder};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

const ALL: &[EventKind] = &[Pending, Reminder, Decided];

fn told_now(approval: &Approval, events: &[EventKind], time: &str) -> Option<Notice> {
    due(approval, on_record(approval), events, at(&format!("2026-01-01T{time}Z")))
}

#[test]
fn people_hear_once_that_something_waits_and_once_that_time_is_short() {
    let new = approval("a");
    let (pending, reminded) = (told(new.clone(), "Pending"), told(new.clone(), "Reminder"));
    for (approval, events, time, expected) in [
        (&new, ALL, "12:00:30", Some(Notice::Pending)),
        (&pending, ALL, "12:01:00", None),
        (&pending, ALL, "15:00:00", None),
        (&pending, ALL, "15:00:01", Some(Notice::Reminder)),
        (&reminded, ALL, "15:30:00", None),
        // Nobody could be told for long: one message says both.
        (&new, ALL, "15:30:00", Some(Notice::Reminder)),
        (&new, &[Pending][..], "15:30:00", Some(Notice::Pending)),
        (&pending, &[Pending][..], "15:30:00", None),
        (&new, &[Reminder][..], "12:00:30", None),
        (&new, &[Reminder][..], "15:30:00", Some(Notice::Reminder)),
        (&new, &[Decided][..], "12:00:30", None),
        // Nobody can decide any more.
        (&new, ALL, "16:00:00", None),
    ] {
        assert_eq!(told_now(approval, events, time), expected, "{events:?} at {time}");
    }
}

#[test]
fn nobody_hears_of_what_is_not_theirs_to_decide_yet_or_any_more() {
    let mut unseen = approval("a");
    unseen.status = None;
    let mut going = approval("a");
    going.metadata.deletion_timestamp = Some(Time(at("2026-01-01T12:00:10Z")));
    for approval in [unseen, going] {
        assert_eq!(told_now(&approval, ALL, "12:00:30"), None);
    }
}

#[test]
fn decisions_are_told_once_while_they_are_news() {
    let decided = |phase, before: Option<&str>| {
        let waited = before.map_or_else(|| approval("a"), |reason| told(approval("a"), reason));
        settle(waited, phase, "so it is", "2026-01-01T13:00:00Z")
    };
    let mut over = decided(Expired, Some("Approved"));
    over.status.as_mut().unwrap().decided_at = Some("2026-01-01T13:00:00Z".into());
    for (approval, events, time, expected) in [
        (decided(Denied, Some("Pending")), ALL, "13:00:20", Some(Notice::Decided(Denied))),
        (decided(Denied, None), ALL, "13:00:20", Some(Notice::Decided(Denied))),
        (decided(Denied, Some("Denied")), ALL, "13:00:50", None),
        (decided(Denied, Some("Pending")), &[Pending, Reminder][..], "13:00:20", None),
        (decided(Denied, Some("Pending")), ALL, "14:00:00", None),
        (decided(Expired, Some("Reminder")), ALL, "13:00:20", Some(Notice::Decided(Expired))),
        (decided(Approved, Some("Pending")), ALL, "13:00:20", Some(Notice::Decided(Approved))),
        // A yes that is taken back is news at any time; that it has run out is none.
        (decided(Withdrawn, Some("Approved")), ALL, "15:00:00", Some(Notice::Decided(Withdrawn))),
        (over, ALL, "13:00:20", None),
    ] {
        assert_eq!(told_now(&approval, events, time), expected, "{:?} at {time}", on_record(&approval));
    }
}
