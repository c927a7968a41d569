//! What the API server would say of an object by its definition alone: the definitions are in this program. Pure.

mod metadata;
mod rules;
mod value;

use kube::{CustomResourceExt, Resource};
use serde_json::{Map, Value};

/// One thing that a definition does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its code.
    pub code: &'static str,
    /// The field: `spec.allow[0].actions`.
    pub path: String,
    /// What is wrong, and the fix.
    pub message: String,
}

impl Fault {
    fn invalid(path: &str, message: impl Into<String>) -> Self {
        Self { code: "FieldInvalid", path: path.to_owned(), message: message.into() }
    }

    fn missing(path: impl Into<String>) -> Self {
        let message = "it is missing, and must be there; add it".to_owned();
        Self { code: "FieldMissing", path: path.into(), message }
    }

    /// `known`: the fields that there are.
    fn unknown<'a>(path: String, name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.collect();
        let near = known.iter().map(|field| (strsim::jaro_winkler(field, name), field));
        let near = near.filter(|(likeness, _)| *likeness > 0.8).max_by(|(a, _), (b, _)| a.total_cmp(b));
        let fix = match near {
            Some((_, field)) => format!("did you mean {field}?"),
            None => format!("there are {}", known.join(", ")),
        };
        Self { code: "FieldUnknown", path, message: format!("there is no such field; {fix}") }
    }
}

/// What is found of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Why the API server would refuse it.
    pub faults: Vec<Fault>,
    /// Rules that can't be judged here.
    pub untold: Vec<String>,
}

/// Judges an object of kind `K`. Its status is the programs' own and not looked at. Rules between fields are judged once each field
/// is as it must be, as the API server does.
pub fn judge<K: Resource<DynamicType = ()> + CustomResourceExt>(object: &Value) -> Judged {
    let schema = schema::<K>();
    let mut faults = Vec::new();
    let mut fields = object.as_object().cloned().unwrap_or_default();
    fields.remove("status");
    version::<K>(&mut fields, &mut faults);
    metadata::faults(&fields.remove("metadata").unwrap_or_default(), &mut faults);
    value::faults(&schema, &Value::Object(fields), "", &mut faults);
    let mut judged = Judged { faults, untold: Vec::new() };
    if judged.faults.is_empty() {
        rules::judge(&schema, object, &mut judged);
    }
    judged
}

fn version<K: Resource<DynamicType = ()>>(fields: &mut Map<String, Value>, faults: &mut Vec<Fault>) {
    fields.remove("kind");
    let (written, wanted) = (fields.remove("apiVersion").unwrap_or_default(), K::api_version(&()));
    if written != *wanted {
        faults.push(Fault::invalid("apiVersion", format!("{written} is not served; write {wanted}")));
    }
}

/// The schema of the version that is served.
fn schema<K: CustomResourceExt>() -> Value {
    let version = K::crd().spec.versions.into_iter().find(|version| version.served);
    let schema = version.and_then(|version| version.schema?.open_api_v3_schema);
    serde_json::to_value(schema).unwrap_or_default()
}

#[cfg(test)]
mod tests;
