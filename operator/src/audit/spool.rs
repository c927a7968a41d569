//! What was recorded and has not reached the sink yet: a queue with an upper bound, so that a sink that is away costs bounded memory and
//! then minting, never a record. Pure.

use bytes::Bytes;
use std::collections::VecDeque;

/// Most that a spool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records.
    pub records: usize,
    /// Bytes of their lines.
    pub bytes: usize,
}

/// One record on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in its chain.
    pub sequence: u64,
    /// Its line, with line feed.
    pub line: Bytes,
}

/// What a record is about decides how full the spool may be for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Something that is not done if it can't be recorded.
    Intent,
    /// Something that has happened: an eighth of the spool is kept for these.
    Fact,
}

/// The spool is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{records} records ({bytes} bytes) wait for the audit sink, and no more may")]
pub struct Full {
    /// Records that wait.
    pub records: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// The queue.
#[derive(Debug)]
pub struct Spool {
    entries: VecDeque<Entry>,
    bytes: usize,
    limits: Limits,
}

impl Spool {
    /// An empty spool.
    pub fn new(limits: Limits) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, limits }
    }

    /// Takes a record.
    ///
    /// # Errors
    /// When it is full for a record of this urgency; nothing was taken then.
    pub fn push(&mut self, entry: Entry, urgency: Urgency) -> Result<(), Full> {
        let share = |limit: usize| match urgency {
            Urgency::Intent => limit - limit / 8,
            Urgency::Fact => limit,
        };
        let fits = self.entries.len() < share(self.limits.records)
            && self.bytes.saturating_add(entry.line.len()) <= share(self.limits.bytes);
        if !fits {
            return Err(Full { records: self.entries.len(), bytes: self.bytes });
        }
        self.bytes += entry.line.len();
        self.entries.push_back(entry);
        Ok(())
    }

    /// The oldest records, as many as fit into `limits`, but one at least if there is one.
    pub fn oldest(&self, limits: Limits) -> Vec<Entry> {
        let mut bytes = 0_usize;
        let fits = |entry: &&Entry| {
            bytes = bytes.saturating_add(entry.line.len());
            bytes <= limits.bytes || bytes == entry.line.len()
        };
        self.entries.iter().take(limits.records.max(1)).take_while(fits).cloned().collect()
    }

    /// Lets go of all records up to `sequence`: the sink has them.
    pub fn delivered(&mut self, sequence: u64) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.sequence <= sequence) {
            self.bytes -= entry.line.len();
        }
    }

    /// How many records wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of the records that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(sequence: u64, bytes: usize) -> Entry {
        Entry { sequence, line: vec![b'x'; bytes].into() }
    }

    #[test]
    fn intents_are_refused_first_and_nothing_is_lost() {
        let mut spool = Spool::new(Limits { records: 16, bytes: 1 << 20 });
        let taken = (0..20).take_while(|n| spool.push(entry(*n, 10), Urgency::Intent).is_ok()).count();
        assert_eq!(taken, 14);
        let more = (14..20).take_while(|n| spool.push(entry(*n, 10), Urgency::Fact).is_ok()).count();
        assert_eq!(more, 2);
        let full = spool.push(entry(16, 10), Urgency::Fact).unwrap_err();
        assert_eq!(full, Full { records: 16, bytes: 160 });
        spool.delivered(9);
        assert_eq!((spool.len(), spool.bytes()), (6, 60));
        assert!(spool.push(entry(16, 10), Urgency::Intent).is_ok());
    }

    #[test]
    fn bytes_count_too_and_a_long_record_still_goes_out() {
        let mut spool = Spool::new(Limits { records: 100, bytes: 80 });
        assert!(spool.push(entry(0, 70), Urgency::Intent).is_ok());
        assert!(spool.push(entry(1, 20), Urgency::Fact).is_err());
        assert!(spool.push(entry(1, 10), Urgency::Fact).is_ok());
        let batch = |bytes| spool.oldest(Limits { records: 10, bytes }).iter().map(|e| e.sequence).collect::<Vec<_>>();
        assert_eq!(batch(10), [0]);
        assert_eq!(batch(80), [0, 1]);
    }

    proptest! {
        #[test]
        fn batches_come_in_order_and_hold_all_that_was_taken(sizes in prop::collection::vec(1_usize..50, 0..80), step in 1_usize..9) {
            let mut spool = Spool::new(Limits { records: 40, bytes: 900 });
            let mut taken = Vec::new();
            let mut out = Vec::new();
            for (n, size) in (0_u64..).zip(sizes) {
                if spool.push(entry(n, size), Urgency::Fact).is_ok() {
                    taken.push(n);
                } else {
                    let batch = spool.oldest(Limits { records: step, bytes: 100 });
                    out.extend(batch.iter().map(|e| e.sequence));
                    spool.delivered(batch.last().unwrap().sequence);
                }
                prop_assert!(spool.len() <= 40 && spool.bytes() <= 900);
            }
            out.extend(spool.oldest(Limits { records: usize::MAX, bytes: usize::MAX }).iter().map(|e| e.sequence));
            prop_assert_eq!(out, taken);
        }
    }
}
