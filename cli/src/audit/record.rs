//! One thing that happened, whether an Event or an audit record tells it.

use crate::output::{Cell, Table, Tone};
use crate::sessions::event_time;
use exeat_audit::record::Record;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use serde::Serialize;
use std::collections::BTreeSet;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Happened {
    /// When.
    pub time: Timestamp,
    /// `event`, or the program whose record it is.
    pub source: String,
    /// What.
    pub event: String,
    /// Stable reason code.
    pub reason: String,
    /// Namespace of the session.
    pub namespace: String,
    /// The session.
    pub session: String,
    /// Its pod.
    pub pod: String,
    /// For people.
    pub message: String,
}

impl Happened {
    /// Of an Event about a session.
    pub fn of_event(event: &Event) -> Option<Self> {
        let about = event.regarding.as_ref().filter(|about| about.kind.as_deref() == Some("CredentialSession"))?;
        let related = event.related.as_ref().and_then(|related| related.name.clone());
        Some(Self {
            time: event_time(event)?,
            source: "event".to_owned(),
            event: event.reason.clone().unwrap_or_default(),
            reason: String::new(),
            namespace: event.namespace().unwrap_or_default(),
            session: about.name.clone().unwrap_or_default(),
            pod: related.unwrap_or_default(),
            message: event.note.clone().unwrap_or_default(),
        })
    }

    /// Of an audit record.
    pub fn of_record(record: &Record) -> Option<Self> {
        let text = |field: &str| record.text(field).unwrap_or_default().to_owned();
        Some(Self {
            time: record.text("time")?.parse().ok()?,
            source: text("program"),
            event: text("event"),
            reason: text("reason"),
            namespace: text("namespace"),
            session: text("session"),
            pod: text("pod"),
            message: text("message"),
        })
    }
}

/// The audit record that a line of a log is, if it is one.
pub fn parse(line: &str) -> Option<Record> {
    serde_json::from_str::<Record>(line).ok().filter(|record| record.has("audit") && record.has("event"))
}

/// Puts both in order. An Event says what a record of the same moment says: it is left out where records tell of its session.
pub fn merge(events: Vec<Happened>, records: Vec<Happened>) -> Vec<Happened> {
    let recorded: BTreeSet<(String, String, String)> =
        records.iter().map(|r| (r.namespace.clone(), r.session.clone(), r.event.clone())).collect();
    let missing = |e: &Happened| !recorded.contains(&(e.namespace.clone(), e.session.clone(), e.event.clone()));
    let mut all: Vec<Happened> = events.into_iter().filter(missing).chain(records).collect();
    all.sort_by(|a, b| a.time.cmp(&b.time).then_with(|| a.session.cmp(&b.session)));
    all
}

/// The table of what happened.
pub fn table(all: &[Happened], namespaces: bool) -> Table {
    let columns = ["NAMESPACE", "TIME", "SOURCE", "EVENT", "REASON", "SESSION", "MESSAGE"];
    let skip = usize::from(!namespaces);
    let mut table = Table::new(&columns[skip..], &["POD"]);
    for one in all {
        let bad = ["Denied", "Revoked", "Refused", "Conflict", "Silent"].iter().any(|word| one.event.contains(word));
        let tone = if bad { Tone::Warn } else { Tone::Plain };
        let time = exeat_crds::condition::whole_seconds(one.time).to_string();
        let cells = vec![
            one.namespace.as_str().into(),
            time.into(),
            one.source.as_str().into(),
            Cell::new(&one.event).tone(tone),
            one.reason.as_str().into(),
            one.session.as_str().into(),
            one.message.as_str().into(),
            one.pod.as_str().into(),
        ];
        table.row(cells.into_iter().skip(skip).collect());
    }
    table
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::output::Paint;
    use serde_json::json;

    pub(crate) fn line(sequence: u64, event: &str) -> String {
        json!({"audit": "exeat.dev/v1", "time": format!("2026-01-01T00:00:0{sequence}Z"), "program": "issuer", "writer": "w", "boot": "b",
            "sequence": sequence, "event": event, "reason": "Active", "message": "a,\"b\"", "namespace": "agents", "session": "s-1", "pod": "p",
            "key": "k", "previous": "0", "mac": "1"})
        .to_string()
    }

    #[test]
    fn records_stand_for_their_events() {
        assert!(parse("{\"level\":\"INFO\"}").is_none() && parse("text").is_none());
        let records: Vec<_> = [line(3, "CredentialsIssued"), line(2, "CredentialsIntended")]
            .iter()
            .filter_map(|l| Happened::of_record(&parse(l)?))
            .collect();
        let event = |reason: &str| {
            let event = json!({"metadata": {"namespace": "agents", "creationTimestamp": "2026-01-01T00:00:01Z"}, "eventTime": null, "reason": reason, "note": "n",
                "regarding": {"kind": "CredentialSession", "name": "s-1"}, "related": {"kind": "Pod", "name": "p"}});
            Happened::of_event(&serde_json::from_value(event).unwrap()).unwrap()
        };
        let all = merge(vec![event("SessionCreated"), event("CredentialsIssued")], records);
        let told: Vec<_> = all.iter().map(|h| (h.source.as_str(), h.event.as_str())).collect();
        assert_eq!(
            told,
            [("event", "SessionCreated"), ("issuer", "CredentialsIntended"), ("issuer", "CredentialsIssued")]
        );
        let text = table(&all, false).render(false, Paint(false));
        assert!(text.contains("2026-01-01T00:00:02Z   issuer   CredentialsIntended   Active   s-1"), "{text}");
    }
}
