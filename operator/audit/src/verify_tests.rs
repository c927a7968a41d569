use super::*;
use crate::chain::tests::{key, lines, origin};
use jiff::Timestamp;
use proptest::prelude::*;
use std::sync::LazyLock;

const NOISE: &[u8] = b"{\"level\":\"INFO\",\"message\":\"serving sidecars\"}\n";

/// A log of two starts of one pod and one of another, among other lines.
struct Log {
    lines: Vec<Vec<u8>>,
    keys: Keys,
    heads: BTreeMap<String, String>,
}

impl Log {
    fn new() -> Self {
        static WRITTEN: LazyLock<Log> = LazyLock::new(Log::write);
        let mut keys = Keys::default();
        keys.add("issuer", key('1'));
        Self { lines: WRITTEN.lines.clone(), keys, heads: WRITTEN.heads.clone() }
    }

    fn write() -> Self {
        let mut log = Self { lines: vec![NOISE.to_vec()], keys: Keys::default(), heads: BTreeMap::new() };
        for (writer, boot) in [("pod-a", "b0"), ("pod-a", "b1"), ("pod-b", "b2")] {
            let (lines, head) = lines(key('1'), origin(writer, boot), 4);
            let anchor = Anchor::new("issuer", key('1').id(), &head.unwrap(), Timestamp::UNIX_EPOCH);
            log.heads.insert(entry_name(writer, boot), serde_json::to_string(&anchor).unwrap());
            log.lines.extend(lines);
            log.lines.push(NOISE.to_vec());
        }
        log
    }

    fn verify(&self) -> Report {
        verify(self.lines.iter().map(Vec::as_slice), &self.keys, &self.heads, Extent::Whole)
    }

    /// What is found: code, writer and boot, sequence, line.
    fn found(&self) -> Vec<(Code, String, Option<u64>, Option<u64>)> {
        let tell = |f: Finding| (f.code, format!("{}.{}", f.writer, f.boot), f.sequence, f.line);
        self.verify().findings.into_iter().map(tell).collect()
    }

    /// Indices of the lines that are records.
    fn records(&self) -> Vec<usize> {
        (0..self.lines.len()).filter(|at| self.lines[*at] != NOISE).collect()
    }
}

fn one(
    code: Code,
    chain: &str,
    sequence: Option<u64>,
    line: Option<u64>,
) -> Vec<(Code, String, Option<u64>, Option<u64>)> {
    vec![(code, chain.to_owned(), sequence, line)]
}

#[test]
fn a_log_as_it_was_written_is_well_and_counted() {
    let report = Log::new().verify();
    assert_eq!((report.findings.len(), report.foreign), (0, 4), "{:?}", report.findings);
    let told: Vec<_> = report.chains.iter().map(|c| (c.records, c.first, c.last, c.anchored)).collect();
    assert_eq!(told, [(4, 0, 3, Some(3)); 3]);
}

#[test]
fn chains_may_be_mixed_and_reshaped_by_a_collector() {
    let mut log = Log::new();
    log.lines.sort_by_key(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap()["sequence"].as_u64());
    for line in &mut log.lines {
        let value: BTreeMap<String, serde_json::Value> = serde_json::from_slice(line).unwrap();
        let fields: Vec<_> = value.iter().rev().map(|(k, v)| format!(" {k:?} : {v}")).collect();
        *line = format!("  {{{}}}\r\n", fields.join(",")).into_bytes();
    }
    assert_eq!(log.verify().findings, []);
}

