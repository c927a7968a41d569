use exeat_crds::rules::{Call, Statement, covers};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn grant(allow: &[(&[&str], &[&str])], deny: &[&str]) -> Grant {
    let texts = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    Grant {
        kind: Kind::Kubernetes,
        principal: "system:serviceaccounts:exeat-grants".into(),
        allow: allow.iter().map(|(a, r)| Statement { actions: texts(a), resources: texts(r) }).collect(),
        deny: texts(deny),
        observe: false,
    }
}

#[test]
fn statements_become_rules_of_their_namespaces() {
    let grant = grant(
        &[
            (&["get pods", "list pods", "get pods/log", "list deployments.apps"], &["agents/*", "tools/*"]),
            (&["get configmaps", "patch configmaps"], &["agents/b", "agents/a"]),
            (&["get configmaps"], &["agents/c"]),
            (&["get pods", "delete pods"], &["agents/web-0"]),
        ],
        &[],
    );
    let rules = rules_of(&grant).unwrap();
    assert_eq!(rules.keys().collect::<Vec<_>>(), ["agents", "tools"]);
    assert_eq!(
        serde_json::to_value(&rules["agents"]).unwrap(),
        json!([
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["c"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a", "b"], "verbs": ["get", "patch"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["pods"], "resourceNames": ["web-0"], "verbs": ["delete"]},
            {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["list"]},
        ])
    );
    assert_eq!(rules["tools"].len(), 3);
}

#[test]
fn a_denial_that_meets_what_is_allowed_is_refused_and_others_are_not() {
    let allow: &[(&[&str], &[&str])] = &[(&["get pods"], &["agents/*"]), (&["get secrets"], &["agents/db"])];
    let error = rules_of(&grant(allow, &["* secrets"])).unwrap_err();
    assert_eq!(error.reason, Reason::DeniedByGuardrail);
    assert!(error.message.contains("spec.allow[1]") && error.message.contains("\"get secrets\""), "{error}");
    assert!(rules_of(&grant(allow, &["delete *", "* nodes"])).is_ok());
}

#[test]
fn what_can_not_be_read_is_refused() {
    for (action, resource, reason) in [
        ("* pods", "agents/*", Reason::ActionInvalid),
        ("get *", "agents/*", Reason::ActionInvalid),
        ("get pods", "*/x", Reason::ResourceInvalid),
        ("get pods", "agents", Reason::ResourceInvalid),
    ] {
        let error = rules_of(&grant(&[(&[action], &[resource])], &[])).unwrap_err();
        assert_eq!(error.reason, reason, "{action} on {resource}: {error}");
    }
    let mut aws = grant(&[], &[]);
    aws.kind = Kind::Aws;
    assert_eq!(rules_of(&aws).unwrap_err().reason, Reason::InternalError);
}

#[test]
fn more_namespaces_than_a_handle_holds_are_refused() {
    let resources: Vec<String> = (0..=MAX_NAMESPACES).map(|n| format!("n{n}/*")).collect();
    let mut wide = grant(&[], &[]);
    wide.allow = vec![Statement { actions: vec!["get pods".into()], resources: resources.clone() }];
    let error = rules_of(&wide).unwrap_err();
    assert_eq!(error.reason, Reason::PolicyTooLarge);
    assert!(error.message.contains("several policies"), "{error}");
    wide.allow[0].resources = resources[1..].to_vec();
    assert_eq!(rules_of(&wide).unwrap().len(), MAX_NAMESPACES);
}

/// What the API server's RBAC authorizer does with the rules of one Role.
fn rbac_allows(rules: &[PolicyRule], verb: &str, group: &str, resource: &str, name: &str) -> bool {
    let holds = |list: &Option<Vec<String>>, item: &str| list.iter().flatten().any(|i| i == item);
    rules.iter().any(|rule| {
        rule.verbs.iter().any(|v| v == verb)
            && holds(&rule.api_groups, group)
            && holds(&rule.resources, resource)
            && rule.resource_names.as_ref().is_none_or(|names| names.is_empty() || names.iter().any(|n| n == name))
    })
}

const VERBS: [&str; 4] = ["get", "list", "update", "delete"];
const RESOURCES: [(&str, &str); 4] = [("", "pods"), ("", "pods/log"), ("apps", "deployments"), ("batch", "jobs")];
const NAMES: [&str; 4] = ["*", "a", "b", "c"];
const NAMESPACES: [&str; 2] = ["agents", "tools"];

fn action_text(verb: &str, (group, resource): (&str, &str)) -> String {
    if group.is_empty() { format!("{verb} {resource}") } else { format!("{verb} {resource}.{group}") }
}

fn statements() -> impl Strategy<Value = Vec<Statement>> {
    let action = (0..4_usize, 0..4_usize).prop_map(|(v, r)| action_text(VERBS[v], RESOURCES[r]));
    let resource = (0..2_usize, 0..4_usize).prop_map(|(s, n)| format!("{}/{}", NAMESPACES[s], NAMES[n]));
    let statement = (prop::collection::vec(action, 1..4), prop::collection::vec(resource, 1..4))
        .prop_map(|(actions, resources)| Statement { actions, resources });
    prop::collection::vec(statement, 1..5)
}

proptest! {
    #[test]
    fn rbac_allows_exactly_what_the_grant_covers(allow in statements()) {
        let mut grant = grant(&[], &[]);
        grant.allow = allow;
        let rules = rules_of(&grant).unwrap();
        for namespace in NAMESPACES {
            for verb in VERBS {
                for resource in RESOURCES {
                    for name in ["a", "b", "c", "d"] {
                        let (action, object) = (action_text(verb, resource), format!("{namespace}/{name}"));
                        let wanted = covers(&grant, Call { action: &action, resource: &object });
                        let got = rules.get(namespace)
                            .is_some_and(|rules| rbac_allows(rules, verb, resource.0, resource.1, name));
                        prop_assert_eq!(wanted, got, "{} on {}", action, object);
                    }
                }
            }
        }
    }
}
