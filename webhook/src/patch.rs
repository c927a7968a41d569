//! The JSON Patch from one pod to another.
//!
//! Lists of named things (containers, volumes, variables, mounts) are compared by name, so that an insertion is one
//! `add` and never rewrites its neighbours: a field that this program does not know stays with its owner.

use std::collections::BTreeSet;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation};
use serde_json::{Map, Value};

/// The operations that turn `before` into `after`.
pub fn diff(before: &Value, after: &Value) -> Patch {
    let mut operations = Vec::new();
    values(before, after, &PointerBuf::new(), &mut operations);
    Patch(operations)
}

fn values(before: &Value, after: &Value, path: &PointerBuf, out: &mut Vec<PatchOperation>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(before), Value::Object(after)) => objects(before, after, path, out),
        (Value::Array(before), Value::Array(after)) => arrays(before, after, path, out),
        _ => replace(path, after, out),
    }
}

fn objects(before: &Map<String, Value>, after: &Map<String, Value>, path: &PointerBuf, out: &mut Vec<PatchOperation>) {
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        out.push(PatchOperation::Remove(RemoveOperation { path: path.with_trailing_token(key) }));
    }
    for (key, value) in after {
        let path = path.with_trailing_token(key);
        match (before.get(key), value) {
            (Some(old), _) if old == value => {}
            (Some(old @ Value::Object(_)), Value::Object(_)) | (Some(old @ Value::Array(_)), Value::Array(_)) => {
                values(old, value, &path, out);
            }
            // Of a member that is there it is a replacement. One that our types filled in need not be there.
            _ => out.push(PatchOperation::Add(AddOperation { path, value: value.clone() })),
        }
    }
}

fn arrays(before: &[Value], after: &[Value], path: &PointerBuf, out: &mut Vec<PatchOperation>) {
    match key_of(path).and_then(|key| Some((keys(before, key)?, keys(after, key)?))) {
        Some((old, new)) if same_order(&old, &new) => keyed(before, &old, after, &new, path, out),
        _ if after.starts_with(before) => {
            for (i, value) in after.iter().enumerate().skip(before.len()) {
                let path = path.with_trailing_token(i);
                out.push(PatchOperation::Add(AddOperation { path, value: value.clone() }));
            }
        }
        _ => replace(path, &Value::Array(after.to_vec()), out),
    }
}

fn keyed(
    before: &[Value],
    old: &[&str],
    after: &[Value],
    new: &[&str],
    path: &PointerBuf,
    out: &mut Vec<PatchOperation>,
) {
    for (i, _) in old.iter().enumerate().rev().filter(|(_, key)| !new.contains(key)) {
        out.push(PatchOperation::Remove(RemoveOperation { path: path.with_trailing_token(i) }));
    }
    for (i, (key, value)) in new.iter().zip(after).enumerate() {
        let path = path.with_trailing_token(i);
        match old.iter().position(|other| other == key).and_then(|at| before.get(at)) {
            Some(old) => values(old, value, &path, out),
            None => out.push(PatchOperation::Add(AddOperation { path, value: value.clone() })),
        }
    }
}

fn replace(path: &PointerBuf, value: &Value, out: &mut Vec<PatchOperation>) {
    out.push(PatchOperation::Replace(ReplaceOperation { path: path.clone(), value: value.clone() }));
}

/// What tells the elements of the list at `path` apart.
fn key_of(path: &PointerBuf) -> Option<&'static str> {
    match path.last()?.decoded().as_ref() {
        "containers" | "initContainers" | "volumes" | "env" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        _ => None,
    }
}

/// The keys of all elements; none where one has none or two share one.
fn keys<'a>(list: &'a [Value], key: &str) -> Option<Vec<&'a str>> {
    let keys: Option<Vec<&str>> = list.iter().map(|element| element.get(key)?.as_str()).collect();
    keys.filter(|keys| keys.iter().collect::<BTreeSet<_>>().len() == keys.len())
}

fn same_order(old: &[&str], new: &[&str]) -> bool {
    let kept = old.iter().filter(|key| new.contains(key));
    kept.eq(new.iter().filter(|key| old.contains(key)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_insertion_leaves_unknown_fields_with_their_owner() {
        let before = json!({"initContainers": [{"name": "app", "image": "a", "ofTheFuture": 1}]});
        let after =
            json!({"initContainers": [{"name": "ours"}, {"name": "app", "image": "a", "env": [{"name": "A"}]}]});
        let mut known = before.clone();
        known["initContainers"][0].as_object_mut().unwrap().remove("ofTheFuture");
        let mut patched = before;
        json_patch::patch(&mut patched, &diff(&known, &after)).unwrap();
        let expected = json!({"initContainers": [
            {"name": "ours"},
            {"name": "app", "image": "a", "env": [{"name": "A"}], "ofTheFuture": 1},
        ]});
        assert_eq!(patched, expected);
    }

    #[test]
    fn a_member_that_our_types_filled_in_need_not_be_there() {
        let sent = json!({"seccompProfile": {}});
        let (before, after) =
            (json!({"seccompProfile": {"type": ""}}), json!({"seccompProfile": {"type": "RuntimeDefault"}}));
        let mut patched = sent;
        json_patch::patch(&mut patched, &diff(&before, &after)).unwrap();
        assert_eq!(patched, after);
    }

    #[test]
    fn equal_values_give_no_operation() {
        let value = json!({"a": [1, 2], "containers": [{"name": "x"}]});
        assert!(diff(&value, &value).0.is_empty());
    }

    fn list() -> impl Strategy<Value = Value> {
        let element = ("[a-c]", 0..3).prop_map(|(name, value)| json!({"name": name, "mountPath": name, "v": value}));
        proptest::collection::vec(element, 0..5).prop_map(Value::Array)
    }

    fn object() -> impl Strategy<Value = Value> {
        let key = prop_oneof![Just("env"), Just("containers"), Just("volumeMounts"), Just("drop"), Just("a/b~c")];
        proptest::collection::btree_map(key, list(), 0..4).prop_map(|map| json!(map))
    }

    proptest! {
        #[test]
        fn the_patch_leads_from_one_to_the_other(before in object(), after in object()) {
            let mut patched = before.clone();
            json_patch::patch(&mut patched, &diff(&before, &after)).unwrap();
            prop_assert_eq!(patched, after);
        }
    }
}
