//! Each target for a bounded number of inputs from a fixed seed: the corpus and what follows from it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

use exeat_fuzz::{ALL, Limits, corpus, engine, named};

const SEED: u64 = 1;

/// The least of different outcomes: a target that answers all alike tests nothing.
const CLASSES: usize = 12;

fn bounded(name: &str) {
    let (_, runs) = ALL.into_iter().find(|(known, _)| *known == name).unwrap();
    let given = corpus::read(&corpus::folder(name)).unwrap();
    assert!(given.len() >= 3, "the corpus of {name} has {} inputs", given.len());
    let mut target = named(name).unwrap();
    let report = engine::run(target.as_mut(), given, Limits { runs: Some(runs), time: None }, SEED);
    if let Some(failure) = report.failure {
        let file = corpus::write(&std::env::temp_dir().join("exeat-fuzz").join(name), &failure.input).unwrap();
        panic!(
            "{name}: {}\nrepeat: cargo run -p exeat-fuzz -- {name} --repeat {}\n{}",
            failure.message,
            file.display(),
            String::from_utf8_lossy(&failure.input)
        );
    }
    assert_eq!(report.executions, runs);
    assert!(report.classes.len() >= CLASSES, "{name}: {:#?}", report.classes);
}

macro_rules! targets {
    ($($name:ident)+) => {
        $(#[test] fn $name() { bounded(stringify!($name)); })+

        #[test]
        fn every_target_is_tested() {
            assert_eq!(ALL.map(|(name, _)| name), [$(stringify!($name)),+]);
        }
    };
}

targets! { actions annotations document inject review sidecar text wire }
