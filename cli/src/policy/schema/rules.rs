//! A definition's rules between fields (`x-kubernetes-validations`).

use super::{Fault, Judged};
use kube_cel::{ErrorKind, Validator};
use serde_json::Value;

/// Rules on what a change may do have no former object here, and are left out.
pub(super) fn judge(schema: &Value, object: &Value, judged: &mut Judged) {
    let Err(errors) = Validator::new().validate(schema, object, None) else { return };
    for error in errors {
        if error.kind == ErrorKind::ValidationFailure {
            // Most of our rules' messages begin with the field that they are about.
            let (path, message) = match error.message.split_once(": ") {
                Some((path, rest)) if path.starts_with(&error.field_path) && !path.contains(' ') => (path, rest),
                _ => (error.field_path.as_str(), error.message.as_str()),
            };
            judged.faults.push(Fault { code: "FieldInvalid", path: path.to_owned(), message: message.to_owned() });
        } else {
            judged
                .untold
                .push(format!("{}: {:?} can't be judged here; --server asks a cluster", error.field_path, error.rule));
        }
    }
}
