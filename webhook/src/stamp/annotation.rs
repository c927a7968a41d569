use exeat_crds::names;
use json_patch::Patch;
use kube::core::DynamicObject;
use serde_json::{Value, json};

use crate::patch;

/// Annotation [`names::LAST_EDITOR`] of a policy: who changes its spec, or who did so last. `old` is absent when it is created.
pub fn last_editor(old: Option<&DynamicObject>, new: &DynamicObject, username: &str) -> Patch {
    let edited = old.is_none_or(|old| old.data.get("spec") != new.data.get("spec"));
    let value = if edited { Some(username) } else { annotation(old, names::LAST_EDITOR) };
    put(new, names::LAST_EDITOR, value)
}

/// Annotation [`names::REQUESTER`] of a hold: who created it, for good.
pub fn requester(old: Option<&DynamicObject>, new: &DynamicObject, username: &str) -> Patch {
    let value = if old.is_none() { Some(username) } else { annotation(old, names::REQUESTER) };
    put(new, names::REQUESTER, value)
}

fn annotation<'a>(object: Option<&'a DynamicObject>, key: &str) -> Option<&'a str> {
    object?.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The patch after which the annotation has this value, or is gone.
fn put(object: &DynamicObject, key: &str, value: Option<&str>) -> Patch {
    let before = object.metadata.annotations.clone();
    let mut after = before.clone();
    match value {
        Some(value) => drop(after.get_or_insert_default().insert(key.to_owned(), value.to_owned())),
        None => drop(after.as_mut().and_then(|annotations| annotations.remove(key))),
    }
    let metadata = |annotations: Option<_>| match annotations {
        Some(annotations) => json!({"metadata": {"annotations": annotations}}),
        None => json!({"metadata": Value::Object(serde_json::Map::new())}),
    };
    patch::diff(&metadata(before), &metadata(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(annotations: &Value, duration: &str) -> Value {
        json!({"apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy", "metadata": {"name": "p", "annotations": annotations},
            "spec": {"session": {"duration": duration}}})
    }

    type Stamp = fn(Option<&DynamicObject>, &DynamicObject, &str) -> Patch;

    fn stamped(stamp: Stamp, old: Option<&Value>, new: &Value) -> Value {
        let typed = |value: &Value| serde_json::from_value::<DynamicObject>(value.clone()).unwrap();
        let mut stored = new.clone();
        let user = "alice";
        json_patch::patch(&mut stored, &stamp(old.map(typed).as_ref(), &typed(new), user)).unwrap();
        let again = stamp(old.map(typed).as_ref(), &typed(&stored), user);
        assert!(again.0.is_empty(), "a second stamp changes nothing: {again:?}");
        stored["metadata"]["annotations"].clone()
    }

    #[test]
    fn who_changes_the_spec_is_its_last_editor_whatever_the_object_says() {
        let alice = json!({"exeat.dev/last-editor": "alice"});
        let bob = object(&json!({"exeat.dev/last-editor": "bob", "team": "blue"}), "1h");
        for (what, old, new, expected) in [
            ("created", None, object(&Value::Null, "1h"), alice.clone()),
            ("created in another's name", None, bob.clone(), json!({"exeat.dev/last-editor": "alice", "team": "blue"})),
            (
                "edited",
                Some(&bob),
                object(&json!({"team": "blue", "exeat.dev/last-editor": "bob"}), "2h"),
                json!({"exeat.dev/last-editor": "alice", "team": "blue"}),
            ),
            ("edited, annotations dropped", Some(&bob), object(&Value::Null, "2h"), alice.clone()),
            ("annotation alone", Some(&bob), object(&alice, "1h"), json!({"exeat.dev/last-editor": "bob"})),
            ("annotation removed", Some(&bob), object(&json!({}), "1h"), json!({"exeat.dev/last-editor": "bob"})),
            ("never stamped", Some(&object(&Value::Null, "1h")), object(&alice, "1h"), json!({})),
        ] {
            assert_eq!(stamped(last_editor, old, &new), expected, "{what}");
        }
    }

    #[test]
    fn who_created_a_hold_stays_its_requester() {
        let alice = json!({"exeat.dev/requester": "alice"});
        let bob = object(&json!({"exeat.dev/requester": "bob"}), "1h");
        assert_eq!(stamped(requester, None, &bob), alice);
        assert_eq!(stamped(requester, Some(&bob), &object(&alice, "2h")), bob["metadata"]["annotations"]);
        assert_eq!(stamped(requester, Some(&bob), &object(&Value::Null, "1h")), bob["metadata"]["annotations"]);
    }
}
