//! Statements, and the two questions about lists of them.

use super::action::{Action, PatternError, Resource, Role, check_pair};
use super::{Kind, action};
use crate::reason::Reason;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most statements in one list.
pub const MAX_STATEMENTS: usize = 64;
/// Most actions, and most resources, in one statement.
pub const MAX_ITEMS: usize = 64;
/// Most characters of all actions and resources in one list. It bounds the work of comparing two lists; a session policy of AWS
/// holds 2,048 anyway.
pub const MAX_LIST: usize = 8 * 1024;

/// Actions on resources. Statements stand alone: an action of one never meets a resource of another.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Statement {
    /// What may be done, as the provider writes it: `s3:GetObject`, `get pods`.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256)))]
    pub actions: Vec<String>,
    /// On what, as the provider writes it: `arn:aws:s3:::reports/*`, `agents/*`.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 1024)))]
    pub resources: Vec<String>,
}

/// Stable codes of [`GrantError`].
pub type ErrorCode = Reason;

/// Why something can't be granted: the field, what is wrong with it, and the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}; {fix}")]
pub struct GrantError {
    pub(crate) reason: Reason,
    /// Path of the field, for instance `spec.allow[1].actions[0]`.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub fix: String,
}

impl GrantError {
    pub(crate) fn new(
        reason: Reason,
        field: impl Into<String>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { reason, field: field.into(), problem: problem.into(), fix: fix.into() }
    }

    fn at(field: String, error: PatternError) -> Self {
        Self { reason: error.reason(), field, problem: error.problem, fix: error.fix }
    }

    /// The reason code.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The reason code as text.
    pub fn code(&self) -> &'static str {
        self.reason.as_str()
    }
}

/// A statement, read and checked, with where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) actions: Vec<Action>,
    pub(crate) resources: Vec<Resource>,
}

impl Read {
    /// Sorted, each item once, items that are inside another gone.
    pub(crate) fn normalised(&self) -> Statement {
        let mut actions: Vec<(String, String)> = self.actions.iter().map(|a| (a.key(), a.text())).collect();
        actions.sort();
        actions.dedup_by(|a, b| a.0 == b.0);
        let mut resources: Vec<String> = self.resources.iter().map(Resource::text).collect();
        resources.sort();
        resources.dedup();
        Statement { actions: actions.into_iter().map(|(_, text)| text).collect(), resources }
    }
}

impl Read {
    /// Whether a guardrail's pattern names something of this. Never `false` wrongly.
    pub(crate) fn meets(&self, guardrail: &Action) -> bool {
        self.actions.iter().any(|action| self.resources.iter().any(|resource| action.meets(guardrail, resource)))
    }

    /// Whether both allow some action on some resource. Never `false` wrongly.
    pub(crate) fn shares(&self, other: &Self) -> bool {
        self.actions.iter().any(|a| other.actions.iter().any(|b| a.overlaps(b)))
            && self.resources.iter().any(|a| other.resources.iter().any(|b| a.overlaps(b)))
    }
}

/// Reads a list of statements that stands at `path`.
pub(crate) fn read(kind: Kind, statements: &[Statement], path: &str) -> Result<Vec<Read>, GrantError> {
    read_as(kind, Role::Allow, statements, path)
}

/// The same in the words of whom wrote them.
pub(crate) fn read_as(kind: Kind, role: Role, statements: &[Statement], path: &str) -> Result<Vec<Read>, GrantError> {
    check_size(statements, path)?;
    let mut all = Vec::with_capacity(statements.len());
    for (i, statement) in statements.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let actions =
            read_items(&statement.actions, &format!("{path}.actions"), |text| Action::parse(kind, role, text))?;
        let resources = read_items(&statement.resources, &format!("{path}.resources"), |text| {
            Resource::parse_as(kind, role, text)
        })?;
        for action in &actions {
            for (r, resource) in resources.iter().enumerate() {
                check_pair(action, resource).map_err(|e| GrantError::at(format!("{path}.resources[{r}]"), e))?;
            }
        }
        all.push(Read { actions, resources });
    }
    Ok(all)
}