#[test]
fn each_kind_of_tampering_has_its_own_finding() {
    let mut log = Log::new();
    log.lines.remove(2);
    assert_eq!(log.found(), one(Code::Missing, "pod-a.b0", Some(1), Some(3)));

    let mut log = Log::new();
    log.lines[3] =
        String::from_utf8(log.lines[3].clone()).unwrap().replace("\"pod\":\"pod\"", "\"pod\":\"pot\"").into_bytes();
    assert_eq!(log.found(), one(Code::Changed, "pod-a.b0", Some(2), Some(4)));

    let mut log = Log::new();
    log.lines.swap(6, 7);
    assert_eq!(log.found(), one(Code::Reordered, "pod-a.b1", Some(0), Some(8)));

    let mut log = Log::new();
    let copy = log.lines[6].clone();
    log.lines.insert(9, copy);
    assert_eq!(log.found(), one(Code::Duplicated, "pod-a.b1", Some(0), Some(10)));

    let mut log = Log::new();
    log.lines.remove(4);
    assert_eq!(log.found(), one(Code::Truncated, "pod-a.b0", Some(3), None));

    let mut log = Log::new();
    log.lines.drain(1..5);
    assert_eq!(log.found(), one(Code::Truncated, "pod-a.b0", None, None));

    let mut log = Log::new();
    log.lines[2].truncate(70);
    assert_eq!(log.found()[0], (Code::Unreadable, ".".to_owned(), None, Some(3)));
}

#[test]
fn who_holds_the_key_still_meets_the_head_and_the_other_program() {
    // A genuine record beyond the head does not hide that the one before it is gone.
    let mut log = Log::new();
    let (mut other, _) = lines(key('1'), origin("pod-a", "b0"), 5);
    log.lines[4] = other.remove(4);
    assert_eq!(log.found(), [(Code::Missing, "pod-a.b0".to_owned(), Some(3), Some(5)),]);

    // The end of one boot behind the beginning of another can't even be written without the key; with it the link shows.
    let mut log = Log::new();
    let mut forged: Record = serde_json::from_slice(&log.lines[3]).unwrap();
    forged.set("previous", Mac::new([9; 32]).to_string());
    let mac = key('1').mac(&forged.signed_bytes().unwrap());
    forged.set(MAC_FIELD, mac.to_string());
    let forged = forged.canonical().unwrap();
    log.lines.insert(4, forged.clone());
    assert_eq!(log.found(), one(Code::Forked, "pod-a.b0", Some(2), Some(5)));
    log.lines.remove(3);
    assert_eq!(
        log.found().iter().map(|f| (f.0, f.2)).collect::<Vec<_>>(),
        [(Code::Spliced, Some(2)), (Code::Spliced, Some(3))]
    );

    // The controller's key proves nothing about the issuer.
    let mut log = Log::new();
    log.keys = Keys::default();
    log.keys.add("controller", key('1'));
    assert!(log.found().iter().all(|f| f.0 == Code::KeyUnknown) && log.found().len() == 3);

    // The last record replaced by another one that is well signed.
    let mut log = Log::new();
    let mut forged: Record = serde_json::from_slice(&log.lines[4]).unwrap();
    forged.set("message", "nothing happened".to_owned());
    let mac = key('1').mac(&forged.signed_bytes().unwrap());
    forged.set(MAC_FIELD, mac.to_string());
    log.lines[4] = forged.canonical().unwrap();
    assert_eq!(log.found(), one(Code::HeadMismatch, "pod-a.b0", Some(3), Some(5)));
}

#[test]
fn part_of_a_log_may_begin_late_but_has_no_holes() {
    let mut log = Log::new();
    log.lines.drain(..3);
    log.lines.truncate(2);
    let part = |log: &Log| verify(log.lines.iter().map(Vec::as_slice), &log.keys, &log.heads, Extent::Part).findings;
    assert_eq!(part(&log), []);
    assert_eq!(log.found().len(), 3);
    log.lines.pop();
    assert_eq!(part(&log)[0].code, Code::Truncated);
}

