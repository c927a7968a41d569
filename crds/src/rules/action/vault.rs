//! Vault and OpenBao. What is allowed names verbs as its actions and paths as its resources, as a Vault policy does: `read` on
//! `secret/data/reports/*`.
//!
//! Verbs are those that an HTTP call shows before Vault has seen it: `read`, `list`, `write` (Vault tells `create` from `update` only by
//! what is there), `patch` and `delete`.
//!
//! A path ends in `*` (every path that begins so, as in Vault) or not, and `+` stands for one whole segment. Its mount is literal, and none
//! of Vault's own: a token could make itself another one there, or outlive its session. `list` looks at a path with or without the slash at
//! its end.
//!
//! In guardrails a verb (or `*`) may be followed by a path: `* secret/data/prod/*`. There the mount may be a pattern too.

use super::{MAX_ACTION, MAX_RESOURCE, PatternError, Role};

pub(crate) const VERBS: [&str; 5] = ["read", "list", "write", "patch", "delete"];
/// What Vault keeps for itself.
pub(crate) const RESERVED: [&str; 4] = ["auth", "cubbyhole", "identity", "sys"];

/// A verb, in guardrails with a path where it is meant there alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// `None`: every one.
    verb: Option<String>,
    /// `None`: everywhere.
    path: Option<Resource>,
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
        let mut words = text.split_ascii_whitespace();
        let (verb, path, more) = (words.next().unwrap_or_default(), words.next(), words.next());
        if more.is_some() || (path.is_some() && role == Role::Allow) {
            let fix = match role {
                Role::Allow => "write the verb alone, and the path among the resources",
                Role::Guardrail => "write a verb, or a verb and a path: read secret/data/*",
            };
            return Err(PatternError::action(format!("{text:?} is more than a verb"), fix));
        }
        let verb = match verb {
            "*" if role == Role::Guardrail => None,
            verb if VERBS.contains(&verb) => Some(verb.to_owned()),
            verb => return Err(PatternError::action(format!("{verb:?} is no verb that can be allowed"), fix_of(verb))),
        };
        let path = path.map(|path| Resource::parse_in(Role::Guardrail, path)).transpose();
        let path = path.map_err(|e| PatternError::action(e.problem, e.fix))?;
        // Everywhere, in longer words.
        Ok(Self { verb, path: path.filter(|path| path.text() != "*") })
    }

    /// `verb`, or `verb path`.
    pub fn text(&self) -> String {
        let verb = self.verb.as_deref().unwrap_or("*");
        match &self.path {
            Some(path) => format!("{verb} {}", path.text()),
            None => verb.to_owned(),
        }
    }

    /// Whether this call, a verb or a verb and a path, is named.
    pub fn covers(&self, call: &str) -> bool {
        Self::parse(Role::Guardrail, call).is_ok_and(|call| call.verb.is_some() && call.subset(self))
    }

    /// Whether all that this names is named by `wide` too.
    pub fn subset(&self, wide: &Self) -> bool {
        let path = match (&self.path, &wide.path) {
            (_, None) => true,
            (Some(narrow), Some(wide)) => narrow.subset(wide),
            (None, Some(_)) => false,
        };
        self.verb_within(wide) && path
    }

    /// Whether something is named by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let paths = match (&self.path, &other.path) {
            (Some(a), Some(b)) => a.overlaps(b),
            _ => true,
        };
        (self.verb_within(other) || other.verb_within(self)) && paths
    }

    /// Whether the guardrail names this action on all of a resource.
    pub(super) fn within(&self, guardrail: &Self, resource: &Resource) -> bool {
        self.verb_within(guardrail) && guardrail.path.as_ref().is_none_or(|path| resource.subset(path))
    }

    /// Whether the guardrail names this action on some of a resource.
    pub(super) fn meets(&self, guardrail: &Self, resource: &Resource) -> bool {
        (self.verb_within(guardrail) || guardrail.verb_within(self))
            && guardrail.path.as_ref().is_none_or(|path| resource.overlaps(path))
    }

    /// Whether this names the verb on the path of one call.
    pub(super) fn covers_on(&self, verb: &str, path: &str) -> bool {
        self.verb.as_deref().is_none_or(|own| own == verb) && self.path.as_ref().is_none_or(|own| own.covers(path))
    }

    /// The verb; `None` for every one.
    pub fn verb(&self) -> Option<&str> {
        self.verb.as_deref()
    }

    /// Where it is meant, in guardrails; `None` for everywhere.
    pub fn path(&self) -> Option<&Resource> {
        self.path.as_ref()
    }

    fn verb_within(&self, wide: &Self) -> bool {
        wide.verb.is_none() || self.verb == wide.verb
    }
}

fn fix_of(verb: &str) -> String {
    match verb {
        "create" | "update" => {
            "write write: before Vault has seen a call nobody can tell the two apart; what the token role's own policies \
             leave out stays out"
                .to_owned()
        }
        "sudo" | "deny" | "root" => "remove it: it is no call; use guardrails (deny) to forbid".to_owned(),
        _ => format!("use one of {}", VERBS.join(", ")),
    }
}

/// A path, or a pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    segments: Vec<Segment>,
    /// Whether the last segment is but the beginning of all that may follow.
    open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// One segment, whatever it is.
    Any,
    Is(String),
}

impl Segment {
    fn takes(&self, part: &str) -> bool {
        match self {
            Self::Any => !part.is_empty(),
            Self::Is(text) => text == part,
        }
    }
}

