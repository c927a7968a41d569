//! The metadata server of Google Compute Engine, as far as clients look for a service account there: google-auth for Python, Go and Node, gcloud,
//! and Rust's gcp_auth.
//!
//! Every answer carries `Metadata-Flavor: Google`, and every request below `/computeMetadata` must: a page or a server that was tricked into a
//! call can't set it. Go and Python call folders with a slash at their end, Node without one, which is a redirect. Scopes that a client asks for
//! are not looked at: they are the provider's. Only what the pod's session gives is here, and nothing of the node.

use std::collections::BTreeMap;

use axum::response::Response;
use bytes::Bytes;
use exeat_wire::{GcpCredential, Refusal};
use http::header::{CONTENT_TYPE, LOCATION, SERVER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Answer, manner, secret_json};

/// Where everything but the root is.
const PREFIX: &str = "/computeMetadata/";
const VERSION: &str = "v1/";
const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
const GOOGLE: HeaderValue = HeaderValue::from_static("Google");
const SOFTWARE: HeaderValue = HeaderValue::from_static("Metadata Server for VM");
/// What the real one calls a text.
const TEXT: HeaderValue = HeaderValue::from_static("application/text");
const ACCOUNTS: &str = "instance/service-accounts/";

/// What is held, as the metadata server tells it.
pub struct Metadata {
    credential: GcpCredential,
    until: Timestamp,
}

impl std::fmt::Debug for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metadata(hidden)")
    }
}

/// What a request is for.
#[derive(Debug)]
pub enum Asked {
    /// Answered without a credential.
    Answer(Box<Reply>),
    /// A path below `/computeMetadata/v1/`.
    Path(String),
}

/// An answer with its place, where it is a redirect.
#[derive(Clone, Debug)]
pub struct Reply {
    answer: Answer,
    location: Option<String>,
}

#[derive(Serialize)]
struct Token<'a> {
    access_token: &'a str,
    expires_in: i64,
    token_type: &'static str,
}

/// Whether a path is the metadata server's.
pub fn is_metadata(path: &str) -> bool {
    path == "/" || path == PREFIX.trim_end_matches('/') || path.starts_with(PREFIX)
}

/// Reads a request. The root is open, as the real one's is: clients look for the header of its answer there.
pub fn read(method: &Method, path: &str, headers: &HeaderMap) -> Asked {
    let answer = |status, text: &str| Asked::Answer(Box::new(Reply::text(status, text)));
    if path == "/" {
        return answer(StatusCode::OK, "computeMetadata/\n");
    }
    let mut flavors = headers.get_all(&FLAVOR).iter();
    let flavored = flavors.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"Google"));
    if !flavored || flavors.next().is_some() {
        return answer(
            StatusCode::FORBIDDEN,
            "exeat: MetadataFlavorMissing: send the header Metadata-Flavor: Google\n",
        );
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return answer(StatusCode::METHOD_NOT_ALLOWED, "exeat: MethodNotAllowed: use GET\n");
    }
    match path.strip_prefix(PREFIX) {
        None => Asked::Answer(Box::new(Reply::redirect(PREFIX))),
        Some("") => answer(StatusCode::OK, VERSION_LISTING),
        Some("v1") => Asked::Answer(Box::new(Reply::redirect("/computeMetadata/v1/"))),
        Some(rest) => match rest.strip_prefix(VERSION) {
            Some(below) => Asked::Path(below.to_owned()),
            None => Asked::Answer(Box::new(Reply::not_found())),
        },
    }
}

const VERSION_LISTING: &str = "v1/\n";

/// The answer while nothing is held, in words that every client repeats as they are.
pub fn refused(refusal: &Refusal) -> Answer {
    let (status, retry_after) = manner(refusal);
    let body = format!("exeat: {}: {}\n", refusal.code, refusal.message);
    Answer { status, retry_after, text: true, body: body.into() }
}

/// Every answer is marked as the real one's are.
pub fn marked(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(FLAVOR, GOOGLE);
    headers.insert(SERVER, SOFTWARE);
    if headers.get(CONTENT_TYPE).is_none_or(|kind| !kind.as_bytes().starts_with(b"application/json")) {
        headers.insert(CONTENT_TYPE, TEXT);
    }
    response
}

impl Metadata {
    /// What a credential that is served until then tells.
    pub fn new(credential: GcpCredential, until: Timestamp) -> Self {
        Self { credential, until }
    }

    /// The answer to a path below `/computeMetadata/v1/`.
    pub fn answer(&self, path: &str, query: Option<&str>, now: Timestamp) -> Reply {
        let query = parameters(query.unwrap_or_default());
        if let Some(leaf) = self.account_leaf(path) {
            return self.leaf(leaf, &query, now);
        }
        let tree = self.tree();
        let (folder, name) = (path.trim_end_matches('/'), path);
        let found = folder.split('/').filter(|part| !part.is_empty()).try_fold(&tree, |at, part| at.get(part));
        match found {
            None => Reply::not_found(),
            Some(Value::Object(_)) if !name.is_empty() && !name.ends_with('/') => {
                Reply::redirect(&format!("/computeMetadata/v1/{name}/"))
            }
            Some(Value::Object(entries)) if is_true(&query, "recursive") => {
                Reply::json(camel_case(&Value::Object(entries.clone())).to_string())
            }
            Some(Value::Object(entries)) => Reply::text(StatusCode::OK, &listing(entries)),
            Some(_) if name.ends_with('/') => Reply::not_found(),
            Some(value) => Reply::text(StatusCode::OK, &plain(value)),
        }
    }

