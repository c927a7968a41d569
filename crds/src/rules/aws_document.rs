//! A grant of AWS as a session policy, which STS puts between the role and its session.
//!
//! Allow statements alone would not do: a policy of a resource that names the session (a bucket policy, for instance) allows
//! what no statement of the session policy denies ("Session policies", IAM User Guide). So the document also denies, in
//! words, all that the grant does not allow: other actions everywhere, and allowed actions elsewhere. The module `complement` says
//! how that is exact where patterns of several statements overlap.
//!
//! S3-compatible servers (MinIO, Ceph and the like) take a smaller language; the module `s3` says which.

mod complement;
mod observe;
mod s3;

use super::action::{Kind, PatternError, Role, aws};
use super::grant::Grant;
use crate::reason::Reason;
use complement::Group;
use serde::Serialize;
use std::collections::BTreeSet;

pub use s3::ACTIONS as S3_ACTIONS;

/// Longest session policy that STS takes, characters (AssumeRole, API reference). AWS also bounds a packed form, which only its
/// answer tells.
pub const MAX_PLAIN: usize = 2048;

/// Which language the server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// All of IAM's.
    Aws,
    /// Actions of S3 only, in their own case, and no `NotAction`.
    S3Compatible,
}

/// A session policy, minified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    json: String,
}

impl Document {
    /// The JSON.
    pub fn as_str(&self) -> &str {
        &self.json
    }

    /// The JSON.
    pub fn into_string(self) -> String {
        self.json
    }

    /// Length in characters; at most [`MAX_PLAIN`].
    pub fn plain_len(&self) -> usize {
        self.json.chars().count()
    }
}

/// Why a grant can't be written as a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {fix}")]
pub struct DocumentError {
    reason: Reason,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub fix: String,
}

impl DocumentError {
    fn new(reason: Reason, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { reason, problem: problem.into(), fix: fix.into() }
    }

    /// The reason code: `PolicyTooLarge`, `ActionInvalid`, `ResourceInvalid` or `ProviderRejected`.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The reason code as text.
    pub fn code(&self) -> &'static str {
        self.reason.as_str()
    }
}

impl From<PatternError> for DocumentError {
    fn from(error: PatternError) -> Self {
        Self { reason: error.reason(), problem: error.problem, fix: error.fix }
    }
}

/// A list; a list of one is written as that one where the dialect allows it.
#[derive(Serialize)]
#[serde(untagged)]
enum Items {
    One(String),
    Many(Vec<String>),
}

impl Items {
    fn new(dialect: Dialect, items: Vec<String>) -> Self {
        match <[String; 1]>::try_from(items) {
            Ok([only]) if dialect == Dialect::Aws => Self::One(only),
            Ok([only]) => Self::Many(vec![only]),
            Err(items) => Self::Many(items),
        }
    }

    fn actions(dialect: Dialect, actions: &[aws::Action]) -> Self {
        let written = |action: &aws::Action| match dialect {
            Dialect::Aws => action.text(),
            Dialect::S3Compatible => s3::written(action),
        };
        Self::new(dialect, actions.iter().map(written).collect())
    }
}

/// One statement of a document, by the names that IAM gives its fields.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    effect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<Items>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_action: Option<Items>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<Items>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_resource: Option<Items>,
}

