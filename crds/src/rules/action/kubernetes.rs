//! Kubernetes. An action is `verb resource[.group][/subresource]`: `get pods`, `list deployments.apps`, `get pods/log`. Verbs
//! are the eight that RBAC gives to resources of the API.
//!
//! In guardrails any of the three may be `*`: as the verb, every verb; as the resource, every resource with every
//! subresource (`* *.apps`: of that group; `get *`: of every group; `get */status`: that subresource of every
//! resource); as the group or the subresource, every one of them. `*` alone means every action.
//!
//! A resource is `namespace/name` or `namespace/*`, the namespace literal. RBAC knows neither patterns of names nor
//! names for `create` and `deletecollection`, and enforces a name on `list` and `watch` only where the caller selects
//! `metadata.name` (`kubectl wait` does). Calls without a name are written with an empty one: `agents/`.

use super::{MAX_ACTION, MAX_RESOURCE, PatternError, Role};

const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 253;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Any,
    Is(String),
}

impl Part {
    fn read(text: &str) -> Self {
        if text == "*" { Self::Any } else { Self::Is(text.to_owned()) }
    }

    fn text(&self) -> &str {
        match self {
            Self::Any => "*",
            Self::Is(text) => text,
        }
    }

    fn subset(&self, wide: &Self) -> bool {
        *wide == Self::Any || self == wide
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.subset(other) || other.subset(self)
    }
}

/// `verb resource[.group][/subresource]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    verb: Part,
    resource: Part,
    /// Empty for the core group.
    group: Part,
    subresource: Sub,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sub {
    /// The object itself.
    None,
    /// One subresource.
    Is(String),
    /// Any subresource, but not the object itself.
    Any,
    /// The object and all its subresources.
    All,
}

impl Sub {
    fn subset(&self, wide: &Self) -> bool {
        match wide {
            Self::All => true,
            Self::Any => matches!(self, Self::Any | Self::Is(_)),
            exact => self == exact,
        }
    }
}

impl Action {
    /// Reads an action.
    ///
    /// # Errors
    /// What is wrong with it in this role, and the fix.
    pub fn parse(role: Role, text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_ACTION {
            return Err(PatternError::action("it is too long", format!("use at most {MAX_ACTION} characters")));
        }
        if text == "*" && role == Role::Guardrail {
            return Self::parse(role, "* *");
        }
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [verb, target] = words.as_slice() else {
            return Err(PatternError::action(
                format!("{text:?} is not a verb and a resource"),
                "write both with a blank between, for instance get pods or list deployments.apps",
            ));
        };
        if target.starts_with('/') {
            return Err(PatternError::action(
                format!("{target:?} in {text:?} is a path outside resources, which is not supported"),
                "name a resource in a namespace, for instance get pods",
            ));
        }
        let wild_verb = *verb == "*" && role == Role::Guardrail;
        if !wild_verb && !VERBS.contains(verb) {
            return Err(PatternError::action(
                format!("{verb:?} in {text:?} is no verb that can be allowed"),
                format!("use one of {}", VERBS.join(", ")),
            ));
        }
        let (path, subresource) = match target.split_once('/') {
            Some((path, sub)) => (path, Some(sub)),
            None => (*target, None),
        };
        let (resource, group) = match path.split_once('.') {
            Some((resource, group)) => (resource, Some(group)),
            None => (path, None),
        };
        check_part(role, text, "resource", resource, is_label)?;
        if let Some(group) = group {
            check_part(role, text, "group", group, is_group)?;
        }
        if let Some(sub) = subresource {
            check_part(role, text, "subresource", sub, |s| s.split('/').all(is_label))?;
        }
        let every = resource == "*";
        Ok(Self {
            verb: Part::read(verb),
            resource: Part::read(resource),
            group: Part::read(group.unwrap_or(if every { "*" } else { "" })),
            subresource: match subresource {
                None if every => Sub::All,
                None => Sub::None,
                Some("*") => Sub::Any,
                Some(sub) => Sub::Is(sub.to_owned()),
            },
        })
    }

    /// `verb resource[.group][/subresource]` with one blank.
    pub fn text(&self) -> String {
        let mut text = format!("{} {}", self.verb.text(), self.resource.text());
        let implied = if self.resource == Part::Any { "*" } else { "" };
        if self.group.text() != implied {
            text.push('.');
            text.push_str(self.group.text());
        }
        match &self.subresource {
            Sub::None | Sub::All => {}
            Sub::Any => text.push_str("/*"),
            Sub::Is(sub) => {
                text.push('/');
                text.push_str(sub);
            }
        }
        text
    }

    /// The verb; `*` in guardrails only.
    pub fn verb(&self) -> &str {
        self.verb.text()
    }

    /// The API group, empty for the core; `*` in guardrails only.
    pub fn group(&self) -> &str {
        self.group.text()
    }

    /// As a Role's rule writes it: `pods`, `pods/log`.
    pub fn rule_resource(&self) -> String {
        match &self.subresource {
            Sub::Is(sub) => format!("{}/{sub}", self.resource.text()),
            Sub::Any => format!("{}/*", self.resource.text()),
            Sub::None | Sub::All => self.resource.text().to_owned(),
        }
    }

