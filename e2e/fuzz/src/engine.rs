//! The loop: change an input, judge it, keep it where it reached something new, make a failing one small.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::mutate::{mutate, node, size};
use crate::random::Random;

/// Most judgements that making one failing input small may take.
const MINIMISING: u32 = 4000;

/// Something that takes inputs, with an oracle.
pub trait Target {
    /// As the command line and the corpus's folder write it.
    fn name(&self) -> &'static str;

    /// Texts that mean something to it.
    fn tokens(&self) -> &'static [&'static str];

    /// Takes an input. The class says what came of it; inputs with a new one are kept.
    ///
    /// # Errors
    /// What the oracle found wrong.
    fn judge(&mut self, input: &[u8]) -> Result<String, String>;
}

/// When to stop. Without both: after the corpus.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Inputs to take, those of the corpus included.
    pub runs: Option<u64>,
    /// Time to take inputs for.
    pub time: Option<Duration>,
}

/// An input that the oracle, or a panic, found.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The input, as small as it got.
    pub input: Vec<u8>,
    /// What is wrong.
    pub message: String,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Inputs that were judged.
    pub executions: u64,
    /// Inputs at the end: the given ones and those that reached something new.
    pub corpus: Vec<Vec<u8>>,
    /// Each class with the number of inputs that came to it.
    pub classes: BTreeMap<String, u64>,
    /// Longest that one input took.
    pub slowest: Duration,
    /// The first failure; it ends the run.
    pub failure: Option<Failure>,
}

/// Takes the inputs in `corpus`, then changed ones until a limit or a failure.
pub fn run(target: &mut dyn Target, corpus: Vec<Vec<u8>>, limits: Limits, seed: u64) -> Report {
    let began = Instant::now();
    let mut report = Report { corpus, ..Report::default() };
    let mut random = Random::new(seed);
    for at in 0..report.corpus.len() {
        let input = report.corpus[at].clone();
        if take(target, &input, &mut report, true) {
            return report;
        }
    }
    let over = |report: &Report| {
        limits.runs.is_some_and(|runs| report.executions >= runs)
            || limits.time.is_some_and(|time| began.elapsed() >= time)
            || (limits.runs.is_none() && limits.time.is_none())
    };
    while !over(&report) {
        let empty = Vec::new();
        let input = random.one(&report.corpus).unwrap_or(&empty);
        let other = random.one(&report.corpus).unwrap_or(&empty);
        let input = mutate(input, other, target.tokens(), &mut random);
        if take(target, &input, &mut report, false) {
            return report;
        }
    }
    report
}

/// Whether the run is over, because the input failed.
fn take(target: &mut dyn Target, input: &[u8], report: &mut Report, given: bool) -> bool {
    let began = Instant::now();
    let judged = guarded(target, input);
    report.executions += 1;
    report.slowest = report.slowest.max(began.elapsed());
    match judged {
        Ok(class) => {
            let seen = report.classes.entry(class).or_default();
            *seen += 1;
            if *seen == 1 && !given {
                report.corpus.push(input.to_vec());
            }
            false
        }
        Err(message) => {
            report.failure = Some(minimise(target, input, message));
            true
        }
    }
}

thread_local! {
    /// Panics met while an input is judged on this thread; absent while none is.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Judges one input; a panic is a failure too, also in a task that caught it.
///
/// # Errors
/// What the oracle found wrong, or the panic.
pub fn guarded(target: &mut dyn Target, input: &[u8]) -> Result<String, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let judging = PANICS.with_borrow_mut(|panics| panics.as_mut().map(|panics| panics.push(info.to_string())));
            if judging.is_none() {
                usual(info);
            }
        }));
    });
    PANICS.set(Some(Vec::new()));
    let judged = catch_unwind(AssertUnwindSafe(|| target.judge(input)));
    let panics = PANICS.take().unwrap_or_default();
    match (panics.first(), judged) {
        (Some(panic), _) => Err(panic.clone()),
        (None, Ok(judged)) => judged,
        (None, Err(_)) => Err("a panic without a message".to_owned()),
    }
}

