//! Finds what was done to an audit log: a record that was removed, changed, moved, repeated, brought in from elsewhere, or cut off the end.
//! Pure: it gets lines, keys and heads. Records of several chains may stand in one file, among lines of others.

mod finding;
mod slots;

pub use finding::{Code, Finding};

use crate::chain::Origin;
use crate::heads::{Anchor, entry_name};
use crate::key::Key;
use crate::record::{FORMAT, MAC_FIELD, Mac, Record};
use serde::Serialize;
use slots::{Slot, Slots, Standing};
use std::collections::BTreeMap;

/// The keys that records may be signed with.
#[derive(Debug, Default)]
pub struct Keys(Vec<(String, Key)>);

impl Keys {
    /// Adds a key of `program`; there may be several, of before and after a change of keys.
    pub fn add(&mut self, program: &str, key: Key) {
        self.0.push((program.to_owned(), key));
    }

    /// A program's records are signed with its own key: another one's proves nothing.
    fn find(&self, program: &str, id: &str) -> Option<&Key> {
        self.0.iter().find(|(of, key)| of == program && key.id() == id).map(|(_, key)| key)
    }
}

/// What is known of one chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainSummary {
    /// Whose it is.
    #[serde(flatten)]
    pub origin: Origin,
    /// Records that are not found to be changed.
    pub records: u64,
    /// The first one's place.
    pub first: u64,
    /// The last one's place.
    pub last: u64,
    /// The place up to which the heads vouch that nothing was cut off; none: no head of this chain was given.
    pub anchored: Option<u64>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each chain of the log.
    pub chains: Vec<ChainSummary>,
    /// Lines that are no audit records.
    #[serde(rename = "otherLines")]
    pub foreign: u64,
    /// What is wrong, by line; what is about no line comes last.
    pub findings: Vec<Finding>,
}

/// What the log is expected to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// Every chain that has a head, from its first record.
    #[default]
    Whole,
    /// Some chains, perhaps without their first records: older files are elsewhere.
    Part,
}

/// Verifies a whole log at once; see [`Verifier`].
pub fn verify<'a>(
    lines: impl IntoIterator<Item = &'a [u8]>,
    keys: &Keys,
    heads: &BTreeMap<String, String>,
    extent: Extent,
) -> Report {
    let mut verifier = Verifier::new(keys);
    lines.into_iter().for_each(|line| verifier.line(line));
    verifier.finish(heads, extent)
}

/// Takes a log line by line.
pub struct Verifier<'k> {
    keys: &'k Keys,
    number: u64,
    foreign: u64,
    chains: BTreeMap<Origin, Slots>,
    findings: Vec<Finding>,
}

impl<'k> Verifier<'k> {
    /// A log of no lines yet.
    pub fn new(keys: &'k Keys) -> Self {
        Self { keys, number: 0, foreign: 0, chains: BTreeMap::new(), findings: Vec::new() }
    }

    /// Takes the next line, with or without its line feed.
    pub fn line(&mut self, line: &[u8]) {
        self.number += 1;
        match read(line) {
            Line::Foreign => self.foreign += 1,
            Line::Unreadable(why) => self.findings.push(Finding::of_line(self.number, why)),
            Line::Record(entry) => self.take(*entry),
        }
    }

    fn take(&mut self, entry: Entry) {
        let Entry { origin, record, sequence, previous, mac } = entry;
        let number = self.number;
        let mut find = |code, message: String| {
            self.findings.push(Finding::new(code, &origin, Some(sequence), Some(number), message));
        };
        let id = record.text("key").unwrap_or_default();
        let standing = match self.keys.find(&origin.program, id) {
            None => Standing::Unproved,
            Some(key) if record.signed_bytes().is_ok_and(|bytes| key.proves(&bytes, &mac)) => Standing::Proved,
            Some(_) => Standing::Bad,
        };
        if standing == Standing::Bad {
            find(Code::Changed, "the record does not fit its MAC".to_owned());
        }
        if let Some(lost) = record.number("lost").filter(|_| standing != Standing::Bad) {
            find(Code::Lost, format!("{lost} events before this record could not be recorded"));
        }
        let key = id.to_owned();
        let slots = self.chains.entry(origin.clone()).or_default();
        if let Some((code, message)) = slots.take(sequence, Slot { line: number, standing, mac, previous, key }) {
            find(code, message);
        }
    }

