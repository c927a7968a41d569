//! Principals, and the names and tags that a session carries at the provider.

use super::action::Kind;
use super::action::azure::is_guid;
use super::glob::{Case, Pattern};
use crate::digest;

/// What a group of a namespace's service accounts begins with.
const GROUP_PREFIX: &str = "system:serviceaccounts:";
/// Longest role session name and source identity, characters (STS API reference, AssumeRole).
const MAX_SESSION_NAME: usize = 64;
/// Longest value of a session tag, characters (STS API reference, Tag).
const MAX_TAG_VALUE: usize = 256;
const NAMESPACE: &str = "${namespace}";
const SERVICE_ACCOUNT: &str = "${serviceAccount}";

/// A name that a provider would not take, and the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {fix}")]
pub struct NameError {
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub fix: String,
}

impl NameError {
    fn new(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { problem: problem.into(), fix: fix.into() }
    }
}

/// The ARN of a role, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleArn {
    /// `aws`, `aws-cn`, `aws-us-gov` and the like.
    pub partition: String,
    /// Twelve digits.
    pub account: String,
    /// `/`, or `/path/of/it/`.
    pub path: String,
    /// The name alone.
    pub name: String,
}

impl RoleArn {
    /// Reads `arn:partition:iam::account:role/path/name`.
    ///
    /// # Errors
    /// What is wrong, and the fix.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        const SHAPE: &str = "write arn:aws:iam::<12 digits>:role/<name>";
        let wrong = |problem: String| NameError::new(problem, SHAPE);
        let parts: Vec<&str> = text.split(':').collect();
        let ["arn", partition, "iam", "", account, resource] = parts.as_slice() else {
            return Err(wrong(format!("{text:?} is no ARN of a role")));
        };
        if !partition.starts_with("aws") || !partition.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
            return Err(wrong(format!("{partition:?} in {text:?} is no partition")));
        }
        if account.len() != 12 || !account.chars().all(|c| c.is_ascii_digit()) {
            return Err(wrong(format!("{account:?} in {text:?} is no account")));
        }
        let Some(path) = resource.strip_prefix("role/") else {
            return Err(wrong(format!("{resource:?} in {text:?} is no role")));
        };
        let (path, name) = path.rsplit_once('/').map_or(("/".to_owned(), path), |(p, n)| (format!("/{p}/"), n));
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_session_char) {
            return Err(wrong(format!(
                "{name:?} in {text:?} is no name of a role (at most 64 of letters, digits and +=,.@_-)"
            )));
        }
        if path.len() > 512 || path.contains("//") || !path.chars().all(|c| is_session_char(c) || c == '/') {
            return Err(wrong(format!("{path:?} in {text:?} is no path of a role")));
        }
        Ok(Self { partition: (*partition).into(), account: (*account).into(), path, name: name.into() })
    }

    /// The ARN under which a session of this role acts.
    pub fn session_arn(&self, session_name: &str) -> String {
        format!("arn:{}:sts::{}:assumed-role/{}/{session_name}", self.partition, self.account, self.name)
    }
}

/// The principal of the Kubernetes provider: the group of all accounts in the namespace of grants.
pub fn kubernetes_principal(grants_namespace: &str) -> String {
    format!("{GROUP_PREFIX}{grants_namespace}")
}

/// Whether a principal is written as its provider writes principals.
///
/// # Errors
/// What is wrong, and the fix.
pub fn validate_principal(kind: Kind, principal: &str) -> Result<(), NameError> {
    match kind {
        Kind::Aws => RoleArn::parse(principal).map(|_| ()),
        Kind::Kubernetes => match principal.strip_prefix(GROUP_PREFIX) {
            Some(namespace) if is_label(namespace) => Ok(()),
            _ => Err(NameError::new(
                format!("{principal:?} is not the group of a namespace's service accounts"),
                format!("write {GROUP_PREFIX}<namespace of grants>, for instance {GROUP_PREFIX}exeat-grants"),
            )),
        },
        Kind::Azure => {
            if is_guid(principal) && !principal.contains(|c: char| c.is_ascii_uppercase()) {
                return Ok(());
            }
            Err(NameError::new(
                format!("{principal:?} is no client id"),
                "write the client id of the app registration or the user-assigned identity, in lower case: \
                 11111111-2222-3333-4444-555555555555",
            ))
        }
        Kind::Vault => {
            let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if !principal.is_empty()
                && principal.len() <= 128
                && principal.chars().all(valid)
                && !principal.starts_with('.')
            {
                return Ok(());
            }
            Err(NameError::new(
                format!("{principal:?} is no name of a token role"),
                "write the role's name alone (letters, digits and -_.), as in auth/token/roles/<name>",
            ))
        }
    }
}

/// The principal that a policy names for one of its service accounts: `${namespace}` and `${serviceAccount}` stand for the agent's own. What
/// is put in is not read again, and a service account's name holds nothing that a provider or a pattern reads as more than itself.
///
/// # Errors
/// Unknown variables, and an account that no pod can run as.
pub fn fill_principal(template: &str, namespace: &str, service_account: &str) -> Result<String, NameError> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find("${") {
        let (before, variable) = rest.split_at(at);
        filled.push_str(before);
        rest = if let Some(after) = variable.strip_prefix(NAMESPACE) {
            filled.push_str(checked("namespace", namespace, is_label(namespace))?);
            after
        } else if let Some(after) = variable.strip_prefix(SERVICE_ACCOUNT) {
            filled.push_str(checked("service account", service_account, is_subdomain(service_account))?);
            after
        } else {
            return Err(unknown_variable(template));
        };
    }
    filled.push_str(rest);
    Ok(filled)
}

