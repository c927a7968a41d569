//! Our own kinds, read from YAML or JSON files.

use crate::error::Error;
use exeat_crds::{AgentCredentialPolicy, CredentialProvider, GROUP, text};
use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// One document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// `FILE` or `FILE (document 2)`.
    pub place: String,
    /// What is written there.
    pub value: Value,
}

impl Document {
    /// Whether it is of this kind of ours, whatever else is wrong with it.
    pub fn is<K: Resource<DynamicType = ()>>(&self) -> bool {
        let of = |field: &str| self.value.get(field).and_then(Value::as_str).unwrap_or_default();
        of("kind") == K::kind(&()) && of("apiVersion").split('/').next() == Some(GROUP)
    }

    /// The object, if it is of this kind.
    ///
    /// # Errors
    /// A document of the kind that can't be read, with the field.
    pub fn read<K: Resource<DynamicType = ()> + DeserializeOwned>(&self) -> Result<Option<K>, Error> {
        if !self.is::<K>() {
            return Ok(None);
        }
        let read = serde_json::from_value(self.value.clone());
        read.map(Some).map_err(|error| {
            let error = text::strip_hidden(&error.to_string());
            Error::Usage(format!("{}: {error}; `kubectl exeat policy lint` tells all that is wrong", self.place))
        })
    }
}

/// All documents of a file; `-` is standard input.
///
/// # Errors
/// A file that can't be read.
pub fn read(path: &Path) -> Result<Vec<Document>, Error> {
    let name = path.display().to_string();
    let text = text(path)?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).map_err(|error| Error::Usage(format!("{name}: {}", first_line(&error))))?;
    let several = documents.len() > 1;
    let place = |i: usize| if several { format!("{name} (document {})", i + 1) } else { name.clone() };
    let numbered = documents.into_iter().enumerate().filter(|(_, document)| !document.is_null());
    Ok(numbered.map(|(i, value)| Document { place: place(i), value }).collect())
}

fn all<K: Resource<DynamicType = ()> + DeserializeOwned>(path: &Path) -> Result<Vec<K>, Error> {
    read(path)?.iter().filter_map(|document| document.read().transpose()).collect()
}

/// The only policy of a file.
///
/// # Errors
/// As [`read`], and when there is none or there are several.
pub fn policy(path: &Path) -> Result<AgentCredentialPolicy, Error> {
    only(all(path)?, path, "AgentCredentialPolicy")
}

/// The providers of a file.
///
/// # Errors
/// As [`read`], and when there is none.
pub fn providers(path: &Path) -> Result<Vec<CredentialProvider>, Error> {
    let providers = all(path)?;
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

fn first_line(error: &impl ToString) -> String {
    exeat_crds::text::sanitize(error.to_string().lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn other_kinds_are_let_be_and_a_missing_field_is_named() {
        let document = |value: Value| Document { place: "p.yaml".into(), value };
        let pod = document(json!({"apiVersion": "v1", "kind": "Pod"}));
        assert!(pod.read::<AgentCredentialPolicy>().unwrap().is_none());
        let empty =
            json!({"apiVersion": "exeat.dev/v1alpha1", "kind": "AgentCredentialPolicy", "metadata": {}, "spec": {}});
        let error = document(empty).read::<AgentCredentialPolicy>().unwrap_err().to_string();
        assert!(error.starts_with("p.yaml: ") && error.contains("providerRef"), "{error}");
    }
}