    /// `token` or `identity` of the one service account, by either of its names.
    fn account_leaf<'p>(&self, path: &'p str) -> Option<&'p str> {
        let (account, leaf) = path.strip_prefix(ACCOUNTS)?.split_once('/')?;
        let ours = account == "default" || account == self.credential.email;
        (ours && matches!(leaf, "token" | "identity")).then_some(leaf)
    }

    fn leaf(&self, leaf: &str, query: &BTreeMap<String, String>, now: Timestamp) -> Reply {
        if leaf == "token" { self.token(now) } else { self.identity(query.get("audience").map(String::as_str)) }
    }

    fn token(&self, now: Timestamp) -> Reply {
        let Some(token) = &self.credential.access_token else {
            return Reply::text(
                StatusCode::FORBIDDEN,
                "exeat: ActionNotAllowed: the policy grants identity tokens only; ask for identity?audience=…\n",
            );
        };
        // Go takes no token without any time left.
        let left = self.until.duration_since(now).as_secs().max(1);
        let body = Token { access_token: token.expose(), expires_in: left, token_type: "Bearer" };
        match secret_json(&body, 256 + 2 * token.expose().len()) {
            Ok(body) => Reply::json(body),
            Err(_) => {
                Reply::text(StatusCode::INTERNAL_SERVER_ERROR, "exeat: InternalError: the token can't be written\n")
            }
        }
    }

    fn identity(&self, audience: Option<&str>) -> Reply {
        let Some(audience) = audience.filter(|audience| !audience.is_empty()) else {
            return Reply::text(StatusCode::BAD_REQUEST, "non-empty audience parameter required\n");
        };
        let granted = &self.credential.identity_tokens;
        match granted.iter().find(|token| token.audience == audience) {
            Some(found) => Reply::text(StatusCode::OK, found.token.expose()),
            None if granted.is_empty() => Reply::not_found(),
            None => Reply::text(
                StatusCode::FORBIDDEN,
                "exeat: ActionNotAllowed: the policy grants identity tokens for other audiences; add audience/<audience> to spec.allow\n",
            ),
        }
    }

    fn tree(&self) -> Value {
        let GcpCredential { email, project, project_number, universe_domain, scopes, .. } = &self.credential;
        let account = json!({"aliases": ["default"], "email": email, "scopes": scopes});
        let mut own = json!({"project-id": project});
        if let Some(number) = project_number {
            own["numeric-project-id"] = number.parse::<u64>().map_or_else(|_| number.clone().into(), Value::from);
        }
        json!({
            "instance": {"service-accounts": {email: account.clone(), "default": account}},
            "project": own,
            // gcloud spells it with an underscore.
            "universe": {"universe-domain": universe_domain, "universe_domain": universe_domain},
        })
    }
}

/// One entry a line. An account holds more than what its recursive answer shows.
fn listing(entries: &Map<String, Value>) -> String {
    let mut names: Vec<String> =
        entries.iter().map(|(name, value)| format!("{name}{}", if value.is_object() { "/" } else { "" })).collect();
    if entries.contains_key("scopes") {
        names.extend(["identity".to_owned(), "token".to_owned()]);
    }
    names.sort();
    names.iter().map(|name| format!("{name}\n")).collect()
}

/// A value as text: a list has one entry a line.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(|item| format!("{}\n", plain(item))).collect(),
        other => other.to_string(),
    }
}

/// Recursive answers write `project-id` as `projectId`; accounts are named as they are.
fn camel_case(value: &Value) -> Value {
    let Value::Object(entries) = value else { return value.clone() };
    let renamed = entries.iter().filter(|(name, _)| !name.contains('_')).map(|(name, value)| {
        let mut words = name.split('-');
        let first = words.next().unwrap_or_default().to_owned();
        let written = if name.contains('@') {
            name.clone()
        } else {
            words.fold(first, |text, word| {
                let (head, tail) = word.split_at(word.len().min(1));
                text + &head.to_ascii_uppercase() + tail
            })
        };
        (written, camel_case(value))
    });
    Value::Object(renamed.collect())
}

fn is_true(query: &BTreeMap<String, String>, name: &str) -> bool {
    query.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// The first value of each parameter, decoded.
fn parameters(query: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        found.entry(decoded(name)).or_insert_with(|| decoded(value));
    }
    found
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: u8| char::from(byte).to_digit(16);
        let mut ahead = rest.clone();
        match (byte, ahead.next().and_then(hex), ahead.next().and_then(hex)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                rest = ahead;
            }
            (b'+', _, _) => bytes.push(b' '),
            (other, _, _) => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Reply {
    fn text(status: StatusCode, body: &str) -> Self {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Self { answer: Answer { status, retry_after: None, text: true, body }, location: None }
    }

    fn json(body: impl Into<Bytes>) -> Self {
        Self { answer: Answer::ok(body.into()), location: None }
    }

    fn redirect(location: &str) -> Self {
        Self { location: Some(location.to_owned()), ..Self::text(StatusCode::MOVED_PERMANENTLY, "") }
    }

    fn not_found() -> Self {
        Self::text(
            StatusCode::NOT_FOUND,
            "exeat: PathNotFound: the sidecar's metadata server tells of the session's service account and project only\n",
        )
    }

    /// Status and body.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    /// The answer as HTTP.
    pub fn to_response(&self) -> Response {
        let mut response = marked(self.answer.to_response());
        if let Some(place) = self.location.as_deref().and_then(|place| HeaderValue::from_str(place).ok()) {
            response.headers_mut().insert(LOCATION, place);
        }
        response
    }
}

#[cfg(test)]
#[path = "gcp_tests.rs"]
mod tests;
