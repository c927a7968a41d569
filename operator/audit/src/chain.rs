//! The chain: each record carries the MAC of the one before it and its own, so that none can be changed, taken out or moved unseen by
//! who does not hold the key. One chain for each start of a program. Pure.

use crate::key::Key;
use crate::record::{FORMAT, MAC_FIELD, Mac, Record};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Whose chain it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Origin {
    /// `controller` or `issuer`: whose key signs.
    pub program: String,
    /// Name of the pod.
    pub writer: String,
    /// Differs at each start of the program.
    pub boot: String,
}

impl Origin {
    /// What the first record carries as the MAC before it: SHA-256 of format, program, writer and boot.
    pub fn start(&self) -> Mac {
        let mut digest = Sha256::new();
        for part in [FORMAT, &self.program, &self.writer, &self.boot] {
            digest.update(part.as_bytes());
            digest.update(b"\n");
        }
        Mac::new(digest.finalize().into())
    }
}

/// The last record of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its place, counted from 0.
    pub sequence: u64,
    /// Its MAC.
    pub mac: Mac,
}

/// A record that was signed but is not part of the chain yet.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The line, with its line feed.
    pub line: Bytes,
    /// What the chain's head becomes.
    pub head: Head,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a, E> {
    audit: &'static str,
    time: String,
    program: &'a str,
    writer: &'a str,
    boot: &'a str,
    sequence: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    cluster: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    lost: u64,
    #[serde(flatten)]
    event: &'a E,
    key: &'a str,
    previous: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One chain, at its end.
pub struct Chain {
    key: Key,
    origin: Origin,
    cluster: String,
    head: Option<Head>,
}

impl Chain {
    /// An empty chain. `cluster` stands in every record unless it is empty.
    pub fn new(key: Key, origin: Origin, cluster: &str) -> Self {
        Self { key, origin, cluster: cluster.to_owned(), head: None }
    }

    /// The last record, if there is one.
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// Signs what would be the next record: an event of texts and whole numbers alone. `lost` counts events before it that could not be recorded.
    ///
    /// # Errors
    /// When the event holds anything else.
    pub fn seal<E: Serialize>(&self, event: &E, lost: u64, now: Timestamp) -> serde_json::Result<Sealed> {
        let (sequence, previous) = match self.head {
            Some(head) => (head.sequence + 1, head.mac),
            None => (0, self.origin.start()),
        };
        let fields = Fields {
            audit: FORMAT,
            time: now.to_string(),
            program: &self.origin.program,
            writer: &self.origin.writer,
            boot: &self.origin.boot,
            sequence,
            cluster: &self.cluster,
            lost,
            event,
            key: self.key.id(),
            previous: previous.to_string(),
        };
        let mut record: Record = serde_json::from_value(serde_json::to_value(fields)?)?;
        record.strip_hidden();
        let mac = self.key.mac(&record.signed_bytes()?);
        record.set(MAC_FIELD, mac.to_string());
        let mut line = record.canonical()?;
        line.push(b'\n');
        Ok(Sealed { line: line.into(), head: Head { sequence, mac } })
    }

    /// Makes the record that [`Chain::seal`] has just signed the last one.
    pub fn advance(&mut self, sealed: &Sealed) {
        self.head = Some(sealed.head);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::{Value, json};

    pub(crate) fn origin(writer: &str, boot: &str) -> Origin {
        Origin { program: "issuer".to_owned(), writer: writer.to_owned(), boot: boot.to_owned() }
    }

    pub(crate) fn key(digit: char) -> Key {
        Key::parse(&digit.to_string().repeat(64)).unwrap()
    }

    /// A chain of `count` records, line by line, and its head.
    pub(crate) fn lines(key: Key, origin: Origin, count: usize) -> (Vec<Vec<u8>>, Option<Head>) {
        let mut chain = Chain::new(key, origin, "east");
        let mut lines = Vec::new();
        for number in 0..count {
            let event = json!({"event": "CredentialsIntended", "reason": "Active", "message": format!("{number}"), "namespace": "agents", "session": "s-1", "pod": "pod"});
            let sealed = chain.seal(&event, 0, Timestamp::UNIX_EPOCH).unwrap();
            chain.advance(&sealed);
            lines.push(sealed.line.to_vec());
        }
        (lines, chain.head())
    }

    fn fields(line: &[u8]) -> Value {
        serde_json::from_slice(line).unwrap()
    }

    #[test]
    fn each_record_names_the_one_before_it_and_the_first_one_its_chain() {
        let (lines, head) = lines(key('1'), origin("pod-a", "b0"), 3);
        let records: Vec<_> = lines.iter().map(|l| fields(l)).collect();
        assert_eq!(records[0]["previous"], origin("pod-a", "b0").start().to_string());
        assert_eq!((&records[1]["previous"], &records[2]["previous"]), (&records[0]["mac"], &records[1]["mac"]));
        assert_eq!(records.iter().map(|r| r["sequence"].as_u64()).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
        let head = head.unwrap();
        assert_eq!((head.sequence, head.mac.to_string()), (2, records[2]["mac"].as_str().unwrap().to_owned()));
        for other in [origin("pod-a", "b1"), origin("pod-b", "b0")] {
            assert_ne!(other.start(), origin("pod-a", "b0").start());
        }
    }

    #[test]
    fn a_record_that_was_not_taken_leaves_no_gap() {
        let mut chain = Chain::new(key('1'), origin("pod-a", "b0"), "");
        let event = json!({"event": "SessionCreated"});
        let refused = chain.seal(&event, 0, Timestamp::UNIX_EPOCH).unwrap();
        let taken = chain.seal(&event, 1, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(refused.head.sequence, taken.head.sequence);
        chain.advance(&taken);
        assert_eq!(chain.head(), Some(taken.head));
        assert_eq!(fields(&taken.line)["lost"], 1);
        assert!(fields(&refused.line).get("lost").is_none() && fields(&taken.line).get("cluster").is_none());
    }
}
