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
    /// The approval that it is about, or that the session waits for or rests on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub approval: String,
    /// The person who decided.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub approver: String,
    /// The credential, as its provider knows it.
    #[serde(skip_serializing_if = "String::is_empty", rename = "credentialID")]
    pub credential_id: String,
}

impl Happened {
    /// Of an Event about a session or an approval.
    pub fn of_event(event: &Event) -> Option<Self> {
        let about = event.regarding.as_ref()?;
        let name = about.name.clone().unwrap_or_default();
        let (session, approval) = match about.kind.as_deref()? {
            "CredentialSession" => (name, String::new()),
            "Approval" => (String::new(), name),
            _ => return None,
        };
        let related = event.related.as_ref().and_then(|related| related.name.clone());
        Some(Self {
            time: event_time(event)?,
            source: "event".to_owned(),
            event: event.reason.clone().unwrap_or_default(),
            reason: String::new(),
            namespace: event.namespace().unwrap_or_default(),
            session,
            pod: related.unwrap_or_default(),
            message: event.note.clone().unwrap_or_default(),
            approval,
            approver: String::new(),
            credential_id: String::new(),
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
            approval: text("approval"),
            approver: text("approver"),
            credential_id: text("credentialID"),
        })
    }

    /// Whether it happened to an approval: one serves many sessions, so its own records name none, or one that it serves alone.
    fn is_of_approval(&self) -> bool {
        self.event.starts_with("Approval")
    }

    /// What an Event and the record of the same moment have in common. Of an approval also what is told: several people decide on one.
    fn moment(&self) -> (String, String, String, String) {
        let (subject, told) = match (self.is_of_approval(), self.source.as_str()) {
            (false, _) => (&self.session, String::new()),
            (true, "event") => (&self.approval, self.message.clone()),
            (true, _) => (&self.approval, format!("{}: {}", self.reason, self.message)),
        };
        let told = told.chars().take(COMPARED).collect();
        (self.namespace.clone(), subject.clone(), self.event.clone(), told)
    }
}

/// An Event's note may be cut where a record's message is not.
const COMPARED: usize = 200;

/// All that happened to a session, and to the approvals that it waited for or rested on: those that its own records name, and `known` ones,
/// each with its namespace.
pub fn of_session(all: Vec<Happened>, session: &str, known: BTreeSet<(String, String)>) -> Vec<Happened> {
    let own = |one: &Happened| one.session == session;
    let named = all.iter().filter(|one| own(one) && !one.approval.is_empty());
    let mut approvals: BTreeSet<_> = named.map(|one| (one.namespace.clone(), one.approval.clone())).collect();
    approvals.extend(known);
    let asked = |one: &Happened| {
        one.session.is_empty()
            && one.is_of_approval()
            && approvals.contains(&(one.namespace.clone(), one.approval.clone()))
    };
    all.into_iter().filter(|one| own(one) || asked(one)).collect()
}

/// The audit record that a line of a log is, if it is one.
pub fn parse(line: &str) -> Option<Record> {
    serde_json::from_str::<Record>(line).ok().filter(|record| record.has("audit") && record.has("event"))
}

/// Puts both in order. An Event says what a record of the same moment says: it is left out where records tell of its session.
pub fn merge(events: Vec<Happened>, records: Vec<Happened>) -> Vec<Happened> {
    let recorded: BTreeSet<_> = records.iter().map(Happened::moment).collect();
    let missing = |e: &Happened| !recorded.contains(&e.moment());
    let mut all: Vec<Happened> = events.into_iter().filter(missing).chain(records).collect();
    all.sort_by(|a, b| a.time.cmp(&b.time).then_with(|| a.session.cmp(&b.session)));
    all
}

/// The table of what happened to many sessions.
pub fn table(all: &[Happened], namespaces: bool) -> Table {
    let columns = ["NAMESPACE", "TIME", "SOURCE", "EVENT", "REASON", "SESSION", "MESSAGE"];
    rows(all, namespaces, &columns, &["POD", "APPROVAL", "APPROVER", "CREDENTIAL"])
}

/// The table of what happened to one session: who approved, and every credential.
pub fn table_of_one(all: &[Happened], namespaces: bool) -> Table {
    let columns = ["NAMESPACE", "TIME", "SOURCE", "EVENT", "REASON", "APPROVER", "CREDENTIAL", "MESSAGE"];
    rows(all, namespaces, &columns, &["POD", "APPROVAL"])
}

fn rows(all: &[Happened], namespaces: bool, columns: &[&'static str], wide: &[&'static str]) -> Table {
    let columns = if namespaces { columns } else { columns.get(1..).unwrap_or_default() };
    let mut table = Table::new(columns, wide);
    for one in all {
        table.row(columns.iter().chain(wide).map(|column| one.cell(column)).collect());
    }
    table
}

impl Happened {
    fn cell(&self, column: &str) -> Cell {
        let text = match column {
            "NAMESPACE" => &self.namespace,
            "TIME" => return exeat_crds::condition::whole_seconds(self.time).to_string().into(),
            "SOURCE" => &self.source,
            "EVENT" => return Cell::new(&self.event).tone(self.tone()),
            "REASON" => &self.reason,
            "SESSION" => &self.session,
            "POD" => &self.pod,
            "APPROVAL" => &self.approval,
            "APPROVER" => &self.approver,
            "CREDENTIAL" => &self.credential_id,
            _ => &self.message,
        };
        Cell::new(text)
    }

    fn tone(&self) -> Tone {
        let bad = ["Denied", "Revoked", "Refused", "Conflict", "Silent"].iter().any(|word| self.event.contains(word));
        if bad { Tone::Warn } else { Tone::Plain }
    }
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

    #[test]
    fn an_approval_is_told_by_events_too_and_each_persons_word_once() {
        let event = |kind: &str, note: &str| {
            let event = json!({"metadata": {"namespace": "agents", "creationTimestamp": "2026-01-01T00:00:01Z"}, "eventTime": null,
                "reason": "ApprovalDecided", "note": note, "regarding": {"kind": kind, "name": "fleet-1"}});
            Happened::of_event(&serde_json::from_value(event).unwrap())
        };
        assert_eq!(event("Pod", "x"), None);
        let events =
            ["Approve: ann approves", "Approve: ben approves: go"].map(|note| event("Approval", note).unwrap());
        let record = json!({"audit": "exeat.dev/v1", "time": "2026-01-01T00:00:02Z", "program": "controller", "event": "ApprovalDecided",
            "reason": "Approve", "message": "ben approves: go", "namespace": "agents", "session": "", "approval": "fleet-1", "approver": "ben"});
        let record = Happened::of_record(&parse(&record.to_string()).unwrap()).unwrap();
        let all = merge(events.to_vec(), vec![record]);
        let told: Vec<_> = all.iter().map(|h| (h.source.as_str(), h.message.as_str())).collect();
        assert_eq!(told, [("event", "Approve: ann approves"), ("controller", "ben approves: go")]);
        let known = BTreeSet::from([("agents".to_owned(), "fleet-1".to_owned())]);
        let shown = of_session(all, "s-1", known);
        let text = table_of_one(&shown, false).render(true, Paint(false));
        assert!(
            shown.len() == 2
                && text.contains("Approve   ben        -            ben approves: go        -     fleet-1"),
            "{text}"
        );
    }
}
