use super::super::law;
use super::*;
use crate::reason::Reason;
use proptest::prelude::*;

fn allow(text: &str) -> Action {
    Action::parse(Role::Allow, text).unwrap()
}

fn guardrail(text: &str) -> Action {
    Action::parse(Role::Guardrail, text).unwrap()
}

fn resource(text: &str) -> Resource {
    Resource::parse(text).unwrap()
}

#[test]
fn actions_are_read_into_what_a_role_needs() {
    let action = allow("list  deployments.apps/scale");
    assert_eq!(action.text(), "list deployments.apps/scale");
    assert_eq!((action.verb(), action.group(), action.rule_resource().as_str()), ("list", "apps", "deployments/scale"));
    assert_eq!((allow("get pods").group(), allow("get pods").rule_resource().as_str()), ("", "pods"));
    for text in ["* *", "get *.apps", "get */status", "* pods/*", "get deployments.*"] {
        assert_eq!(guardrail(text).text(), text);
    }
}

#[test]
fn each_fault_of_an_action_names_itself_and_the_fix() {
    for (text, problem, fix) in [
        ("pods", "not a verb and a resource", "get pods"),
        ("get pods now", "not a verb and a resource", "get pods"),
        ("* pods", "no verb", "use one of get, list"),
        ("impersonate users", "no verb", "use one of get, list"),
        ("Get pods", "no verb", "use one of get, list"),
        ("get *", "wildcard", "one action for each resource"),
        ("get pods/*", "wildcard", "one action for each subresource"),
        ("get deployments.*", "wildcard", "one action for each group"),
        ("get Pods", "no name of a resource", "lower case"),
        ("get pods/", "no name of a subresource", "subresource"),
        ("get /healthz", "outside resources", "get pods"),
    ] {
        let error = Action::parse(Role::Allow, text).unwrap_err();
        assert_eq!(error.reason(), Reason::ActionInvalid, "{text}");
        let message = error.to_string();
        assert!(message.contains(problem) && message.contains(fix), "{text}: {message}");
    }
    assert!(Action::parse(Role::Guardrail, "get sec*").unwrap_err().to_string().contains("* for all"));
}

#[test]
fn wildcards_of_guardrails_reach_what_the_law_says() {
    for (pattern, call, expected) in [
        ("*", "delete secrets", true),
        ("get *", "get deployments.apps/scale", true),
        ("get *.apps", "get deployments.apps", true),
        ("get *.apps", "get pods", false),
        ("get */status", "get pods/status", true),
        ("get */status", "get pods", false),
        ("get pods", "get pods/log", false),
        ("get pods/*", "get pods/log", true),
        ("get pods/*", "get pods", false),
        ("* secrets", "list secrets", true),
        ("get deployments.*", "get deployments.apps", true),
    ] {
        assert_eq!(guardrail(pattern).covers(call), expected, "{pattern} {call}");
        assert_eq!(allow(call).overlaps(&guardrail(pattern)), expected, "{pattern} {call}");
    }
    assert!(guardrail("get pods/*").subset(&guardrail("* *")) && !guardrail("* *").subset(&guardrail("get *")));
}

#[test]
fn each_fault_of_a_resource_names_itself_and_the_fix() {
    for (text, problem, fix) in [
        ("pods", "names no namespace", "namespace/*"),
        ("*", "names no namespace", "namespace/*"),
        ("*/*", "not supported yet", "each namespace"),
        ("team-*/x", "not supported yet", "each namespace"),
        ("/x", "not literal", "each namespace"),
        ("Agents/x", "no name of a namespace", "lower-case"),
        ("agents/web-*", "RBAC knows no patterns", "* for all"),
        ("agents/", "no name of an object", "one name"),
        ("agents/a/b", "no name of an object", "one name"),
    ] {
        let error = Resource::parse(text).unwrap_err();
        assert_eq!(error.reason(), Reason::ResourceInvalid, "{text}");
        let message = error.to_string();
        assert!(message.contains(problem) && message.contains(fix), "{text}: {message}");
    }
}

#[test]
fn a_name_covers_calls_with_that_name_only() {
    let one = resource("agents/web");
    let all = resource("agents/*");
    assert!(one.covers("agents/web") && !one.covers("agents/") && !one.covers("agents/db") && !one.covers("other/web"));
    assert!(all.covers("agents/web") && all.covers("agents/") && !all.covers("other/web"));
    assert!(one.subset(&all) && !all.subset(&one));
}

#[test]
fn names_are_refused_where_rbac_would_ignore_them() {
    for action in ["create pods", "deletecollection pods", "deletecollection pods.metrics.k8s.io"] {
        let error = check_pair(&allow(action), &resource("agents/web")).unwrap_err().to_string();
        assert!(error.contains("carry no name") && error.contains("agents/*"), "{error}");
        assert!(check_pair(&allow(action), &resource("agents/*")).is_ok());
    }
    for action in ["get pods", "create pods/eviction", "list pods", "watch pods", "delete pods"] {
        assert!(check_pair(&allow(action), &resource("agents/web")).is_ok(), "{action}");
    }
}

fn written(words: [&'static [&'static str]; 4]) -> impl Strategy<Value = String> {
    words.map(prop::sample::select).prop_map(|[verb, name, group, sub]| format!("{verb} {name}{group}{sub}"))
}

fn pattern() -> impl Strategy<Value = Action> {
    written([&["*", "get", "list"], &["*", "pods", "jobs"], &["", ".*", ".batch", ".apps"], &["", "/*", "/status"]])
        .prop_filter_map("a pattern", |text| Action::parse(Role::Guardrail, &text).ok())
}

fn call() -> impl Strategy<Value = String> {
    written([&["get", "list"], &["pods", "jobs"], &["", ".batch", ".apps"], &["", "/status", "/log"]])
}

proptest! {
    #[test]
    fn the_three_questions_agree(x in pattern(), y in pattern(), calls in prop::collection::vec(call(), 1..24)) {
        prop_assert_eq!(&guardrail(&x.text()), &x);
        law::check((&x, &y), &calls, Action::covers, Action::subset, Action::overlaps)?;
        for call in &calls {
            prop_assert_eq!(allow(call).subset(&x), x.covers(call), "{:?} {}", x, call);
        }
    }

    #[test]
    fn the_three_questions_about_objects_agree(
        a in "(agents|other)/(a|b|[*])", b in "(agents|other)/(a|b|[*])", calls in prop::collection::vec("(agents|other)/(a|b|c|)", 1..12)
    ) {
        let (x, y) = (Resource::parse(&a).unwrap(), Resource::parse(&b).unwrap());
        law::check((&x, &y), &calls, Resource::covers, Resource::subset, Resource::overlaps)?;
    }
}