    /// Whether this call, for instance `get pods/log`, is named.
    pub fn covers(&self, call: &str) -> bool {
        Self::parse(Role::Allow, call).is_ok_and(|call| call.subset(self))
    }

    /// Whether all that this names is named by `wide` too.
    pub fn subset(&self, wide: &Self) -> bool {
        self.verb.subset(&wide.verb)
            && self.resource.subset(&wide.resource)
            && self.group.subset(&wide.group)
            && self.subresource.subset(&wide.subresource)
    }

    /// Whether something is named by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.verb.overlaps(&other.verb)
            && self.resource.overlaps(&other.resource)
            && self.group.overlaps(&other.group)
            && (self.subresource.subset(&other.subresource) || other.subresource.subset(&self.subresource))
    }
}

fn check_part(
    role: Role,
    text: &str,
    name: &str,
    part: &str,
    valid: impl Fn(&str) -> bool,
) -> Result<(), PatternError> {
    if part == "*" && role == Role::Guardrail || valid(part) {
        return Ok(());
    }
    if part.contains('*') {
        let fix = match role {
            Role::Allow => format!("write one action for each {name}"),
            Role::Guardrail => format!("write the {name} out, or * for all of it"),
        };
        return Err(PatternError::action(format!("the {name} {part:?} of {text:?} holds a wildcard"), fix));
    }
    Err(PatternError::action(
        format!("the {name} {part:?} of {text:?} is no name of a {name}"),
        "write verb resource[.group][/subresource] in lower case with the plural, for instance get pods/log or list deployments.apps",
    ))
}

/// `namespace/name`, or `namespace/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    namespace: String,
    name: Part,
}

impl Resource {
    /// Reads a resource.
    ///
    /// # Errors
    /// What is wrong with it, and the fix.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_RESOURCE {
            return Err(PatternError::resource("it is too long", format!("use at most {MAX_RESOURCE} characters")));
        }
        let Some((namespace, name)) = text.split_once('/') else {
            return Err(PatternError::resource(
                format!("{text:?} names no namespace; objects of the whole cluster are not supported yet"),
                "write namespace/name, or namespace/* for all names",
            ));
        };
        if namespace.is_empty() || namespace.contains(['*', '?']) {
            return Err(PatternError::resource(
                format!(
                    "the namespace of {text:?} is not literal; grants over the whole cluster are not supported yet"
                ),
                "write one resource for each namespace, for instance agents/*",
            ));
        }
        if !is_label(namespace) {
            return Err(PatternError::resource(
                format!("{namespace:?} in {text:?} is no name of a namespace"),
                "use lower-case letters, digits and hyphens, at most 63",
            ));
        }
        if name != "*" && !is_object_name(name) {
            return Err(PatternError::resource(
                format!("{name:?} in {text:?} is no name of an object; RBAC knows no patterns of names"),
                "write one name, or * for all of them",
            ));
        }
        Ok(Self { namespace: namespace.to_owned(), name: Part::read(name) })
    }

    /// `namespace/name`.
    pub fn text(&self) -> String {
        format!("{}/{}", self.namespace, self.name.text())
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The one name, or `None` for all of them.
    pub fn name(&self) -> Option<&str> {
        match &self.name {
            Part::Any => None,
            Part::Is(name) => Some(name),
        }
    }

    /// Whether the object of a call is named: `namespace/name`, or `namespace/` for a call without a name.
    pub fn covers(&self, call: &str) -> bool {
        call.split_once('/')
            .is_some_and(|(namespace, name)| namespace == self.namespace && self.name().is_none_or(|own| own == name))
    }

    /// Whether all that this names is named by `wide` too.
    pub fn subset(&self, wide: &Self) -> bool {
        self.namespace == wide.namespace && self.name.subset(&wide.name)
    }

    /// Whether something is named by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.subset(other) || other.subset(self)
    }
}

/// Refuses a name where RBAC would ignore it: requests to create an object or to delete a collection carry none, but for those
/// on a subresource.
pub(super) fn check_pair(action: &Action, resource: &Resource) -> Result<(), PatternError> {
    let Some(name) = resource.name() else { return Ok(()) };
    let nameless = match action.verb() {
        "deletecollection" => true,
        "create" => action.subresource == Sub::None,
        _ => false,
    };
    if !nameless {
        return Ok(());
    }
    Err(PatternError::resource(
        format!(
            "{:?} can't be held to the name {name:?}: such requests carry no name, so RBAC would allow none of them",
            action.text()
        ),
        format!(
            "put it in a statement of its own on {}/*, or use verbs that carry a name (get, update, patch, delete)",
            resource.namespace()
        ),
    ))
}

fn is_label(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= MAX_LABEL
        && text.starts_with(edge)
        && text.ends_with(edge)
        && text.chars().all(|c| edge(c) || c == '-')
}

fn is_group(text: &str) -> bool {
    text.len() <= MAX_NAME && text.split('.').all(is_label)
}

/// Names as a path of the API can carry them; names of RBAC objects may hold colons and capitals.
fn is_object_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_NAME
        && text != "."
        && text != ".."
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'))
}

#[cfg(test)]
#[path = "kubernetes_tests.rs"]
mod tests;
