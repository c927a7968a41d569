//! An object's metadata: the same for all kinds, and in no definition's schema.

use super::Fault;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use regex::Regex;
use serde_json::Value;

/// What people write there.
const WRITTEN: [&str; 5] = ["name", "generateName", "namespace", "labels", "annotations"];
/// Longest name of an object.
const MAX_NAME: usize = 253;
const NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

pub(super) fn faults(metadata: &Value, faults: &mut Vec<Fault>) {
    let read: ObjectMeta = match serde_json::from_value(metadata.clone()) {
        Ok(read) => read,
        Err(error) => return faults.push(Fault::invalid("metadata", format!("{error}; correct its type"))),
    };
    let known = serde_json::to_value(&read).unwrap_or_default();
    for (name, _) in metadata.as_object().into_iter().flatten().filter(|(_, value)| !is_nothing(value)) {
        if known.get(name).is_none() {
            faults.push(Fault::unknown(format!("metadata.{name}"), name, WRITTEN.into_iter()));
        }
    }
    match read.name.as_deref() {
        None if read.generate_name.is_none() => faults.push(Fault::missing("metadata.name")),
        Some(name) if name.len() > MAX_NAME || !Regex::new(NAME).is_ok_and(|wanted| wanted.is_match(name)) => {
            let problem = format!(
                "{name:?} is no name; write lower-case letters, digits, hyphens and dots, with a letter or digit at both ends"
            );
            faults.push(Fault::invalid("metadata.name", problem));
        }
        _ => {}
    }
}

/// What is empty is not written again by what has read it.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}