fn checked<'a>(what: &str, name: &'a str, valid: bool) -> Result<&'a str, NameError> {
    let fix = "name it as Kubernetes does: small letters, digits and - (in a service account's name also single dots)";
    if valid { Ok(name) } else { Err(NameError::new(format!("{name:?} is no name of a {what}"), fix)) }
}

fn unknown_variable(text: &str) -> NameError {
    NameError::new(format!("{text:?} holds an unknown variable"), format!("use {NAMESPACE} and {SERVICE_ACCOUNT} only"))
}

/// Whether a binding's pattern lets agents of this namespace and service account use a principal. `*` and `?` are wildcards,
/// `${namespace}` and `${serviceAccount}` stand for the agent's own, whose characters are never wildcards. Any other variable
/// matches nothing.
pub fn principal_matches(pattern: &str, principal: &str, namespace: &str, service_account: &str) -> bool {
    let mut built = Pattern::empty(Case::Sensitive);
    let mut rest = pattern;
    while let Some(at) = rest.find("${") {
        let (before, variable) = rest.split_at(at);
        built.push_glob(before);
        if let Some(after) = variable.strip_prefix(NAMESPACE) {
            built.push_literal(namespace);
            rest = after;
        } else if let Some(after) = variable.strip_prefix(SERVICE_ACCOUNT) {
            built.push_literal(service_account);
            rest = after;
        } else {
            return false;
        }
    }
    built.push_glob(rest);
    !(namespace.is_empty() || service_account.is_empty()) && built.matches(principal)
}

/// Whether a binding's pattern of principals is safe to use.
///
/// # Errors
/// Unknown variables, and a variable that touches a wildcard: `${namespace}*` would serve namespace `a` the roles of `ab`.
pub fn validate_principal_pattern(pattern: &str) -> Result<(), NameError> {
    let mut rest = pattern;
    let mut previous = None;
    while let Some(at) = rest.find("${") {
        let (before, variable) = rest.split_at(at);
        let Some(name) = [NAMESPACE, SERVICE_ACCOUNT].into_iter().find(|name| variable.starts_with(name)) else {
            return Err(unknown_variable(pattern));
        };
        let after = &variable[name.len()..];
        let neighbours = [before.chars().last().or(previous), after.chars().next()];
        if neighbours.into_iter().flatten().any(|c| matches!(c, '*' | '?')) {
            return Err(NameError::new(
                format!(
                    "a wildcard touches {name} in {pattern:?}, so one namespace would reach what belongs to another whose name is longer"
                ),
                "put a / between them",
            ));
        }
        previous = Some('}');
        rest = after;
    }
    Ok(())
}

/// `RoleSessionName`: the session's own name, so that a cloud's log leads to the object.
///
/// # Errors
/// A name that STS would refuse.
pub fn role_session_name(session: &str) -> Result<String, NameError> {
    if (2..=MAX_SESSION_NAME).contains(&session.len()) && session.chars().all(is_session_char) {
        return Ok(session.to_owned());
    }
    Err(NameError::new(
        format!("{session:?} can't be a role session name"),
        "name sessions with 2 to 64 of letters, digits and +=,.@_-",
    ))
}

/// What the session's tags tell the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagInput<'a> {
    /// This installation.
    pub cluster: &'a str,
    /// The agent's namespace.
    pub namespace: &'a str,
    /// The agent's service account.
    pub service_account: &'a str,
    /// Name of the policy.
    pub policy: &'a str,
    /// Name of the session.
    pub session: &'a str,
}

/// Session tags, a fixed set. Empty values are left out.
///
/// # Errors
/// A value that STS would refuse.
pub fn session_tags(input: TagInput<'_>) -> Result<Vec<(String, String)>, NameError> {
    [
        ("exeat:cluster", input.cluster),
        ("exeat:namespace", input.namespace),
        ("exeat:policy", input.policy),
        ("exeat:service-account", input.service_account),
        ("exeat:session", input.session),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(key, value)| {
        let valid = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '_' | '.' | ':' | '/' | '=' | '+' | '-' | '@');
        if value.chars().count() > MAX_TAG_VALUE || !value.chars().all(valid) {
            return Err(NameError::new(
                format!("{value:?} can't be the value of the session tag {key}"),
                "use at most 256 of letters, digits, blanks and _.:/=+-@",
            ));
        }
        Ok((key.to_owned(), value.to_owned()))
    })
    .collect()
}

/// `SourceIdentity`: `namespace.serviceaccount`, cut and told apart by a hash where it is too long.
pub fn source_identity(namespace: &str, service_account: &str) -> String {
    const HASH: usize = 12;
    let full = format!("{namespace}.{service_account}");
    if full.len() <= MAX_SESSION_NAME {
        return full;
    }
    let hash = digest::sha256_hex(full.as_bytes());
    let head: String = full.chars().take(MAX_SESSION_NAME - HASH - 1).collect();
    format!("{head}-{}", &hash[..HASH])
}

fn is_session_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '=' | ',' | '.' | '@' | '-')
}

fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_word(text)
}

/// What Kubernetes takes as the name of a service account: the whole is bounded, its parts are not.
fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_word)
}

fn is_word(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(edge) && text.ends_with(edge) && text.chars().all(|c| edge(c) || c == '-')
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