#[test]
fn what_a_program_could_not_record_is_told_and_bad_heads_are_named() {
    let mut log = Log::new();
    let mut chain = crate::chain::Chain::new(key('1'), origin("pod-c", "b3"), "");
    let event = serde_json::json!({"event": "SessionCreated"});
    let sealed = chain.seal(&event, 7, Timestamp::UNIX_EPOCH).unwrap();
    chain.advance(&sealed);
    log.lines.push(sealed.line.to_vec());
    log.heads.insert("pod-d.b4".to_owned(), "{}".to_owned());
    let found = log.found();
    assert_eq!(found[0], (Code::Lost, "pod-c.b3".to_owned(), Some(0), Some(17)));
    assert_eq!(found[1], (Code::Unreadable, "pod-d.b4".to_owned(), None, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_changed_byte_is_found(at in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), to: u8) {
        let mut log = Log::new();
        let at = *at.get(&log.records());
        let byte = byte.index(log.lines[at].len() - 1);
        prop_assume!(log.lines[at][byte] != to);
        log.lines[at][byte] = to;
        // As a reader sees it: a byte that became a line feed makes two lines.
        log.lines = log.lines.concat().split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        prop_assert!(!log.verify().findings.is_empty());
    }

    #[test]
    fn a_removed_byte_is_found(at in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>()) {
        let mut log = Log::new();
        let at = *at.get(&log.records());
        let byte = byte.index(log.lines[at].len() - 1);
        log.lines[at].remove(byte);
        prop_assert!(!log.verify().findings.is_empty());
    }

    #[test]
    fn removed_records_are_found(from in any::<prop::sample::Index>(), count in 1_usize..5) {
        let mut log = Log::new();
        let records = log.records();
        let from = from.index(records.len());
        for at in records[from..records.len().min(from + count)].iter().rev() {
            log.lines.remove(*at);
        }
        prop_assert!(log.found().iter().all(|f| matches!(f.0, Code::Missing | Code::Truncated)));
        prop_assert!(!log.found().is_empty());
    }

    #[test]
    fn two_records_of_a_chain_that_changed_places_are_found(chain in 0_usize..3, one in 0_usize..4, other in 0_usize..4) {
        prop_assume!(one != other);
        let mut log = Log::new();
        log.lines.swap(1 + 5 * chain + one, 1 + 5 * chain + other);
        prop_assert!(log.found().iter().all(|f| f.0 == Code::Reordered));
        prop_assert!(!log.found().is_empty());
    }

    #[test]
    fn a_cut_tail_is_found(keep in 0_usize..15) {
        let mut log = Log::new();
        log.lines.truncate(keep);
        prop_assert!(!log.found().is_empty());
        prop_assert!(log.found().iter().all(|f| f.0 == Code::Truncated));
    }

    #[test]
    fn a_repeated_record_is_found(at in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let mut log = Log::new();
        let copy = log.lines[*at.get(&log.records())].clone();
        let to = to.index(log.lines.len() + 1);
        log.lines.insert(to, copy);
        prop_assert!(log.found().iter().any(|f| f.0 == Code::Duplicated));
    }

    #[test]
    fn the_end_of_one_boot_does_not_fit_behind_another(keep in 0_usize..4, from in 0_usize..4) {
        let mut log = Log::new();
        // The first boot's end is replaced by the second one's, relabelled as the first one's.
        let tail: Vec<Vec<u8>> = log.lines[6 + from..10]
            .iter()
            .map(|l| String::from_utf8(l.clone()).unwrap().replace("\"boot\":\"b1\"", "\"boot\":\"b0\"").into_bytes())
            .collect();
        log.lines.splice(1 + keep..5, tail);
        prop_assert!(log.found().iter().any(|f| f.0 == Code::Changed));
        // Without the label it leaves a hole in one chain and repeats the other.
        let mut log = Log::new();
        let tail = log.lines[6 + from..10].to_vec();
        log.lines.splice(1 + keep..5, tail);
        let found = log.found();
        prop_assert!(found.iter().any(|f| f.1 == "pod-a.b0" && f.0 == Code::Truncated));
        prop_assert!(found.iter().any(|f| f.1 == "pod-a.b1" && f.0 == Code::Duplicated));
    }

    #[test]
    fn any_lines_at_all_are_read_without_harm(lines in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
        let report = verify(lines.iter().map(Vec::as_slice), &Keys::default(), &BTreeMap::new(), Extent::Whole);
        prop_assert_eq!(report.foreign, lines.len() as u64);
    }
}