    /// Looks at each chain as a whole. `heads` are the entries of the ConfigMap `exeat-audit-heads`.
    pub fn finish(mut self, heads: &BTreeMap<String, String>, extent: Extent) -> Report {
        let mut summaries = Vec::new();
        let mut anchors = self.anchors(heads);
        for (origin, slots) in &self.chains {
            let name = entry_name(&origin.writer, &origin.boot);
            let anchor = anchors.remove(&name).filter(|anchor| anchor.program == origin.program);
            slots.judge(origin, extent, anchor.as_ref(), &mut self.findings);
            if let Some((first, last)) = slots.extent() {
                let anchored = anchor.map(|anchor| anchor.sequence);
                summaries.push(ChainSummary { origin: origin.clone(), records: slots.good(), first, last, anchored });
            }
        }
        if extent == Extent::Whole {
            self.findings.extend(anchors.into_iter().map(|(name, anchor)| absent(&name, &anchor)));
        }
        self.findings.sort_by_key(|finding| (finding.line.is_none(), finding.line));
        Report { chains: summaries, foreign: self.foreign, findings: self.findings }
    }

    fn anchors(&mut self, heads: &BTreeMap<String, String>) -> BTreeMap<String, Anchor> {
        let mut anchors = BTreeMap::new();
        for (name, value) in heads {
            match serde_json::from_str::<Anchor>(value) {
                Ok(anchor) if anchor.mac.parse::<Mac>().is_ok() => drop(anchors.insert(name.clone(), anchor)),
                _ => self.findings.push(Finding::of_head(name, "the head can't be read")),
            }
        }
        anchors
    }
}

fn absent(name: &str, anchor: &Anchor) -> Finding {
    let (writer, boot) = name.rsplit_once('.').unwrap_or((name, ""));
    let origin = Origin { program: anchor.program.clone(), writer: writer.to_owned(), boot: boot.to_owned() };
    let message = format!("no record of this chain is there; its head is at {}", anchor.sequence);
    Finding::new(Code::Truncated, &origin, None, None, message)
}

enum Line {
    Foreign,
    Unreadable(String),
    Record(Box<Entry>),
}

struct Entry {
    origin: Origin,
    record: Record,
    sequence: u64,
    previous: Mac,
    mac: Mac,
}

fn read(line: &[u8]) -> Line {
    let record = match serde_json::from_slice::<Record>(line) {
        Ok(record) if record.has("audit") => record,
        Ok(_) => return Line::Foreign,
        Err(error) if resembles(line) => return Line::Unreadable(format!("the record can't be read: {error}")),
        Err(_) => return Line::Foreign,
    };
    if record.text("audit") != Some(FORMAT) {
        return Line::Unreadable(format!("the record's format is not {FORMAT}"));
    }
    match entry(record) {
        Ok(entry) => Line::Record(Box::new(entry)),
        Err(field) => Line::Unreadable(format!("the record's field {field:?} is missing or can't be read")),
    }
}

fn entry(record: Record) -> Result<Entry, &'static str> {
    let text = |field: &'static str| record.text(field).map(str::to_owned).ok_or(field);
    let mac = |field: &'static str| record.text(field).and_then(|text| text.parse().ok()).ok_or(field);
    let origin = Origin { program: text("program")?, writer: text("writer")?, boot: text("boot")? };
    let sequence = record.number("sequence").ok_or("sequence")?;
    let (previous, mac) = (mac("previous")?, mac(MAC_FIELD)?);
    Ok(Entry { origin, sequence, previous, mac, record })
}

/// Whether a damaged line was a record: a foreign line that only looks like one is worth a look too.
fn resembles(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    text.contains("\"audit\"") && text.contains(FORMAT)
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
