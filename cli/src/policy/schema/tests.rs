use super::*;
use crate::policy::call::tests::{policy, provider};
use exeat_crds::{AgentCredentialPolicy, CredentialProvider};
use serde_json::json;

/// A sound policy with `value` at a pointer; null takes the field away.
fn with(pointer: &str, value: Value) -> Value {
    let mut object = serde_json::to_value(policy()).unwrap();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    match (parent.as_object_mut(), value) {
        (Some(fields), Value::Null) => drop(fields.remove(name)),
        (Some(fields), value) => drop(fields.insert(name.to_owned(), value)),
        (None, value) => parent[name.parse::<usize>().unwrap()] = value,
    }
    object
}

fn of_policy(object: &Value) -> Vec<Fault> {
    let judged = judge::<AgentCredentialPolicy>(object);
    assert_eq!(judged.untold, Vec::<String>::new());
    judged.faults
}

#[test]
fn what_is_sound_has_no_faults() {
    assert_eq!(of_policy(&serde_json::to_value(policy()).unwrap()), []);
    let provider = judge::<CredentialProvider>(&serde_json::to_value(provider()).unwrap());
    assert_eq!(provider, Judged::default());
}

#[test]
fn each_fault_names_its_field_and_the_fix() {
    let long = "x".repeat(300);
    for (pointer, value, path, fix) in [
        ("/apiVersion", json!("exeat.dev/v1"), "apiVersion", "write exeat.dev/v1alpha1"),
        ("/metadata/name", Value::Null, "metadata.name", "add it"),
        ("/metadata/name", json!("Reports"), "metadata.name", "lower-case"),
        ("/metadata/name", json!("a".repeat(64)), "metadata.name", "at most 63"),
        ("/metadata/lables", json!({"a": "b"}), "metadata.lables", "did you mean labels?"),
        ("/metadata/labels", json!({"a": 1}), "metadata", "expected a string"),
        ("/specs", json!({}), "specs", "did you mean spec?"),
        ("/spec", Value::Null, "spec", "add it"),
        ("/spec/sesion", json!({"duration": "1h"}), "spec.sesion", "did you mean session?"),
        ("/spec/providerRef/zzz", json!(1), "spec.providerRef.zzz", "there are name"),
        ("/spec/providerRef", json!("aws-prod"), "spec.providerRef", "an object with fields"),
        ("/spec/principal", json!(7), "spec.principal", "a text"),
        ("/spec/principal", json!(""), "spec.principal", "at least 1"),
        ("/spec/principal", Value::Null, "spec.principal", "add it"),
        ("/spec/allow", json!([]), "spec.allow", "at least one"),
        ("/spec/allow", json!({}), "spec.allow", "a list"),
        ("/spec/allow/0/actions/0", json!(long), "spec.allow[0].actions[0]", "at most 256"),
        ("/spec/allow/0/resources", Value::Null, "spec.allow[0].resources", "add it"),
        ("/spec/allow/0/effect", json!("Deny"), "spec.allow[0].effect", "there are actions, resources"),
        ("/spec/session/onExpiry", json!("Later"), "spec.session.onExpiry", "write one of Renew, Stop"),
        ("/spec/session/duration", json!("soon"), "spec.session.duration", "write a duration as 90m"),
        ("/spec/session/duration", json!("1m"), "spec.session.duration", "at least 5m"),
        ("/spec/session/duration", json!("169h"), "spec.session.duration", "at most 168h"),
        (
            "/spec/subjects/serviceAccounts",
            json!(["a", "a"]),
            "spec.subjects.serviceAccounts[1]",
            "already as entry 0; remove one",
        ),
        (
            "/spec/approvalRules",
            json!([{"name": "a", "actions": ["s3:*"], "required": [{"group": "g", "count": 1}, {"group": "g", "count": 2}]}]),
            "spec.approvalRules[0].required[1]",
            "remove one",
        ),
        (
            "/spec/approvalRules",
            json!([{"name": "a", "actions": ["s3:*"], "required": [{"group": "g", "count": 17}]}]),
            "spec.approvalRules[0].required[0].count",
            "at most 16",
        ),
    ] {
        let faults = of_policy(&with(pointer, value));
        let found = faults.iter().find(|fault| fault.path == path && fault.message.contains(fix));
        assert!(found.is_some(), "{path}, {fix}: {faults:?}");
    }
}

#[test]
fn rules_between_fields_are_judged() {
    let mut object = serde_json::to_value(provider()).unwrap();
    object["spec"]["kubernetes"] = json!({});
    let two = judge::<CredentialProvider>(&object);
    assert!(two.untold.is_empty() && two.faults.len() == 1 && two.faults[0].path == "spec", "{two:?}");
    object["spec"].as_object_mut().unwrap().remove("kubernetes");
    object["spec"]["aws"]["source"] = json!("Secret");
    let secret = judge::<CredentialProvider>(&object);
    assert_eq!(secret.faults.len(), 1, "{secret:?}");
    assert!(secret.faults[0].path.starts_with("spec.aws"), "{secret:?}");
}

/// A word that the judge does not know would be a bound that it passes by.
#[test]
fn our_definitions_say_nothing_that_is_not_judged() {
    fn words(schema: &Value, unknown: &mut Vec<String>) {
        let Some(fields) = schema.as_object() else { return };
        unknown.extend(fields.keys().filter(|word| !value::WORDS.contains(&word.as_str())).cloned());
        fields
            .get("properties")
            .into_iter()
            .flat_map(|all| all.as_object().into_iter().flatten())
            .for_each(|(_, below)| words(below, unknown));
        ["items", "additionalProperties"]
            .iter()
            .filter_map(|word| fields.get(*word))
            .for_each(|below| words(below, unknown));
        if let Some(pattern) = fields.get("pattern") {
            regex::Regex::new(pattern.as_str().unwrap()).unwrap();
        }
        if let Some(format) = fields.get("format").and_then(Value::as_str) {
            unknown.extend((!["int32", "int64", "date-time"].contains(&format)).then(|| format.to_owned()));
        }
    }
    let mut unknown = Vec::new();
    for schema in [schema::<AgentCredentialPolicy>(), schema::<CredentialProvider>()] {
        assert!(schema["properties"]["spec"].is_object());
        words(&schema["properties"]["spec"], &mut unknown);
        assert!(!kube_cel::compile_schema(&schema).has_errors());
    }
    assert_eq!(unknown, Vec::<String>::new());
}
