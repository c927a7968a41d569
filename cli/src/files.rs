//! Our own kinds, read from YAML or JSON files.

use crate::error::Error;
use exeat_crds::{AgentCredentialPolicy, CredentialProvider};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// An object from a file.
#[derive(Clone, Debug)]
pub enum Object {
    /// A policy.
    Policy(Box<AgentCredentialPolicy>),
    /// A provider.
    Provider(Box<CredentialProvider>),
    /// Another kind, which is not looked at.
    Other(String),
}

/// An object, with the fields that its kind does not have.
#[derive(Clone, Debug)]
pub struct Found {
    /// `FILE` or `FILE (document 2)`.
    pub place: String,
    /// The object.
    pub object: Object,
    /// Paths of fields that its kind does not have.
    pub unknown: Vec<String>,
}

/// All objects of a file; `-` is standard input.
///
/// # Errors
/// A file that can't be read, or a document of our kinds that is not one, with the field.
pub fn read(path: &Path) -> Result<Vec<Found>, Error> {
    let name = path.display().to_string();
    let text = text(path)?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).map_err(|error| Error::Usage(format!("{name}: {}", first_line(&error))))?;
    let several = documents.len() > 1;
    let mut found = Vec::new();
    for (i, document) in documents.into_iter().enumerate().filter(|(_, document)| !document.is_null()) {
        let place = if several { format!("{name} (document {})", i + 1) } else { name.clone() };
        let (object, unknown) = object(document).map_err(|cause| Error::Usage(format!("{place}: {cause}")))?;
        found.push(Found { place, object, unknown });
    }
    Ok(found)
}

/// The only policy of a file.
///
/// # Errors
/// As [`read`], and when there is none or there are several.
pub fn policy(path: &Path) -> Result<AgentCredentialPolicy, Error> {
    let policies = read(path)?.into_iter().filter_map(|found| match found.object {
        Object::Policy(policy) => Some(*policy),
        _ => None,
    });
    only(policies.collect(), path, "AgentCredentialPolicy")
}

/// The providers of a file.
///
/// # Errors
/// As [`read`], and when there is none.
pub fn providers(path: &Path) -> Result<Vec<CredentialProvider>, Error> {
    let providers: Vec<_> = read(path)?
        .into_iter()
        .filter_map(|found| match found.object {
            Object::Provider(provider) => Some(*provider),
            _ => None,
        })
        .collect();
    if providers.is_empty() {
        return Err(Error::Usage(format!("{}: there is no CredentialProvider in it", path.display())));
    }
    Ok(providers)
}

fn only<T>(mut objects: Vec<T>, path: &Path, kind: &str) -> Result<T, Error> {
    match (objects.pop(), objects.len()) {
        (Some(object), 0) => Ok(object),
        (None, _) => Err(Error::Usage(format!("{}: there is no {kind} in it", path.display()))),
        (Some(_), more) => {
            let count = more + 1;
            Err(Error::Usage(format!(
                "{}: there are {count} of kind {kind} in it; give a file with one",
                path.display()
            )))
        }
    }
}

fn text(path: &Path) -> Result<String, Error> {
    let usage = |error: std::io::Error| Error::Usage(format!("{}: {error}", path.display()));
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(usage)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(usage)
}

fn object(document: Value) -> Result<(Object, Vec<String>), String> {
    let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let version = document.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if !version.starts_with("exeat.dev/") {
        return Ok((Object::Other(kind), Vec::new()));
    }
    match kind.as_str() {
        "AgentCredentialPolicy" => {
            let (policy, unknown) = typed(document)?;
            Ok((Object::Policy(policy), unknown))
        }
        "CredentialProvider" => {
            let (provider, unknown) = typed(document)?;
            Ok((Object::Provider(provider), unknown))
        }
        _ => Ok((Object::Other(kind), Vec::new())),
    }
}

fn typed<T: DeserializeOwned + Serialize>(document: Value) -> Result<(Box<T>, Vec<String>), String> {
    let object: T = serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
    let known = serde_json::to_value(&object).map_err(|error| error.to_string())?;
    let mut unknown = Vec::new();
    for part in ["spec", "metadata"] {
        let none = Value::Null;
        compare(part, document.get(part).unwrap_or(&none), known.get(part).unwrap_or(&none), &mut unknown);
    }
    Ok((Box::new(object), unknown))
}

/// A field that was read is written again, unless it holds nothing; what is not there again was not read.
fn compare(path: &str, written: &Value, read: &Value, unknown: &mut Vec<String>) {
    match (written, read) {
        (Value::Object(fields), Value::Object(known)) => {
            for (name, value) in fields.iter().filter(|(_, value)| !is_nothing(value)) {
                let path = format!("{path}.{name}");
                match known.get(name) {
                    Some(read) => compare(&path, value, read, unknown),
                    None => unknown.push(path),
                }
            }
        }
        (Value::Array(items), Value::Array(known)) => {
            for (i, (value, read)) in items.iter().zip(known).enumerate() {
                compare(&format!("{path}[{i}]"), value, read, unknown);
            }
        }
        _ => {}
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn first_line(error: &impl ToString) -> String {
    exeat_crds::text::sanitize(error.to_string().lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_fields_are_named_and_empty_ones_are_not() {
        let (object, unknown) = object(json!({
            "apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy",
            "metadata": {"name": "p", "lables": {"a": "b"}, "annotations": {}},
            "spec": {"providerRef": {"name": "x", "namespace": "y"}, "principal": "p", "subjects": {"serviceAccounts": ["a"]},
                "allow": [{"actions": ["get pods"], "resources": ["a/*"], "effect": "Deny"}], "sesion": {"duration": "1h"}, "owners": []}
        }))
        .unwrap();
        assert!(matches!(object, Object::Policy(_)));
        assert_eq!(unknown, ["spec.allow[0].effect", "spec.providerRef.namespace", "spec.sesion", "metadata.lables"]);
    }

    #[test]
    fn other_kinds_are_let_be_and_a_missing_field_is_named() {
        assert!(
            matches!(object(json!({"apiVersion": "v1", "kind": "Pod"})).unwrap().0, Object::Other(kind) if kind == "Pod")
        );
        let missing = object(
            json!({"apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy", "metadata": {}, "spec": {}}),
        );
        assert!(missing.unwrap_err().contains("providerRef"));
    }
}
