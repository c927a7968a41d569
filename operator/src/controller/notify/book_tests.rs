use super::super::fixtures::{approval, at, told};
use super::*;

const NOW: &str = "2026-01-01T12:00:30Z";
const EVENTS: &[EventKind] = &[EventKind::Pending, EventKind::Reminder];

fn names(told: &[Told]) -> Vec<(String, &'static str)> {
    told.iter().map(|(approval, notice)| (approval.name_any(), notice.reason())).collect()
}

#[test]
fn what_is_nearest_to_its_deadline_comes_first() {
    let mut soon = approval("z");
    soon.spec.request.deadline = "2026-01-01T14:00:00Z".into();
    let all = [approval("b"), approval("a"), soon].map(Arc::new);
    let due = Book::default().due(&all, EVENTS, at(NOW));
    assert_eq!(names(&due).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["z", "a", "b"]);
}

#[test]
fn nothing_is_told_twice_while_the_watch_is_behind_or_the_record_fails() {
    let all = [approval("a"), approval("b")].map(Arc::new);
    let mut book = Book::default();
    let due = book.due(&all, EVENTS, at(NOW));
    assert_eq!(due.len(), 2);
    book.told(due.into_iter().take(1));
    // What had no room in the message is still due.
    assert_eq!(names(&book.due(&all, EVENTS, at(NOW))), [("b".to_owned(), "Pending")]);
    assert_eq!(names(&book.unrecorded()), [("a".to_owned(), "Pending")]);
    book.recorded(&all[0]);
    assert!(book.unrecorded().is_empty());
    assert_eq!(names(&book.due(&all, EVENTS, at(NOW))), [("b".to_owned(), "Pending")]);
    let late = book.due(&all[..1], EVENTS, at("2026-01-01T15:30:00Z"));
    assert_eq!(names(&late), [("a".to_owned(), "Reminder")]);
}

#[test]
fn another_leader_goes_by_the_record() {
    let all = [told(approval("a"), "Pending"), approval("b")].map(Arc::new);
    assert_eq!(names(&Book::default().due(&all, EVENTS, at(NOW))), [("b".to_owned(), "Pending")]);
}

#[test]
fn what_is_gone_is_forgotten() {
    let all = [approval("a")].map(Arc::new);
    let mut book = Book::default();
    let due = book.due(&all, EVENTS, at(NOW));
    book.told(due);
    assert!(book.due(&[], EVENTS, at(NOW)).is_empty());
    assert!(book.unrecorded().is_empty());
    assert_eq!(book.due(&all, EVENTS, at(NOW)).len(), 1);
}
