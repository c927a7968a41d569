//! One POST of a message. The URL may be a secret as a whole (Slack's is): of it, nothing but the host is ever shown.

use super::args::NotifyArgs;
use crate::https::{HttpsClient, Plain};
use bytes::Bytes;
use exeat_runtime::dns::Resolver;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use std::fmt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest URL, bytes.
const MAX_URL: usize = 4096;

/// Why a message was not taken. Never holds more of the URL than its host.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The file with the URL can't be read.
    #[error("--notify-url-file {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The file holds no URL that messages may go to.
    #[error(
        "--notify-url-file {}: it must hold one https URL with a host, without user name and password{}",
        path.display(),
        if *plain { "; an http one is allowed too" } else { " (http, for a receiver in this cluster, needs --notify-allow-http)" }
    )]
    Url {
        /// The file.
        path: PathBuf,
        /// Whether http is allowed.
        plain: bool,
    },
    /// The roots can't be used.
    #[error("--notify-ca: {0}")]
    Tls(String),
    /// There was no answer.
    #[error("{host}: {cause}")]
    Failed {
        /// Whom.
        host: String,
        /// What happened.
        cause: String,
    },
    /// The answer was no.
    #[error("{host} answered {status}")]
    Refused {
        /// Whom.
        host: String,
        /// With what.
        status: StatusCode,
    },
}

impl SendError {
    /// Label of the metric.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::Url { .. } | Self::Tls(_) => "unusable",
            Self::Failed { .. } => "failed",
            Self::Refused { .. } => "refused",
        }
    }
}

/// Where messages go, read afresh for each of them: a Secret that is replaced needs no restart, and one that is missing stops nothing else.
#[derive(Clone, Debug)]
pub struct Sender {
    url_file: PathBuf,
    ca_file: Option<PathBuf>,
    plain: Plain,
    resolver: Resolver,
}

impl Sender {
    /// As set; none when nobody is to be told.
    pub fn new(args: &NotifyArgs, resolver: Resolver) -> Option<Self> {
        let plain = if args.notify_allow_http { Plain::Allowed } else { Plain::Refused };
        let url_file = args.notify_url_file.clone()?;
        Some(Self { url_file, ca_file: args.notify_ca.clone(), plain, resolver })
    }

    /// Posts one JSON body, and returns the host that took it.
    ///
    /// # Errors
    /// When it is not certain that it was taken.
    pub async fn post(&self, body: Vec<u8>) -> Result<String, SendError> {
        let target = target(&self.url_file, self.plain)?;
        let host = target.host();
        let failed = |cause: String| SendError::Failed { host: host.clone(), cause };
        let client = HttpsClient::new(self.ca_file.as_deref(), self.plain, self.resolver.clone());
        let client = client.map_err(|error| SendError::Tls(error.to_string()))?;
        let request = Request::post(target.0)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| failed(error.to_string()))?;
        let status = client.send(request).await.map_err(failed)?;
        if status.is_success() { Ok(host) } else { Err(SendError::Refused { host, status }) }
    }
}

/// A URL that shows its host alone.
struct Target(Uri);

impl Target {
    fn host(&self) -> String {
        self.0.host().unwrap_or_default().to_owned()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({:?})", self.host())
    }
}

fn target(path: &Path, plain: Plain) -> Result<Target, SendError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| SendError::File { path: path.to_owned(), cause: error.to_string() })?;
    let text = Zeroizing::new(text);
    let uri = text.trim().parse::<Uri>().ok().filter(|_| text.len() <= MAX_URL);
    let fits = |uri: &Uri| {
        let scheme = uri.scheme_str();
        (scheme == Some("https") || (plain == Plain::Allowed && scheme == Some("http")))
            && uri.authority().is_some_and(|a| !a.host().is_empty() && !a.as_str().contains('@'))
    };
    let wrong = || SendError::Url { path: path.to_owned(), plain: plain == Plain::Allowed };
    uri.filter(fits).map(Target).ok_or_else(wrong)
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
