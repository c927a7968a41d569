//! A session policy allows exactly what its grant covers, by judges of documents that are written apart from it.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod rules_support;

use exeat_crds::rules::Statement;
use exeat_crds::rules::aws_document::{Dialect, MAX_PLAIN, document};
use proptest::prelude::*;
use rules_support::{Verdict, World, all_calls, calls, decide, guardrails, judge_aws, judge_minio, statements};

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// No hole: what the grant does not cover is denied in words.
    #[test]
    fn aws_documents_say_what_the_grant_says(allow in statements(World::Aws), deny in guardrails(), calls in calls()) {
        let grant = decide(&allow, &everything(), &deny, None);
        prop_assume!(grant.is_some());
        let grant = grant.unwrap();
        let Ok(document) = document(&grant, Dialect::Aws) else { return Ok(()) };
        prop_assert!(document.plain_len() <= MAX_PLAIN);
        let parsed: serde_json::Value = serde_json::from_str(document.as_str()).unwrap();
        for call in calls {
            let expected = if grant.covers(call) { Verdict::Allowed } else { Verdict::Denied };
            prop_assert_eq!(judge_aws(&parsed, call), expected, "{:?} {}", call, document.as_str());
        }
    }

    /// Here what is not covered may also be unspoken of.
    #[test]
    fn s3_compatible_documents_say_what_the_grant_says(allow in statements(World::S3), deny in guardrails(), calls in calls()) {
        let grant = decide(&allow, &everything(), &deny, None);
        prop_assume!(grant.is_some());
        let grant = grant.unwrap();
        let Ok(document) = document(&grant, Dialect::S3Compatible) else { return Ok(()) };
        prop_assert!(!document.as_str().contains("NotAction"));
        let parsed: serde_json::Value = serde_json::from_str(document.as_str()).unwrap();
        for call in calls.into_iter().filter(|c| c.action.starts_with("s3:") && c.resource.starts_with("arn:aws:s3:::")) {
            let verdict = judge_minio(&parsed, call);
            prop_assert_eq!(verdict == Verdict::Allowed, grant.covers(call), "{:?} {:?} {}", call, verdict, document.as_str());
            prop_assert_eq!(judge_aws(&parsed, call) == Verdict::Allowed, grant.covers(call), "{:?} {}", call, document.as_str());
        }
    }
}

/// Four groups, two sets of which have the same resources: each needs a denial of its own.
#[test]
fn overlapping_patterns_of_three_statements_leave_no_hole() {
    let statement = |actions: &[&str], resource: &str| Statement {
        actions: actions.iter().map(|a| (*a).to_owned()).collect(),
        resources: vec![resource.to_owned()],
    };
    let allow = [
        statement(&["s3:GetO*"], "arn:aws:s3:::*/k1"),
        statement(&["s3:Get*"], "arn:aws:dynamodb:*:123456789012:table/t"),
        statement(&["s3:*Tagging", "s3:get*ion"], "arn:aws:dynamodb:eu-*-1:123456789012:table/t*"),
    ];
    let grant = decide(&allow, &everything(), &[], None).unwrap();
    let document = document(&grant, Dialect::Aws).unwrap();
    let parsed: serde_json::Value = serde_json::from_str(document.as_str()).unwrap();
    for call in all_calls() {
        let expected = if grant.covers(call) { Verdict::Allowed } else { Verdict::Denied };
        assert_eq!(judge_aws(&parsed, call), expected, "{call:?} {}", document.as_str());
    }
}

/// The generator is no use if it draws grants that have no document.
#[test]
fn most_drawn_grants_have_a_document() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    for (world, dialect) in [(World::Aws, Dialect::Aws), (World::S3, Dialect::S3Compatible)] {
        let written = (0..200)
            .filter(|_| {
                let allow = statements(world).new_tree(&mut runner).unwrap().current();
                decide(&allow, &everything(), &[], None).is_some_and(|grant| document(&grant, dialect).is_ok())
            })
            .count();
        assert!(written > 120, "{written} of 200");
    }
}
