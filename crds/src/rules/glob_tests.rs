use super::*;

const S: Case = Case::Sensitive;

#[test]
fn a_pattern_matches_runs_and_single_characters() {
    for (pattern, text, expected) in [
        ("", "", true),
        ("", "a", false),
        ("*", "", true),
        ("a*c", "abbbc", true),
        ("a*c", "abbb", false),
        ("a?c", "ac", false),
        ("a?c", "aéc", true),
        ("*a*b*", "xxaxxbxx", true),
        ("*a*b*", "xxbxxaxx", false),
    ] {
        assert_eq!(matches(pattern, text, S), expected, "{pattern} {text}");
    }
    assert!(matches("GetO*", "getobject", Case::Insensitive));
    assert!(!matches("GetO*", "getobject", S));
}

#[test]
fn subset_compares_languages_not_texts() {
    for (narrow, wide, expected) in [
        ("a*", "*", true),
        ("*", "a*", false),
        ("*", "?*", false),
        ("?*", "*?", true),
        ("*?*?*", "??*", true),
        ("??", "?*", true),
        ("*ab*ab*", "*ab*", true),
        ("*ab*", "*ab*ab*", false),
        ("*aa*", "*a?*", true),
        ("*a*", "*a?*", false),
        ("x*x*x", "x?*x*", true),
        ("a*b", "a*c*b", false),
        ("**", "*", true),
    ] {
        assert_eq!(subset(narrow, wide, S), expected, "{narrow} in {wide}");
    }
}

/// As long as the longest action, at every place of which the pattern may be at once.
#[test]
fn a_text_without_wildcards_is_inside_whatever_matches_it() {
    let (wide, text) = ("*aa".repeat(85) + "*", "a".repeat(255));
    assert!(matches(&wide, &text, S) && subset(&text, &wide, S));
    assert!(subset(&(text.clone() + "c"), &wide, S) && !subset(&(text[..169].to_owned() + "c"), &wide, S));
    assert!(subset("GETobject", "get*", Case::Insensitive) && !subset("GETobject", "get*", S));
}

#[test]
fn overlap_finds_a_common_text() {
    for (a, b, expected) in [
        ("a*", "*b", true),
        ("a*", "b*", false),
        ("a?", "?b", true),
        ("a?", "??c", false),
        ("*", "", true),
        ("?", "", false),
        ("*ab", "*ba", false),
        ("*ab*", "*ba*", true),
    ] {
        assert_eq!(overlaps(a, b, S), expected, "{a} and {b}");
        assert_eq!(overlaps(b, a, S), expected, "{b} and {a}");
    }
}

#[test]
fn only_a_star_that_ends_a_part_of_an_arn_crosses_colons() {
    let crossing = Pattern::arn("arn:aws:dynamodb:eu-*:123456789012:table/a");
    assert!(crossing.matches("arn:aws:dynamodb:eu-west-1:123456789012:table/a"));
    assert!(crossing.matches("arn:aws:dynamodb:eu-west-1:9:123456789012:table/a"));
    let inside = Pattern::arn("arn:aws:dynamodb:eu-*-1:123456789012:table/a");
    assert!(inside.matches("arn:aws:dynamodb:eu-west-1:123456789012:table/a"));
    assert!(!inside.matches("arn:aws:dynamodb:eu-west:x-1:123456789012:table/a"));
    assert!(!Pattern::arn("arn:aws:s3:?:1:b").matches("arn:aws:s3:::1:b"));
    assert!(Pattern::arn("arn:aws:s3:::b/*.txt").matches("arn:aws:s3:::b/a:b.txt"));
    assert!(Pattern::arn("*").matches("arn:aws:s3:::b"));
    assert!(inside.subset(&crossing) && !crossing.subset(&inside) && inside.overlaps(&crossing));
}

#[test]
fn a_pattern_beyond_the_bound_is_judged_on_the_safe_side() {
    let long = "a".repeat(MAX_PATTERN + 1);
    assert!(!matches(&long, &long, S) && !subset(&long, "*", S) && overlaps(&long, "b", S));
}

#[test]
fn an_inclusion_that_costs_too_much_is_denied() {
    let repeated = |n: usize| format!("{}*", "*a?".repeat(n));
    assert!(subset(&repeated(10), &repeated(9), S) && !subset(&repeated(9), &repeated(10), S));
    assert!(!subset(&repeated(200), &repeated(199), S));
    assert!(subset(&repeated(200), &repeated(200), S), "equal patterns cost nothing");
}