/// The smallest input found that still fails, however it fails.
fn minimise(target: &mut dyn Target, input: &[u8], message: String) -> Failure {
    let mut best = Failure { input: input.to_vec(), message };
    let mut left = MINIMISING;
    let mut smaller = true;
    while smaller && left > 0 {
        smaller = shrink_tree(target, &mut best, &mut left) | shrink_bytes(target, &mut best, &mut left);
    }
    best
}

fn still_fails(target: &mut dyn Target, input: Vec<u8>, best: &mut Failure, left: &mut u32) -> bool {
    if *left == 0 || input.len() >= best.input.len() {
        return false;
    }
    *left -= 1;
    let Err(message) = guarded(target, &input) else { return false };
    *best = Failure { input, message };
    true
}

/// Takes values out of the tree, the large ones first.
fn shrink_tree(target: &mut dyn Target, best: &mut Failure, left: &mut u32) -> bool {
    let Ok(mut tree) = serde_json::from_slice::<Value>(&best.input) else { return false };
    let mut shrunk = still_fails(target, tree.to_string().into_bytes(), best, left);
    let mut at = 0;
    while at < size(&tree) {
        let children = match node(&mut tree, at) {
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(fields)) => fields.len(),
            _ => 0,
        };
        for child in (0..children).rev() {
            let mut without = tree.clone();
            match node(&mut without, at) {
                Some(Value::Array(items)) => drop(items.remove(child)),
                Some(Value::Object(fields)) => {
                    let key = fields.keys().nth(child).cloned().unwrap_or_default();
                    fields.remove(&key);
                }
                _ => {}
            }
            if still_fails(target, without.to_string().into_bytes(), best, left) {
                tree = without;
                shrunk = true;
            }
        }
        at += 1;
    }
    shrunk
}

/// Takes out runs of bytes, the long ones first.
fn shrink_bytes(target: &mut dyn Target, best: &mut Failure, left: &mut u32) -> bool {
    let mut shrunk = false;
    let mut run = best.input.len() / 2;
    while run > 0 && *left > 0 {
        let mut at = 0;
        while at + run <= best.input.len() {
            let mut without = best.input.clone();
            without.drain(at..at + run);
            if still_fails(target, without, best, left) {
                shrunk = true;
            } else {
                at += run;
            }
        }
        run /= 2;
    }
    shrunk
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails, or panics, on what holds a certain text.
    struct Picky {
        panics: bool,
    }

    impl Target for Picky {
        fn name(&self) -> &'static str {
            "picky"
        }

        fn tokens(&self) -> &'static [&'static str] {
            &["ab", "cd"]
        }

        fn judge(&mut self, input: &[u8]) -> Result<String, String> {
            let text = String::from_utf8_lossy(input).into_owned();
            if !text.contains("abcd") {
                return Ok(format!("{} {}", text.contains("ab"), text.contains("cd")));
            }
            assert!(!self.panics, "met abcd");
            Err("abcd".to_owned())
        }
    }

    #[test]
    fn a_failure_is_found_made_small_and_the_same_for_the_same_seed() {
        let limits = Limits { runs: Some(200_000), time: None };
        let corpus = vec![b"some text to begin with".to_vec()];
        let find = || run(&mut Picky { panics: false }, corpus.clone(), limits, 7);
        let (first, again) = (find(), find());
        assert_eq!(first.failure.unwrap().input, b"abcd");
        assert_eq!(first.executions, again.executions);
        assert!(first.corpus.len() > 1 && first.classes.len() > 1, "new classes are kept");
    }

    #[test]
    fn a_panic_is_a_failure_with_its_message_and_trees_shrink_too() {
        let input = br#"{"x":[1,2,{"y":"abcd"}],"z":"long and of no use"}"#;
        let report = run(&mut Picky { panics: true }, vec![input.to_vec()], Limits::default(), 1);
        let failure = report.failure.unwrap();
        assert_eq!(failure.input, b"abcd");
        assert!(failure.message.contains("met abcd"), "{}", failure.message);
    }

    #[test]
    fn limits_hold() {
        let quiet = || vec![b"quiet".to_vec()];
        assert_eq!(run(&mut Picky { panics: false }, quiet(), Limits::default(), 1).executions, 1);
        let limits = Limits { runs: Some(50), time: None };
        let report = run(&mut Picky { panics: false }, quiet(), limits, 1);
        assert!(report.executions == 50 || report.failure.is_some(), "{report:?}");
    }
}
