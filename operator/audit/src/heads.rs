//! Where each chain ends, kept apart from the log: what is cut off a log's end shows against it. Pure; the operator writes it.

use crate::chain::Head;
use exeat_crds::text;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Shortest time between two writes of one program: what comes meanwhile is one write.
pub const PERIOD: Duration = Duration::from_secs(3);
/// A head that stays is written again after this long, so that others see that its program lives.
pub const REFRESH: Duration = Duration::from_hours(1);
/// Longest wait after failures.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Heads that nobody wrote for this long are removed.
pub const MAX_AGE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Most heads that are kept.
pub const MAX_COUNT: usize = 500;
/// Most bytes of names and values that are kept. An object may have 1 MiB; ours stays a small read.
pub const MAX_BYTES: usize = 192 * 1024;
/// Longest part of a pod's name in an entry's name, which may have 253 characters.
const MAX_WRITER: usize = 200;

/// One entry of the ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Whose key signed.
    pub program: String,
    /// Place of the last record.
    pub sequence: u64,
    /// Its MAC.
    pub mac: String,
    /// Name of the key.
    pub key: String,
    /// When the entry was written.
    pub time: String,
}

impl Anchor {
    /// The entry for a chain that ends with `head`.
    pub fn new(program: &str, key: &str, head: &Head, now: Timestamp) -> Self {
        Self {
            program: program.to_owned(),
            sequence: head.sequence,
            mac: head.mac.to_string(),
            key: key.to_owned(),
            time: now.to_string(),
        }
    }
}

/// Name of a chain's entry.
pub fn entry_name(writer: &str, boot: &str) -> String {
    format!("{}.{boot}", text::cut(writer, MAX_WRITER))
}

/// The entries that must go, oldest first, so that age, count and bytes are kept to. `own` stays. An entry that can't be read counts as
/// the oldest: it anchors nothing.
pub fn outdated(entries: &BTreeMap<String, String>, own: &str, now: Timestamp) -> Vec<String> {
    let mut others: Vec<(Timestamp, &String, &String)> = entries
        .iter()
        .filter(|(name, _)| *name != own)
        .map(|(name, value)| (written_at(value).unwrap_or(Timestamp::MIN), name, value))
        .collect();
    others.sort();
    let size = |name: &str, value: &str| name.len() + value.len();
    let mut count = entries.len();
    let mut bytes: usize = entries.iter().map(|(name, value)| size(name, value)).sum();
    let mut gone = Vec::new();
    for (at, name, value) in others {
        if now.duration_since(at) < MAX_AGE && count <= MAX_COUNT && bytes <= MAX_BYTES {
            break;
        }
        count -= 1;
        bytes -= size(name, value);
        gone.push(name.clone());
    }
    gone
}

fn written_at(value: &str) -> Option<Timestamp> {
    serde_json::from_str::<Anchor>(value).ok()?.time.parse().ok()
}

/// When the head of one chain must be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    written: Option<Head>,
    failures: u32,
}

impl Schedule {
    /// How long to wait before the next write, `since` the last try; nothing while there is no record.
    pub fn wait(&self, head: Option<&Head>, since: Option<Duration>) -> Option<Duration> {
        let head = head?;
        let Some(since) = since else { return Some(Duration::ZERO) };
        let pause = match (self.failures, self.is_written(head)) {
            (0, true) => REFRESH,
            (failures, _) => PERIOD.saturating_mul(1 << failures.min(8)).min(LONGEST_WAIT),
        };
        Some(pause.saturating_sub(since))
    }

    /// Whether `head` is what was written last.
    pub fn is_written(&self, head: &Head) -> bool {
        self.written.as_ref() == Some(head)
    }

    /// Takes the outcome of a write.
    pub fn tried(&mut self, head: Head, worked: bool) {
        if worked {
            *self = Self { written: Some(head), failures: 0 };
        } else {
            self.failures = self.failures.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Mac;
    use proptest::prelude::*;

    fn head(sequence: u64) -> Head {
        Head { sequence, mac: Mac::new([7; 32]) }
    }

    fn entry(at: Timestamp) -> String {
        serde_json::to_string(&Anchor::new("issuer", "0123456789abcdef", &head(u64::MAX), at)).unwrap()
    }

    fn now() -> Timestamp {
        "2026-06-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn changes_are_written_together_and_failures_wait_longer() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.wait(None, None), None);
        assert_eq!(schedule.wait(Some(&head(0)), None), Some(Duration::ZERO));
        schedule.tried(head(0), true);
        let second = Some(Duration::from_secs(1));
        assert_eq!(schedule.wait(Some(&head(5)), second), Some(Duration::from_secs(2)));
        assert_eq!(schedule.wait(Some(&head(0)), second), Some(REFRESH - Duration::from_secs(1)));
        for expected in [6, 12, 24, 48, 60, 60] {
            schedule.tried(head(5), false);
            assert_eq!(schedule.wait(Some(&head(5)), Some(Duration::ZERO)), Some(Duration::from_secs(expected)));
        }
        schedule.tried(head(6), true);
        assert_eq!(schedule.wait(Some(&head(7)), Some(PERIOD)), Some(Duration::ZERO));
    }

    #[test]
    fn the_oldest_go_and_our_own_stays() {
        let day = SignedDuration::from_hours(24);
        let mut entries: BTreeMap<_, _> = (0..40).map(|n| (format!("pod-{n:02}.b"), entry(now() - day * n))).collect();
        entries.insert("junk.b".to_owned(), "x".to_owned());
        let gone = outdated(&entries, "pod-35.b", now());
        assert_eq!(gone.first().map(String::as_str), Some("junk.b"));
        assert_eq!(
            gone[1..].to_vec(),
            (30..40).rev().filter(|n| *n != 35).map(|n| format!("pod-{n}.b")).collect::<Vec<_>>()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_stays_is_bounded_and_young(ages in prop::collection::vec(0_i64..60, 0..900), long in 1_usize..200) {
            let entries: BTreeMap<_, _> = ages
                .iter()
                .enumerate()
                .map(|(n, age)| (entry_name(&format!("{n:0long$}"), "b"), entry(now() - SignedDuration::from_hours(24) * i32::try_from(*age).unwrap())))
                .collect();
            let own = entry_name(&format!("{:0long$}", 0), "b");
            let gone = outdated(&entries, &own, now());
            let mut kept = entries.clone();
            kept.retain(|name, _| !gone.contains(name));
            prop_assert!(kept.len() <= MAX_COUNT);
            prop_assert!(kept.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>() <= MAX_BYTES);
            prop_assert_eq!(kept.contains_key(&own), entries.contains_key(&own));
            for (name, value) in &kept {
                prop_assert!(*name == own || now().duration_since(written_at(value).unwrap()) < MAX_AGE);
            }
            let oldest_kept = kept.iter().filter(|(n, _)| **n != own).map(|(_, v)| written_at(v).unwrap()).min();
            for name in &gone {
                prop_assert!(written_at(&entries[name]).unwrap() <= oldest_kept.unwrap_or(Timestamp::MAX));
            }
        }
    }
}
