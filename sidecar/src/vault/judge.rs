//! Whether a call to Vault is within the grant. Pure, over the bytes as they are sent on: nothing is decoded, and what could be read in two
//! ways is refused.

use exeat_wire::VaultRule;
use http::{HeaderMap, Method, StatusCode};

/// What Vault's API begins with.
pub const PREFIX: &str = "/v1/";
/// Where clients ask what kind of engine a path belongs to; Vault answers to whoever may use anything of that engine.
const MOUNTS: &str = "sys/internal/ui/mounts/";
const REQUEST_HEADER: &str = "x-vault-request";
const WRAP_HEADER: &str = "x-vault-wrap-ttl";
/// Query words that change what a call is.
const OTHER_CALLS: [&str; 2] = ["help", "scan"];

/// What the agent may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What is allowed.
    pub allow: Vec<VaultRule>,
    /// What is denied, whatever `allow` says.
    pub deny: Vec<VaultRule>,
    /// Whether calls must carry `X-Vault-Request: true`.
    pub require_request_header: bool,
}

/// Why a call is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No method of Vault's API.
    #[error("method {0} is none of Vault's: use GET, LIST, POST, PUT, PATCH or DELETE")]
    Method(String),
    /// The path can't be judged as it is written.
    #[error(
        "the path must be judged as it is sent: no escapes (%), no empty segments, no dots alone, letters, digits and -_.:@=,~ only, and a \
         slash at its end for lists alone"
    )]
    Path,
    /// The query can't be judged.
    #[error("the query must be plain key=value words without escapes; lists are asked for by LIST or list=true")]
    Query,
    /// The header that tells clients of Vault from others.
    #[error(
        "header X-Vault-Request: true is missing: Vault's clients send it; with curl add -H 'X-Vault-Request: true'"
    )]
    RequestHeader,
    /// A wrapped answer could be taken after the session's end.
    #[error("response wrapping is refused: what is wrapped outlives the session; ask without X-Vault-Wrap-TTL")]
    Wrapped,
    /// Outside of the grant.
    #[error("{verb} {path} is not within this session's grant; the policy's spec.allow names what is")]
    NotGranted {
        /// The verb.
        verb: &'static str,
        /// The path.
        path: String,
    },
}

impl Denial {
    /// Stable reason code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Method(_) => "VaultMethodInvalid",
            Self::Path => "VaultPathInvalid",
            Self::Query => "VaultQueryInvalid",
            Self::RequestHeader => "VaultRequestHeaderMissing",
            Self::Wrapped => "VaultWrappingRefused",
            Self::NotGranted { .. } => "ActionNotAllowed",
        }
    }

    /// Status of the answer: clients of Vault try again after 5xx alone.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Path | Self::Query => StatusCode::BAD_REQUEST,
            Self::RequestHeader => StatusCode::PRECONDITION_FAILED,
            Self::Wrapped | Self::NotGranted { .. } => StatusCode::FORBIDDEN,
        }
    }
}

/// A call that may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The verb.
    pub verb: &'static str,
    /// The path below `/v1/`.
    pub path: String,
    /// Whether it only asks what kind of engine a path belongs to, which needs no grant of its own.
    pub look_up: bool,
}

impl Rules {
    /// Whether this call may be made. `path` is the raw path of the request line, from `/v1/` on.
    ///
    /// # Errors
    /// Why it may not.
    pub fn judge(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Judged, Denial> {
        let values: Vec<&[u8]> = headers.get_all(REQUEST_HEADER).iter().map(|value| value.as_bytes()).collect();
        if self.require_request_header && values != [b"true".as_slice()] {
            return Err(Denial::RequestHeader);
        }
        if headers.contains_key(WRAP_HEADER) {
            return Err(Denial::Wrapped);
        }
        let listed = read_query(query)?;
        let verb = match (method.as_str(), listed) {
            ("GET", false) => "read",
            ("GET", true) | ("LIST", false) => "list",
            ("POST" | "PUT", false) => "write",
            ("PATCH", false) => "patch",
            ("DELETE", false) => "delete",
            (_, true) => return Err(Denial::Query),
            (other, false) => return Err(Denial::Method(other.chars().take(16).collect())),
        };
        let path = path.strip_prefix(PREFIX).ok_or(Denial::Path)?;
        check_path(path, verb == "list")?;
        let look_up = verb == "read" && path.starts_with(MOUNTS);
        if self.covers(verb, path) || (look_up && self.may_look_up(path)) {
            return Ok(Judged { verb, path: path.to_owned(), look_up });
        }
        Err(Denial::NotGranted { verb, path: path.to_owned() })
    }

    fn covers(&self, verb: &str, path: &str) -> bool {
        self.allow.iter().any(|rule| names(rule, verb, path)) && !self.deny.iter().any(|rule| names(rule, verb, path))
    }

    /// The kind of the engine below which something is granted: `vault kv` asks before each call.
    fn may_look_up(&self, path: &str) -> bool {
        let mount = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
        let Some(asked) = path.strip_prefix(MOUNTS).map(mount) else { return false };
        self.allow.iter().flat_map(|rule| &rule.paths).any(|path| lies_in(&mount(path), &asked))
    }
}

/// Whether the query asks for a list.
fn read_query(query: Option<&str>) -> Result<bool, Denial> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(false) };
    let mut listed = false;
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').ok_or(Denial::Query)?;
        let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ','));
        if key.is_empty() || !plain(key) || !plain(value) || OTHER_CALLS.contains(&key.to_ascii_lowercase().as_str()) {
            return Err(Denial::Query);
        }
        if key.eq_ignore_ascii_case("list") {
            if listed || key != "list" || value != "true" {
                return Err(Denial::Query);
            }
            listed = true;
        }
    }
    Ok(listed)
}

fn check_path(path: &str, list: bool) -> Result<(), Denial> {
    let path = if list { path.strip_suffix('/').unwrap_or(path) } else { path };
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@' | '=' | ',' | '~'))
    };
    if path.split('/').all(plain) { Ok(()) } else { Err(Denial::Path) }
}

fn names(rule: &VaultRule, verb: &str, path: &str) -> bool {
    rule.verbs.iter().any(|own| own == "*" || own == verb) && rule.paths.iter().any(|pattern| lies_in(pattern, path))
}

/// Whether a path lies in a pattern, with or without a slash at its end.
pub fn lies_in(pattern: &str, path: &str) -> bool {
    matches(pattern, path) || path.strip_suffix('/').is_some_and(|path| matches(pattern, path))
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern, path);
    loop {
        let (wanted, more) = pattern.split_once('/').map_or((pattern, None), |(wanted, more)| (wanted, Some(more)));
        if let (None, Some(start)) = (more, wanted.strip_suffix('*')) {
            return path.starts_with(start);
        }
        let (part, rest) = path.split_once('/').map_or((path, None), |(part, rest)| (part, Some(rest)));
        let same = if wanted == "+" { !part.is_empty() } else { wanted == part };
        match (same, more, rest) {
            (true, None, None) => return true,
            (true, Some(more), Some(rest)) => (pattern, path) = (more, rest),
            _ => return false,
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