impl Resource {
    /// Reads a resource of what is allowed.
    ///
    /// # Errors
    /// What is wrong with it, and the fix.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let path = Self::parse_in(Role::Allow, text)?;
        let wrong = |problem: String, fix: &str| Err(PatternError::resource(problem, fix));
        match path.segments.as_slice() {
            [Segment::Is(mount), _, ..] if RESERVED.contains(&mount.as_str()) => wrong(
                format!(
                    "{text:?} is below {mount}/, which is Vault's own: access there could outlive the session or widen it"
                ),
                "name paths of secrets engines only",
            ),
            [Segment::Is(_), _, ..] => Ok(path),
            [Segment::Is(_)] => wrong(
                format!("{text:?} names no path below a mount"),
                "write mount/path, or mount/* for everything below the mount",
            ),
            _ => wrong(format!("the mount of {text:?} is a pattern"), "write the mount out: secret/data/*"),
        }
    }

    pub(super) fn parse_in(role: Role, text: &str) -> Result<Self, PatternError> {
        let wrong = |problem: String, fix: &str| Err(PatternError::resource(problem, fix));
        if text.len() > MAX_RESOURCE {
            return wrong("it is too long".into(), "use at most 1024 characters");
        }
        let (body, open) = match text.strip_suffix('*') {
            Some(body) => (body, true),
            None => (text.strip_suffix('/').unwrap_or(text), false),
        };
        let mut segments = Vec::new();
        let parts: Vec<&str> = body.split('/').collect();
        for (i, part) in parts.iter().enumerate() {
            let last_of_open = open && i + 1 == parts.len();
            if *part == "+" && !last_of_open {
                segments.push(Segment::Any);
                continue;
            }
            if part.contains('*') {
                return wrong(
                    format!("{text:?} holds a * before its end"),
                    "write * at the end only, and + for one whole segment",
                );
            }
            if part.is_empty() && !last_of_open || matches!(*part, "." | "..") {
                return wrong(
                    format!("{text:?} holds an empty segment or one of dots"),
                    "write the path as Vault's API has it, without a slash at its start: secret/data/reports",
                );
            }
            if !part.chars().all(is_plain) {
                return wrong(
                    format!("{part:?} in {text:?} holds a character that is not taken"),
                    "use letters, digits and -_.:@=,~ in the names of a path",
                );
            }
            segments.push(Segment::Is((*part).to_owned()));
        }
        if role == Role::Allow && open && segments.len() == 1 {
            return wrong(format!("the mount of {text:?} is a pattern"), "write the mount out: secret/data/*");
        }
        Ok(Self { segments, open })
    }

    /// As written, without a slash at its end.
    pub fn text(&self) -> String {
        let words: Vec<&str> = self
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Any => "+",
                Segment::Is(text) => text,
            })
            .collect();
        format!("{}{}", words.join("/"), if self.open { "*" } else { "" })
    }

    /// Whether the path of a call is named; with or without a slash at its end.
    pub fn covers(&self, call: &str) -> bool {
        self.matches(call) || call.strip_suffix('/').is_some_and(|call| self.matches(call))
    }

    fn matches(&self, call: &str) -> bool {
        let mut rest = Some(call);
        for (i, segment) in self.segments.iter().enumerate() {
            let Some(left) = rest else { return false };
            if self.open && i + 1 == self.segments.len() {
                return matches!(segment, Segment::Is(start) if left.starts_with(start.as_str()));
            }
            let (part, next) = left.split_once('/').map_or((left, None), |(part, next)| (part, Some(next)));
            if !segment.takes(part) {
                return false;
            }
            rest = next;
        }
        rest.is_none()
    }

    /// The beginning that is left of an open pattern at this segment.
    fn tail(&self, at: usize) -> Option<&str> {
        match self.segments.get(at) {
            Some(Segment::Is(start)) if self.open && at + 1 == self.segments.len() => Some(start),
            _ => None,
        }
    }

    /// Whether all that this names is named by `wide` too. Never `true` wrongly.
    pub fn subset(&self, wide: &Self) -> bool {
        for (i, limit) in wide.segments.iter().enumerate() {
            let Some(own) = self.segments.get(i) else { return false };
            if let Some(start) = wide.tail(i) {
                return start.is_empty() || matches!(own, Segment::Is(text) if text.starts_with(start));
            }
            let one = self.tail(i).is_none();
            let same = match (limit, own) {
                (Segment::Any, Segment::Any) => true,
                (Segment::Any, Segment::Is(text)) => !text.is_empty(),
                (limit, own) => limit == own,
            };
            if !one || !same {
                return false;
            }
        }
        self.segments.len() == wide.segments.len()
    }

    /// Whether something is named by both. Never `false` wrongly.
    pub fn overlaps(&self, other: &Self) -> bool {
        let longest = self.segments.len().max(other.segments.len());
        for i in 0..longest {
            match (self.tail(i), other.tail(i)) {
                (Some(a), Some(b)) => return a.starts_with(b) || b.starts_with(a),
                (Some(start), None) => return other.goes_on(i, start),
                (None, Some(start)) => return self.goes_on(i, start),
                (None, None) => {}
            }
            let apart = match (self.segments.get(i), other.segments.get(i)) {
                (Some(Segment::Is(a)), Some(Segment::Is(b))) => a != b,
                (Some(_), Some(_)) => false,
                _ => true,
            };
            if apart {
                return false;
            }
        }
        true
    }

    /// Whether this can go on with a text that begins so. Where it has ended, a slash at its end may follow.
    fn goes_on(&self, at: usize, start: &str) -> bool {
        match self.segments.get(at) {
            Some(Segment::Any) => true,
            Some(Segment::Is(text)) => text.starts_with(start),
            None => self.segments.len() == at && start.is_empty(),
        }
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@' | '=' | ',' | '~')
}

#[cfg(test)]
#[path = "vault_tests.rs"]
mod tests;
