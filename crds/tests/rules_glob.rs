//! The pattern language against texts, all of them up to a length.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod rules_support;

use exeat_crds::rules::glob::{Case, MAX_PATTERN, Pattern, matches, overlaps, subset};
use proptest::prelude::*;
use rules_support::plain;

const S: Case = Case::Sensitive;
/// `z` stands for every letter that patterns do not name.
const LETTERS: [char; 3] = ['a', 'b', 'z'];

fn texts(longest: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut from = 0;
    for _ in 0..longest {
        let to = all.len();
        for i in from..to {
            all.extend(LETTERS.iter().map(|c| format!("{}{c}", all[i])).collect::<Vec<_>>());
        }
        from = to;
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn matching_is_what_trying_every_split_finds(pattern in "[ab*?]{0,6}", text in "[abz]{0,7}") {
        prop_assert_eq!(matches(&pattern, &text, S), plain(&pattern, &text));
    }

    /// Two patterns of up to four tokens differ, or meet, if at all on a text of up to six letters: `*aa?` and `abb*` meet in `abbaaz`.
    #[test]
    fn subset_and_overlap_are_exact(a in "[ab*?]{0,4}", b in "[ab*?]{0,4}") {
        let texts = texts(6);
        prop_assert_eq!(subset(&a, &b, S), texts.iter().all(|t| !plain(&a, t) || plain(&b, t)));
        prop_assert_eq!(overlaps(&a, &b, S), texts.iter().any(|t| plain(&a, t) && plain(&b, t)));
    }

    #[test]
    fn arns_inside_and_beside_each_other(
        a in "arn:aws:s3:[x*?]{0,3}:[1*?]{0,2}:[a:*?]{1,4}",
        b in "arn:aws:s3:[x*?]{0,3}:[1*?]{0,2}:[a:*?]{1,4}",
        texts in prop::collection::vec("arn:aws:s3:[x:1]{0,3}:[1:x]{0,2}:[a:z1]{1,5}", 60),
    ) {
        let (a, b) = (Pattern::arn(&a), Pattern::arn(&b));
        let (inside, beside) = (a.subset(&b), a.overlaps(&b));
        prop_assert_eq!(beside, b.overlaps(&a));
        prop_assert!(a.subset(&a) && a.subset(&Pattern::arn("*")));
        for text in &texts {
            prop_assert!(!(inside && a.matches(text)) || b.matches(text), "{} is in the first alone", text);
            prop_assert!(beside || !(a.matches(text) && b.matches(text)), "{} is in both", text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_worst_patterns_are_answered(a in "([*]|[?]|a){1,400}", b in "([*]|[?]|a){1,400}") {
        let (a, b) = (a.repeat(MAX_PATTERN / a.len()), b.repeat(MAX_PATTERN / b.len()));
        prop_assert!(!subset(&a, &b, S) || overlaps(&a, &b, S));
        prop_assert!(!matches(&a, &b.replace('*', ""), S) || overlaps(&a, &b, S));
    }
}