impl Entry {
    const DENY: Self = Self { effect: "Deny", action: None, not_action: None, resource: None, not_resource: None };
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body {
    version: &'static str,
    statement: Vec<Entry>,
}

/// Writes the document under which a session holds exactly what the grant covers.
///
/// # Errors
/// A grant of another kind, one that the dialect has no words for, or one that is too large.
pub fn document(grant: &Grant, dialect: Dialect) -> Result<Document, DocumentError> {
    if grant.kind != Kind::Aws {
        let problem = format!("a grant of kind {} has no session policy", grant.kind);
        return Err(DocumentError::new(Reason::ProviderRejected, problem, "use a provider of kind aws"));
    }
    let statements = read(grant, dialect)?;
    check_wording(&statements)?;
    let deny = denied(grant, dialect, &statements)?;
    let everywhere = match dialect {
        Dialect::Aws => "*",
        Dialect::S3Compatible => s3::EVERYTHING,
    };
    let mut entries: Vec<Entry> =
        complement::allowed(&statements).iter().map(|group| allow_entry(group, dialect)).collect();
    entries.extend(complement::entries(&statements, dialect)?);
    if !deny.is_empty() {
        entries.push(Entry {
            action: Some(Items::actions(dialect, &deny)),
            resource: Some(Items::new(dialect, vec![everywhere.to_owned()])),
            ..Entry::DENY
        });
    }
    let body = Body { version: "2012-10-17", statement: entries };
    let json = serde_json::to_string(&body).map_err(|e| {
        DocumentError::new(
            Reason::InternalError,
            format!("the session policy can't be written: {e}"),
            "report this as a bug",
        )
    })?;
    check_size(Document { json }, dialect)
}

/// Refuses early what could never fit, so that comparing all patterns with each other stays cheap.
fn check_wording(statements: &[Group]) -> Result<(), DocumentError> {
    let actions = statements.iter().flat_map(|s| &s.actions).map(aws::Action::text);
    let words: BTreeSet<String> = actions.chain(statements.iter().flat_map(Group::resource_texts)).collect();
    let size = words.iter().map(String::len).sum::<usize>();
    if size > 2 * MAX_PLAIN { Err(too_large(format!("more than {size}"))) } else { Ok(()) }
}

fn check_size(document: Document, dialect: Dialect) -> Result<Document, DocumentError> {
    let size = match dialect {
        Dialect::Aws => document.plain_len(),
        Dialect::S3Compatible => s3::size(document.as_str()),
    };
    if size <= MAX_PLAIN { Ok(document) } else { Err(too_large(size.to_string())) }
}

fn too_large(size: String) -> DocumentError {
    DocumentError::new(
        Reason::PolicyTooLarge,
        format!("the session policy would be {size} characters long, STS takes {MAX_PLAIN}"),
        "use fewer actions and resources, fold them into patterns, give statements with the same actions the same resources, or write several policies",
    )
}

fn allow_entry(group: &Group, dialect: Dialect) -> Entry {
    Entry {
        effect: "Allow",
        action: Some(Items::actions(dialect, &group.actions)),
        resource: Some(Items::new(dialect, group.resource_texts())),
        ..Entry::DENY
    }
}

/// The grant's statements in the words of the dialect.
fn read(grant: &Grant, dialect: Dialect) -> Result<Vec<Group>, DocumentError> {
    if grant.observe {
        return observe::read(grant, dialect);
    }
    let mut statements = Vec::with_capacity(grant.allow.len());
    for statement in &grant.allow {
        let (mut actions, mut resources) = (Vec::new(), Vec::new());
        for text in &statement.actions {
            let action = aws::Action::parse(Role::Allow, text)?;
            match dialect {
                Dialect::Aws => actions.push(action),
                Dialect::S3Compatible => actions.extend(s3::actions(&action)?),
            }
        }
        for text in &statement.resources {
            let resource = aws::Resource::parse(text)?;
            match dialect {
                Dialect::Aws => resources.push(resource),
                Dialect::S3Compatible => resources.extend(s3::resources(&resource)?),
            }
        }
        statements.push(Group { actions, resources });
    }
    Ok(statements)
}

/// What is denied everywhere: the guardrail's patterns, a wildcard service written out for the services of the allow, and chaining
/// into other roles.
fn denied(grant: &Grant, dialect: Dialect, statements: &[Group]) -> Result<Vec<aws::Action>, DocumentError> {
    let mut services: Vec<&str> = statements.iter().flat_map(|s| &s.actions).map(aws::Action::service).collect();
    services.sort_unstable();
    services.dedup();
    let mut deny = Vec::new();
    for text in &grant.deny {
        let pattern = aws::Action::parse(Role::Guardrail, text)?;
        if services.contains(&"*") {
            deny.push(observe::denied(pattern)?);
            continue;
        }
        for service in services.iter().filter(|service| pattern.reaches(service)) {
            let expanded = aws::Action::new(service, pattern.name());
            match dialect {
                Dialect::Aws => deny.push(expanded),
                Dialect::S3Compatible => deny.extend(s3::denied(&expanded, pattern.service() == *service)?),
            }
        }
    }
    deny.retain(|deny| statements.iter().flat_map(|s| &s.actions).any(|action| action.overlaps(deny)));
    if dialect == Dialect::Aws {
        deny.push(aws::chaining());
    }
    Ok(complement::reduce_actions(deny))
}

#[cfg(test)]
mod tests;
