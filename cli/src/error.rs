//! How a command ends.

use std::io;
use std::process::ExitCode;

/// Exit codes; `docs/cli.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and all is well.
    Done,
    /// An error, or a check that failed.
    Failed,
    /// The command line can't be used as it stands.
    Usage,
    /// A gate says no.
    Denied,
    /// Begun, and not at its end yet.
    Unfinished,
}

impl Exit {
    /// The number that a shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Denied => 3,
            Self::Unfinished => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line, or a file that it names, can't be used.
    #[error("{0}")]
    Usage(String),
    /// A gate says no before anything is written.
    #[error("{0}")]
    Denied(String),
    /// No connection can be made.
    #[error("the cluster can't be reached: {0}")]
    Connect(String),
    /// The API server said no, or nothing.
    #[error("{what}: {}", api_message(source))]
    Api {
        /// What was being done.
        what: String,
        /// What the client met.
        source: Box<kube::Error>,
    },
    /// There is no such object.
    #[error("{0}")]
    NotFound(String),
    /// Output can't be written.
    #[error("output can't be written: {0}")]
    Output(#[from] io::Error),
    /// Something can't be turned into text.
    #[error("output can't be written: {0}")]
    Format(String),
}

impl Error {
    /// Puts what was being done in front of the client's error.
    pub fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Api { what, source: Box::new(source) }
    }

    /// Why no answer came, where that is what is wrong.
    pub fn no_answer(&self) -> Option<String> {
        match self {
            Self::Api { source, .. } => no_answer(source),
            _ => None,
        }
    }

    /// Whether it would be the same for whatever else was named.
    pub fn is_for_all(&self) -> bool {
        self.no_answer().is_some()
            || matches!(self, Self::Usage(_) | Self::Connect(_) | Self::Output(_) | Self::Format(_))
    }

    /// How the command ends with it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Denied(_) => Exit::Denied,
            Self::Output(_) if self.is_broken_pipe() => Exit::Done,
            _ => Exit::Failed,
        }
    }

    /// Whether the reader of our output has gone: `kubectl exeat sessions | head`.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Whether nothing came within the time that an answer may take: asking again takes as long again.
pub fn is_silence(error: &kube::Error) -> bool {
    root(error).is_some_and(|cause| kind(cause) == Some(io::ErrorKind::TimedOut))
}

/// Why there was no answer at all, in plain words; `None` where the API server said something.
pub fn no_answer(error: &kube::Error) -> Option<String> {
    let cause = root(error)?;
    Some(match kind(cause) {
        Some(io::ErrorKind::ConnectionRefused) => "the connection is refused: nothing listens there".to_owned(),
        Some(io::ErrorKind::TimedOut) => "it does not answer in time".to_owned(),
        _ => exeat_crds::text::strip_hidden(&cause.to_string()),
    })
}

fn kind(cause: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    cause.downcast_ref::<io::Error>().map(io::Error::kind)
}

/// What is at the bottom of a connection that failed.
fn root(error: &kube::Error) -> Option<&(dyn std::error::Error + 'static)> {
    let (kube::Error::Service(_) | kube::Error::HyperError(_)) = error else { return None };
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(inner) = cause.source() {
        // A login program that fails says itself what is wrong.
        if inner.is::<kube::client::AuthError>() {
            return None;
        }
        cause = inner;
    }
    Some(cause)
}

/// The API server's words alone, with what to do where RBAC says no.
pub fn api_message(error: &kube::Error) -> String {
    if let Some(why) = no_answer(error) {
        return format!("the API server can't be reached: {why}");
    }
    match error {
        kube::Error::Api(status) => exeat_crds::text::strip_hidden(&status.message),
        other => {
            let mut text = other.to_string();
            let mut cause = std::error::Error::source(other);
            while let Some(inner) = cause {
                let inner_text = inner.to_string();
                if !text.contains(&inner_text) {
                    text = format!("{text}: {inner_text}");
                }
                cause = inner.source();
            }
            exeat_crds::text::strip_hidden(&text)
        }
    }
}

/// Whether RBAC, or an admission policy, said no.
pub fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_that_are_documented() {
        let cases = [
            (Error::Usage(String::new()), 2),
            (Error::Denied(String::new()), 3),
            (Error::NotFound(String::new()), 1),
            (Error::Output(io::Error::from(io::ErrorKind::BrokenPipe)), 0),
            (Error::Output(io::Error::from(io::ErrorKind::StorageFull)), 1),
        ];
        for (error, code) in cases {
            assert_eq!(error.exit().code(), code, "{error:?}");
        }
        assert_eq!(Exit::Unfinished.code(), 4);
    }

    #[test]
    fn no_answer_is_told_in_plain_words_and_an_answer_is_none() {
        let met = |kind| kube::Error::Service(Box::new(io::Error::from(kind)));
        let refused = met(io::ErrorKind::ConnectionRefused);
        assert_eq!(no_answer(&refused).as_deref(), Some("the connection is refused: nothing listens there"));
        let mute = met(io::ErrorKind::TimedOut);
        assert!(api_message(&mute).ends_with("it does not answer in time"));
        assert!(is_silence(&mute) && !is_silence(&refused));
        let said = kube::Error::Api(Box::default());
        assert_eq!(no_answer(&said), None);
        assert!(Error::api("x")(refused).is_for_all() && !Error::api("x")(said).is_for_all());
    }
}
