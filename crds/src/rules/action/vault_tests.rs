use super::super::law;
use super::*;
use proptest::prelude::*;

fn allow(text: &str) -> Resource {
    Resource::parse(text).unwrap()
}

fn guardrail(text: &str) -> Action {
    Action::parse(Role::Guardrail, text).unwrap()
}

#[test]
fn paths_mean_what_they_mean_to_vault() {
    for (pattern, covered, not) in [
        (
            "secret/data/reports",
            &["secret/data/reports", "secret/data/reports/"][..],
            &["secret/data/reports/a", "secret/data/report", "secret/data/reportsx"][..],
        ),
        ("secret/data/reports/", &["secret/data/reports/", "secret/data/reports"], &["secret/data/reports/a"]),
        (
            "secret/data/reports/*",
            &["secret/data/reports/", "secret/data/reports/a", "secret/data/reports/a/b"],
            &["secret/data/reports", "secret/data/other"],
        ),
        ("secret/data/re*", &["secret/data/re", "secret/data/reports/a"], &["secret/data/", "secret/data/ra"]),
        (
            "secret/+/reports",
            &["secret/data/reports", "secret/metadata/reports/"],
            &["secret//reports", "secret/a/b/reports"],
        ),
        ("kv/+/x/*", &["kv/a/x/y", "kv/a/x/"], &["kv/a/x", "kv/x/y"]),
    ] {
        let pattern = allow(pattern);
        for call in covered {
            assert!(pattern.covers(call), "{} {call}", pattern.text());
        }
        for call in not {
            assert!(!pattern.covers(call), "{} {call}", pattern.text());
        }
    }
}

#[test]
fn what_could_reach_vaults_own_paths_or_hide_a_path_is_refused_with_the_fix() {
    for (text, problem) in [
        ("sys/mounts", "sys/"),
        ("auth/token/create", "auth/"),
        ("identity/*", "identity/"),
        ("cubbyhole/x", "cubbyhole/"),
        ("*", "mount"),
        ("s*", "mount"),
        ("+/data/x", "mount"),
        ("secret", "below a mount"),
        ("secret/a*b", "before its end"),
        ("secret/**", "before its end"),
        ("/secret/data", "empty segment"),
        ("secret//data", "empty segment"),
        ("secret/../sys/mounts", "dots"),
        ("secret/./x", "dots"),
        ("secret/a%2fb", "character"),
        ("secret/a b", "character"),
        ("secret/a?list=true", "character"),
        ("secret/a+", "character"),
        ("secret/+*", "character"),
        ("secret/ä", "character"),
    ] {
        let error = Resource::parse(text).unwrap_err();
        assert!(error.problem.contains(problem) && !error.fix.is_empty(), "{text}: {error}");
        assert_eq!(error.reason().as_str(), "ResourceInvalid");
    }
}

#[test]
fn verbs_are_those_that_a_call_shows() {
    for (role, text, problem) in [
        (Role::Allow, "*", "no verb"),
        (Role::Allow, "update", "no verb"),
        (Role::Allow, "sudo", "no verb"),
        (Role::Allow, "", "no verb"),
        (Role::Allow, "read secret/data/*", "more than a verb"),
        (Role::Guardrail, "read a/b c", "more than a verb"),
        (Role::Guardrail, "GET", "no verb"),
        (Role::Guardrail, "read a//b", "empty segment"),
    ] {
        let error = Action::parse(role, text).unwrap_err();
        assert!(error.problem.contains(problem), "{text}: {error}");
        assert_eq!(error.reason().as_str(), "ActionInvalid");
    }
    assert!(Action::parse(Role::Allow, "create").unwrap_err().fix.contains("write write"));
    assert_eq!(guardrail("*  *").text(), "*");
    assert_eq!(guardrail("read  sys/*").text(), "read sys/*");
    assert!(guardrail("*").covers("read") && guardrail("* secret/*").covers("read secret/x"));
    assert!(!guardrail("* secret/*").covers("read") && !guardrail("*").covers("*"));
}

#[test]
fn a_guardrail_with_a_path_holds_there_alone() {
    let (read, prod) = (Action::parse(Role::Allow, "read").unwrap(), guardrail("read secret/data/prod/*"));
    assert!(read.within(&prod, &allow("secret/data/prod/db")));
    assert!(!read.within(&prod, &allow("secret/data/*")) && read.meets(&prod, &allow("secret/data/*")));
    assert!(!read.meets(&prod, &allow("secret/data/dev/*")));
    assert!(prod.covers_on("read", "secret/data/prod/db") && !prod.covers_on("list", "secret/data/prod/db"));
}

fn pattern() -> impl Strategy<Value = String> {
    let segment = prop_oneof![Just("a"), Just("ab"), Just("b"), Just("+")];
    (prop::collection::vec(segment, 1..4), prop::option::of(prop_oneof![Just(""), Just("a"), Just("b")])).prop_map(
        |(segments, open)| match open {
            Some(start) => format!("m/{}/{start}*", segments.join("/")),
            None => format!("m/{}", segments.join("/")),
        },
    )
}

fn call() -> impl Strategy<Value = String> {
    (prop::collection::vec(prop_oneof![Just("a"), Just("ab"), Just("b"), Just("abc")], 1..5), any::<bool>())
        .prop_map(|(segments, slash)| format!("m/{}{}", segments.join("/"), if slash { "/" } else { "" }))
}

proptest! {
    #[test]
    fn the_three_questions_agree(a in pattern(), b in pattern(), calls in prop::collection::vec(call(), 1..24)) {
        let (x, y) = (allow(&a), allow(&b));
        prop_assert_eq!(&allow(&x.text()), &x);
        law::check((&x, &y), &calls, Resource::covers, Resource::subset, Resource::overlaps)?;
    }
}
