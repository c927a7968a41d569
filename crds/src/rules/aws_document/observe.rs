//! A binding's ceiling in the words of a document, for policies in mode Observe. AWS takes `*` alone, but no other wildcard service; servers
//! that are S3-compatible take what of it is S3's.

use super::complement::Group;
use super::{Dialect, DocumentError, s3};
use crate::reason::Reason;
use crate::rules::action::Role;
use crate::rules::action::aws::{Action, Resource};
use crate::rules::grant::Grant;

/// The ceiling as one group on everything.
pub(super) fn read(grant: &Grant, dialect: Dialect) -> Result<Vec<Group>, DocumentError> {
    let mut actions = Vec::new();
    for text in grant.allow.iter().flat_map(|statement| &statement.actions) {
        let pattern = Action::parse(Role::Guardrail, text)?;
        match dialect {
            Dialect::Aws if pattern.is_everything() || pattern.names_service() => actions.push(pattern),
            Dialect::Aws => return Err(wild(&pattern, "maxActions", "name each service, or write * alone")),
            Dialect::S3Compatible if pattern.reaches("s3") => {
                let written_for_s3 = pattern.service() == "s3";
                actions.extend(s3::denied(&Action::new("s3", pattern.name()), written_for_s3)?);
            }
            Dialect::S3Compatible => {}
        }
    }
    if actions.is_empty() {
        return Err(DocumentError::new(
            Reason::ActionInvalid,
            "spec.bindings[].maxActions of the provider holds no action of S3, and its dialect is S3Compatible",
            "write s3:* or actions of s3",
        ));
    }
    let everywhere = Resource::parse(if dialect == Dialect::Aws { "*" } else { s3::EVERYTHING })?;
    Ok(vec![Group { actions, resources: vec![everywhere] }])
}

/// A denial beside `*`: there are no services to write a wildcard service out for.
pub(super) fn denied(pattern: Action) -> Result<Action, DocumentError> {
    if pattern.names_service() {
        return Ok(pattern);
    }
    Err(wild(&pattern, "deny", "name each service there, for instance s3:Delete*, or name the services in maxActions"))
}

fn wild(pattern: &Action, field: &str, fix: &str) -> DocumentError {
    DocumentError::new(
        Reason::ActionInvalid,
        format!(
            "spec.bindings[].{field} of the provider: {:?} holds a wildcard in the service, which AWS takes in no document, and mode Observe sends \
             the binding's words to AWS",
            pattern.text()
        ),
        fix,
    )
}
