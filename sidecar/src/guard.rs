//! Judges the head of a request before anything else sees it. Pure.
//!
//! Loopback is open to every process of the pod and, by tricks, to others: a browser with a rebound DNS name, a proxy or a
//! server that fetches URLs for strangers. Each leaves a mark that no SDK leaves; those requests are refused.

use http::header::{CONTENT_LENGTH, HOST, HeaderName, ORIGIN};
use http::{HeaderMap, Method, StatusCode, Uri};

/// Largest request body; no protocol here needs one.
pub const MAX_BODY_BYTES: u64 = 64 * 1024;

/// Where clients look for Google's metadata server that can't be told another place.
const METADATA_PORT: u16 = 80;
const METADATA_HOSTS: [&str; 2] = ["metadata.google.internal", "metadata"];

static FORWARDED: [HeaderName; 3] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-host"),
];
static BROWSER: [HeaderName; 3] =
    [ORIGIN, HeaderName::from_static("sec-fetch-site"), HeaderName::from_static("sec-fetch-mode")];

/// Why a request is refused before any credential is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A tunnel was asked for.
    #[error("CONNECT is refused: this is no proxy; take 127.0.0.1 out of HTTP_PROXY by adding it to NO_PROXY")]
    Connect,
    /// The request line names a whole URL, as to a proxy, or is no path.
    #[error(
        "the request line must be a path: this is no proxy; take 127.0.0.1 out of HTTP_PROXY by adding it to NO_PROXY"
    )]
    NotAPath,
    /// No Host header, or several.
    #[error("the Host header is missing or repeated: send one, as 127.0.0.1:PORT")]
    HostMissing,
    /// The Host header names somebody else: DNS rebinding.
    #[error("the Host header names another server: call by http://127.0.0.1:PORT, not by a name that resolves to it")]
    HostNotAllowed,
    /// The request was passed on by a proxy.
    #[error("the request was forwarded ({0} header): only processes of this pod may call, and directly")]
    Forwarded(&'static str),
    /// The request was made by a web page.
    #[error("the request was made by a browser ({0} header): only SDKs may call")]
    Browser(&'static str),
    /// The body is announced larger than any protocol needs, or its length can't be read.
    #[error("the request body is too large: send none")]
    BodyTooLarge,
    /// No Authorization header.
    #[error(
        "the loopback secret is missing: send the content of the file that AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names \
         (/var/run/exeat/token) as Authorization, after `Bearer ` for plain JSON; for an SDK too old to know that \
         variable annotate the pod with exeat.dev/aws-token: Env"
    )]
    SecretMissing,
    /// An Authorization header with something else.
    #[error("the loopback secret is wrong: read the file /var/run/exeat/token again for each call; it has no newline")]
    SecretWrong,
}

impl Rejection {
    /// One of each, for metrics.
    pub const ALL: [Self; 9] = [
        Self::Connect,
        Self::NotAPath,
        Self::HostMissing,
        Self::HostNotAllowed,
        Self::Forwarded(""),
        Self::Browser(""),
        Self::BodyTooLarge,
        Self::SecretMissing,
        Self::SecretWrong,
    ];

    /// Stable reason code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Connect => "ConnectRefused",
            Self::NotAPath => "RequestLineInvalid",
            Self::HostMissing => "HostMissing",
            Self::HostNotAllowed => "HostNotAllowed",
            Self::Forwarded(_) => "RequestForwarded",
            Self::Browser(_) => "BrowserRefused",
            Self::BodyTooLarge => "BodyTooLarge",
            Self::SecretMissing => "LoopbackSecretMissing",
            Self::SecretWrong => "LoopbackSecretWrong",
        }
    }

    /// Status of the answer: always 4xx, so that SDKs stop at once.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAPath | Self::HostMissing => StatusCode::BAD_REQUEST,
            Self::HostNotAllowed | Self::Forwarded(_) | Self::Browser(_) => StatusCode::FORBIDDEN,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SecretMissing | Self::SecretWrong => StatusCode::UNAUTHORIZED,
        }
    }
}

/// The rule over request heads, for one port.
#[derive(Clone, Debug)]
pub struct Guard {
    hosts: Vec<String>,
}

impl Guard {
    /// A guard for a listener on `port`. On port 80 the sidecar is Google's metadata server by its own names, and clients leave the port out.
    pub fn new(port: u16) -> Self {
        const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];
        let mut hosts: Vec<String> = LOOPBACK.iter().map(|host| format!("{host}:{port}")).collect();
        if port == METADATA_PORT {
            hosts.extend(LOOPBACK.map(str::to_owned));
            hosts.extend(METADATA_HOSTS.iter().flat_map(|host| [(*host).to_owned(), format!("{host}:{port}")]));
        }
        Self { hosts }
    }

    /// Whether a request with this head may go on to its protocol.
    ///
    /// # Errors
    /// With the first mark found.
    pub fn judge(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Rejection> {
        if method == Method::CONNECT {
            return Err(Rejection::Connect);
        }
        if uri.scheme().is_some() || uri.authority().is_some() || !uri.path().starts_with('/') {
            return Err(Rejection::NotAPath);
        }
        self.judge_host(headers)?;
        if let Some(name) = first_present(headers, &FORWARDED) {
            return Err(Rejection::Forwarded(name));
        }
        if let Some(name) = first_present(headers, &BROWSER) {
            return Err(Rejection::Browser(name));
        }
        judge_length(headers)
    }

    fn judge_host(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        let mut values = headers.get_all(HOST).iter();
        let (Some(host), None) = (values.next(), values.next()) else {
            return Err(Rejection::HostMissing);
        };
        let allowed = self.hosts.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(host.as_bytes()));
        if allowed { Ok(()) } else { Err(Rejection::HostNotAllowed) }
    }
}

fn first_present(headers: &HeaderMap, names: &'static [HeaderName]) -> Option<&'static str> {
    names.iter().find(|name| headers.contains_key(*name)).map(HeaderName::as_str)
}

fn judge_length(headers: &HeaderMap) -> Result<(), Rejection> {
    let Some(length) = headers.get(CONTENT_LENGTH) else {
        return Ok(());
    };
    let length = length.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|bytes| bytes <= MAX_BODY_BYTES) { Ok(()) } else { Err(Rejection::BodyTooLarge) }
}

#[cfg(test)]
mod tests;
