use super::*;
use exeat_crds::v1alpha1::{CredentialSessionSpec, SessionRequest};
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: &str = "2026-01-01T12:00:00Z";
const SINCE: &str = "2026-01-01T11:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn record(replica: &str) -> StreamRecord {
    StreamRecord { replica: replica.into(), since: SINCE.into(), lost_at: None }
}

/// A replica that was started before the record, and is ready.
fn replica() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "namespace": "exeat-system"},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T10:00:05Z"}],
            "containerStatuses": [
                {"name": "mesh", "image": "i", "imageID": "", "ready": true, "restartCount": 9, "state": {"running": {"startedAt": "2026-01-01T11:59:00Z"}}},
                {"name": "issuer", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T10:00:00Z"}}}]
        }
    })
}

fn unready(pod: &mut Value, status: &str, at: &str) {
    pod["status"]["conditions"][0] = json!({"type": "Ready", "status": status, "lastTransitionTime": at});
}

fn started(pod: &mut Value, at: &str) {
    pod["status"]["containerStatuses"][1]["state"]["running"]["startedAt"] = json!(at);
}

#[test]
fn a_replica_serves_unless_it_is_gone_started_anew_or_lost() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change, bool); 14] = [
        ("as it was", |_| {}, true),
        ("told to go", |p| p["metadata"]["deletionTimestamp"] = json!(NOW), false),
        ("ended", |p| p["status"]["phase"] = json!("Failed"), false),
        ("evicted", |p| p["status"]["phase"] = json!("Succeeded"), false),
        ("started in the second of the record", |p| started(p, SINCE), true),
        ("started after it", |p| started(p, "2026-01-01T11:00:01Z"), false),
        (
            "crashing",
            |p| p["status"]["containerStatuses"][1]["state"] = json!({"waiting": {"reason": "CrashLoopBackOff"}}),
            false,
        ),
        ("nothing said of its container", |p| p["status"]["containerStatuses"] = json!([]), true),
        ("unready for a while", |p| unready(p, "False", "2026-01-01T11:58:00Z"), false),
        ("unknown for a while", |p| unready(p, "Unknown", "2026-01-01T11:58:00Z"), false),
        ("unready just now", |p| unready(p, "False", "2026-01-01T11:59:01Z"), true),
        ("unready for a minute", |p| unready(p, "False", "2026-01-01T11:59:00Z"), false),
        ("on record since it is unready", |p| unready(p, "False", "2026-01-01T10:59:59Z"), true),
        ("without a status", |p| p["status"] = json!(null), true),
    ];
    for (what, change, expected) in cases {
        let mut pod = replica();
        change(&mut pod);
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(serves(Some(&pod), &record("one"), at(NOW)), expected, "{what}");
    }
    assert!(!serves(None, &record("one"), at(NOW)), "no such pod");
}

fn session() -> Arc<CredentialSession> {
    let mut session =
        CredentialSession::new("session", CredentialSessionSpec { request: SessionRequest::default(), revoke: None });
    session.metadata.uid = Some("uid".into());
    Arc::new(session)
}

#[test]
fn what_stays_orphaned_is_lost_from_the_first_look_on() {
    let (session, one) = (session(), record("one"));
    let mut suspects = Suspects::default();
    let mut look = |orphaned: Option<&StreamRecord>, now: &str| {
        let due = suspects.look(orphaned.map(|record| (&session, record)).into_iter(), at(now));
        due.into_iter().next().map(|(_, lost)| lost.to_string())
    };
    assert_eq!(look(Some(&one), "2026-01-01T12:00:00Z"), None);
    assert_eq!(look(Some(&one), "2026-01-01T12:00:19Z"), None);
    assert_eq!(look(Some(&one), "2026-01-01T12:00:20Z").as_deref(), Some("2026-01-01T12:00:00Z"));
    assert_eq!(
        look(Some(&one), "2026-01-01T12:00:30Z").as_deref(),
        Some("2026-01-01T12:00:00Z"),
        "until it is written"
    );
    assert_eq!(look(None, "2026-01-01T12:00:40Z"), None, "it came back");
    assert_eq!(look(Some(&one), "2026-01-01T12:00:50Z"), None, "and counts anew");
    assert_eq!(look(Some(&record("two")), "2026-01-01T12:01:10Z"), None, "another replica had it in between");
}

proptest! {
    /// However long looks take and whoever has the stream in between: a record is lost only if it was orphaned at every look of the last
    /// 20 seconds, and then from the first of these on.
    #[test]
    fn nothing_is_lost_that_was_not_orphaned_throughout(steps in prop::collection::vec((1i64..30, prop::option::of(0usize..2)), 1..40)) {
        let (session, records) = (session(), [record("one"), record("two")]);
        let (mut suspects, mut now) = (Suspects::default(), at(NOW));
        let mut orphaned_since: Option<(usize, Timestamp)> = None;
        for (seconds, orphaned) in steps {
            now = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
            orphaned_since = orphaned.map(|index| match orphaned_since {
                Some((before, since)) if before == index => (index, since),
                _ => (index, now),
            });
            let due = suspects.look(orphaned.map(|index| (&session, &records[index])).into_iter(), now);
            let expected = orphaned_since.map(|(_, since)| since).filter(|since| now.duration_since(*since).as_secs() >= 20);
            prop_assert_eq!(due.first().map(|(_, lost)| *lost), expected);
        }
    }
}
