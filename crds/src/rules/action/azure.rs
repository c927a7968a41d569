//! Azure. What is allowed names operations as Azure's roles do (`Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read`) as its
//! actions, and the resources that tokens are made for (`https://storage.azure.com`) as its resources. Case has no meaning in either.
//!
//! Azure holds a token to the role assignments of its principal and to one resource, and to nothing narrower. So operations are what the team says
//! that it needs: they are compared with the admin's guardrails and shown to approvers, and no call is held to them. For that each is
//! named: what is allowed holds no `*`, and a guardrail names all of an operation or nothing of it. In guardrails `*` is any run of
//! characters, slashes too, as in the `actions` of Azure's own roles.
//!
//! A resource is the application id URI of a service, without the `/.default` that makes a scope of it and without a slash at its end, or
//! its client id.

use super::{MAX_ACTION, MAX_RESOURCE, PatternError, Role};
use crate::rules::glob::{Case, Pattern};

/// What every operation ends in.
const VERBS: [&str; 4] = ["read", "write", "delete", "action"];
const EXAMPLE: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read";

/// An operation, in guardrails a pattern of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    text: String,
    pattern: Pattern,
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
        let wild = text.contains('*');
        if wild && role == Role::Allow {
            return Err(PatternError::action(
                format!("{text:?} holds a *"),
                "name each operation, as `az provider operation list` does: nothing holds a token of Azure to them, so people must see \
                 what it is for",
            ));
        }
        if text.is_empty() || !text.chars().all(|c| is_plain(c) || matches!(c, '/' | '*')) {
            return Err(PatternError::action(
                format!("{text:?} is no operation of Azure"),
                format!("use letters, digits, hyphens, dots and slashes, for instance {EXAMPLE}"),
            ));
        }
        if !wild {
            check_operation(text)?;
        }
        Ok(Self { text: text.to_owned(), pattern: Pattern::glob(text, Case::Insensitive) })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether this operation is named.
    pub fn covers(&self, call: &str) -> bool {
        self.pattern.matches(call)
    }

    /// Whether all that this names is named by `wide` too. Never `true` wrongly.
    pub fn subset(&self, wide: &Self) -> bool {
        self.pattern.subset(&wide.pattern)
    }

    /// Whether something is named by both. Never `false` wrongly.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.pattern.overlaps(&other.pattern)
    }
}

/// `Company.Service/type/…/verb`.
fn check_operation(text: &str) -> Result<(), PatternError> {
    let parts: Vec<&str> = text.split('/').collect();
    let (service, verb) = (parts.first().copied().unwrap_or_default(), parts.last().copied().unwrap_or_default());
    if parts.len() < 3 || parts.iter().any(|part| part.is_empty()) || !service.contains('.') {
        return Err(PatternError::action(
            format!("{text:?} is no operation of Azure"),
            format!("write Company.Service/type/verb, for instance {EXAMPLE}"),
        ));
    }
    if !VERBS.iter().any(|known| known.eq_ignore_ascii_case(verb)) {
        return Err(PatternError::action(
            format!("{text:?} ends in {verb:?}, as no operation of Azure does"),
            format!("let it end in one of {}, for instance {EXAMPLE}", VERBS.join(", ")),
        ));
    }
    Ok(())
}

/// What a token is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource(String);

impl Resource {
    /// Reads a resource.
    ///
    /// # Errors
    /// What is wrong with it, and the fix.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let wrong = |problem: String, fix: &str| Err(PatternError::resource(problem, fix));
        if text.len() > MAX_RESOURCE {
            return wrong("it is too long".into(), "use at most 1024 characters");
        }
        if text.contains(['*', '?']) {
            return wrong(
                format!("{text:?} is a pattern, and a token of Azure is for one resource"),
                "name each resource: https://storage.azure.com",
            );
        }
        if text.to_ascii_lowercase().ends_with("/.default") {
            return wrong(format!("{text:?} is a scope"), "write the resource, without /.default");
        }
        let known = |start: &str| text.strip_prefix(start).is_some_and(is_uri);
        if is_guid(text) || known("https://") || known("api://") {
            return Ok(Self(text.to_owned()));
        }
        wrong(
            format!("{text:?} is no resource that Entra makes tokens for"),
            "write a service's application id URI in the form https://storage.azure.com or api://<client id>, without a slash at its \
             end, or its client id",
        )
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether this is the resource of a call.
    pub fn covers(&self, call: &str) -> bool {
        self.0.eq_ignore_ascii_case(call)
    }

    /// Whether `wide` is the same resource.
    pub fn subset(&self, wide: &Self) -> bool {
        self.covers(&wide.0)
    }
}

fn is_uri(rest: &str) -> bool {
    !rest.starts_with('/')
        && rest.split('/').all(|part| !part.is_empty() && part.chars().all(|c| is_plain(c) || c == ':'))
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Whether a text is an id as Entra writes them: 8-4-4-4-12 hexadecimal digits.
pub fn is_guid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

#[cfg(test)]
#[path = "azure_tests.rs"]
mod tests;
