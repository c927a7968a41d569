//! The records of one chain by their place.

use super::finding::{Code, Finding};
use super::{Anchor, Extent, Mac, Origin};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// How far a record can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is what was signed.
    Proved,
    /// Its key is not known. Its links are looked at all the same.
    Unproved,
    /// It is not what was signed. It has its place until another record claims it.
    Bad,
}

/// One record.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) line: u64,
    pub(super) standing: Standing,
    pub(super) mac: Mac,
    pub(super) previous: Mac,
    pub(super) key: String,
}

/// The records of one chain.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: BTreeMap<u64, Slot>,
    highest: Option<u64>,
}

impl Slots {
    /// Puts a record into its place. Returns what is wrong with that.
    pub(super) fn take(&mut self, sequence: u64, slot: Slot) -> Option<(Code, String)> {
        let bad = slot.standing == Standing::Bad;
        match self.slots.entry(sequence) {
            Entry::Occupied(_) if bad => return None,
            Entry::Occupied(mut taken) if taken.get().standing == Standing::Bad => {
                taken.insert(slot);
            }
            Entry::Occupied(taken) if taken.get().mac == slot.mac => {
                return Some((Code::Duplicated, format!("the record stands in line {} already", taken.get().line)));
            }
            Entry::Occupied(taken) => {
                let message = format!("another record with this sequence stands in line {}", taken.get().line);
                return Some((Code::Forked, message));
            }
            Entry::Vacant(vacant) => {
                vacant.insert(slot);
            }
        }
        if bad {
            return None;
        }
        let late = self.highest.filter(|highest| *highest > sequence);
        self.highest = self.highest.max(Some(sequence));
        late.map(|highest| (Code::Reordered, format!("the record stands behind record {highest}")))
    }

    /// The first and the last place that has a record which is not bad.
    pub(super) fn extent(&self) -> Option<(u64, u64)> {
        let mut good = self.slots.iter().filter(|(_, slot)| slot.standing != Standing::Bad).map(|(place, _)| *place);
        let first = good.next()?;
        Some((first, good.next_back().unwrap_or(first)))
    }

    /// How many records are not bad.
    pub(super) fn good(&self) -> u64 {
        self.slots.values().filter(|slot| slot.standing != Standing::Bad).map(|_| 1).sum()
    }

    /// Gaps, links, keys and the end.
    pub(super) fn judge(&self, origin: &Origin, extent: Extent, anchor: Option<&Anchor>, findings: &mut Vec<Finding>) {
        let mut expected = match extent {
            Extent::Whole => 0,
            Extent::Part => self.slots.keys().next().copied().unwrap_or(0),
        };
        let mut before: Option<&Slot> = None;
        for (&place, slot) in &self.slots {
            if place > expected {
                findings.push(missing(origin, expected, place - 1, slot.line));
                before = None;
            }
            let previous = before.map(|slot| slot.mac).or_else(|| (place == 0).then(|| origin.start()));
            if slot.standing != Standing::Bad && previous.is_some_and(|previous| previous != slot.previous) {
                let message = "the record does not follow the one before it";
                findings.push(Finding::new(Code::Spliced, origin, Some(place), Some(slot.line), message));
            }
            before = Some(slot).filter(|slot| slot.standing != Standing::Bad);
            expected = place.saturating_add(1);
        }
        self.judge_keys(origin, findings);
        if let Some(anchor) = anchor {
            self.judge_end(origin, anchor, findings);
        }
    }

    fn judge_keys(&self, origin: &Origin, findings: &mut Vec<Finding>) {
        let mut unknown: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
        for (&place, slot) in self.slots.iter().filter(|(_, slot)| slot.standing == Standing::Unproved) {
            unknown.entry(&slot.key).or_insert((place, slot.line, 0)).2 += 1;
        }
        for (key, (place, line, count)) in unknown {
            let message =
                format!("no key {key:?} of program {:?} was given; {count} records are not proved", origin.program);
            findings.push(Finding::new(Code::KeyUnknown, origin, Some(place), Some(line), message));
        }
    }

    fn judge_end(&self, origin: &Origin, anchor: &Anchor, findings: &mut Vec<Finding>) {
        let at = anchor.sequence;
        let last = self.slots.keys().next_back().copied();
        if last.is_none_or(|last| last < at) {
            let from = last.map_or(0, |last| last + 1);
            let message = format!("records {from} to {at} are not there; the head of {} says so", anchor.time);
            findings.push(Finding::new(Code::Truncated, origin, Some(from), None, message));
            return;
        }
        let Some(slot) = self.slots.get(&at).filter(|slot| slot.standing != Standing::Bad) else { return };
        if slot.mac.to_string() != anchor.mac {
            let message = format!("the head of {} is of another record", anchor.time);
            findings.push(Finding::new(Code::HeadMismatch, origin, Some(at), Some(slot.line), message));
        }
    }
}

fn missing(origin: &Origin, from: u64, to: u64, line: u64) -> Finding {
    let message = if from == to {
        format!("record {from} is not there")
    } else {
        format!("records {from} to {to} are not there")
    };
    Finding::new(Code::Missing, origin, Some(from), Some(line), message)
}