/// Reads the patterns of a guardrail that stands at `path`.
pub(crate) fn read_guardrail(kind: Kind, patterns: &[String], path: &str) -> Result<Vec<Action>, GrantError> {
    let size: usize = patterns.iter().map(String::len).sum();
    if size > MAX_LIST {
        return Err(too_large(path, size));
    }
    patterns
        .iter()
        .enumerate()
        .map(|(i, text)| {
            Action::parse(kind, Role::Guardrail, text).map_err(|e| GrantError::at(format!("{path}[{i}]"), e))
        })
        .collect()
}

fn read_items<T>(
    items: &[String],
    path: &str,
    parse: impl Fn(&str) -> Result<T, action::PatternError>,
) -> Result<Vec<T>, GrantError> {
    items
        .iter()
        .enumerate()
        .map(|(i, text)| parse(text).map_err(|e| GrantError::at(format!("{path}[{i}]"), e)))
        .collect()
}

fn check_size(statements: &[Statement], path: &str) -> Result<(), GrantError> {
    let invalid = |field: String, reason, problem: String, fix: &str| Err(GrantError::new(reason, field, problem, fix));
    if statements.is_empty() {
        return invalid(
            path.to_owned(),
            Reason::ActionInvalid,
            "it lists nothing".into(),
            "write at least one statement with actions and resources",
        );
    }
    if statements.len() > MAX_STATEMENTS {
        let problem = format!("it has {} statements, at most {MAX_STATEMENTS} are taken", statements.len());
        return invalid(path.to_owned(), Reason::PolicyTooLarge, problem, "write several policies");
    }
    for (i, statement) in statements.iter().enumerate() {
        for (name, items, reason) in [
            ("actions", &statement.actions, Reason::ActionInvalid),
            ("resources", &statement.resources, Reason::ResourceInvalid),
        ] {
            let field = format!("{path}[{i}].{name}");
            if items.is_empty() {
                return invalid(field, reason, "it is empty".into(), "write at least one, or remove the statement");
            }
            if items.len() > MAX_ITEMS {
                let problem = format!("it has {} items, at most {MAX_ITEMS} are taken", items.len());
                return invalid(field, Reason::PolicyTooLarge, problem, "write several statements");
            }
        }
    }
    let size = statements.iter().flat_map(|s| s.actions.iter().chain(&s.resources)).map(String::len).sum();
    if size > MAX_LIST {
        return Err(too_large(path, size));
    }
    Ok(())
}

fn too_large(path: &str, size: usize) -> GrantError {
    GrantError::new(
        Reason::PolicyTooLarge,
        path,
        format!("it is {size} characters long, at most {MAX_LIST} are taken"),
        "use fewer or shorter patterns, or several policies",
    )
}

/// The first action and resource of `narrow` (statement, action, resource) that is inside no single statement of `wide`.
pub(crate) fn first_outside(narrow: &[Read], wide: &[Read]) -> Option<(usize, usize, usize)> {
    for (s, statement) in narrow.iter().enumerate() {
        let within: Vec<(Vec<bool>, Vec<bool>)> = wide
            .iter()
            .map(|wide| {
                let actions = statement.actions.iter().map(|a| wide.actions.iter().any(|w| a.subset(w))).collect();
                let resources =
                    statement.resources.iter().map(|r| wide.resources.iter().any(|w| r.subset(w))).collect();
                (actions, resources)
            })
            .collect();
        for a in 0..statement.actions.len() {
            for r in 0..statement.resources.len() {
                if !within.iter().any(|(actions, resources)| actions[a] && resources[r]) {
                    return Some((s, a, r));
                }
            }
        }
    }
    None
}

/// Whether all that `narrow` allows is allowed by `wide` too: each action and resource of a statement must be inside one
/// statement of `wide`. Never `true` wrongly; lists that can't be read are inside nothing.
pub fn subset(kind: Kind, narrow: &[Statement], wide: &[Statement]) -> bool {
    match (read(kind, narrow, ""), read(kind, wide, "")) {
        (Ok(narrow), Ok(wide)) => first_outside(&narrow, &wide).is_none(),
        _ => false,
    }
}

/// Whether the statements could allow an action that one of the guardrail's patterns names. Never `false` wrongly; what can't
/// be read overlaps.
pub fn overlaps(kind: Kind, statements: &[Statement], patterns: &[String]) -> bool {
    match (read(kind, statements, ""), read_guardrail(kind, patterns, "")) {
        (Ok(statements), Ok(patterns)) => statements.iter().any(|s| patterns.iter().any(|pattern| s.meets(pattern))),
        _ => true,
    }
}
