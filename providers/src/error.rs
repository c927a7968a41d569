//! Why a provider did not do what it was asked to.

use std::time::Duration;

use exeat_crds::reason::{Reason, Refused};

/// Longest message, characters: it goes into conditions, which hold 1,024.
const MAX_MESSAGE: usize = 1000;

/// A failure at a provider: a stable code, one sentence that names the fix, and whether waiting may help. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct ProviderError {
    /// The stable code.
    pub reason: Reason,
    /// What is wrong and what to do about it.
    pub message: String,
    /// Whether the same call may work later without anybody changing anything.
    pub retryable: bool,
    /// How long to wait at least before the next try, where that is known.
    pub retry_after: Option<Duration>,
}

impl ProviderError {
    /// A failure that stays until somebody changes something.
    pub fn lasting(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: tidy(&message.into()), retryable: false, retry_after: None }
    }

    /// A failure that may pass by itself.
    pub fn passing(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: tidy(&message.into()), retryable: true, retry_after: None }
    }

    /// The same failure with a shortest wait.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The stable code as text.
    pub fn code(&self) -> &'static str {
        self.reason.as_str()
    }
}

impl From<Refused> for ProviderError {
    fn from(refused: Refused) -> Self {
        Self::lasting(refused.reason, refused.message)
    }
}

/// One line of bounded length: servers answer with line breaks and whole documents.
fn tidy(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = words.join(" ");
    if line.chars().count() <= MAX_MESSAGE {
        return line;
    }
    let mut cut: String = line.chars().take(MAX_MESSAGE - 1).collect();
    cut.push('…');
    cut
}

/// An error with its causes, innermost last.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |error| error.source()) {
        let part = cause.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_of_bounded_length() {
        let error = ProviderError::lasting(Reason::ProviderRejected, format!("a\n\tb\u{7} {}", "x".repeat(5000)));
        assert!(error.message.starts_with("a b x"), "{}", error.message);
        assert_eq!(error.message.chars().count(), MAX_MESSAGE);
        assert!(error.message.ends_with('…'));
        assert_eq!(error.code(), "ProviderRejected");
    }

    #[test]
    fn a_wait_goes_with_a_failure_that_may_pass() {
        let error = ProviderError::passing(Reason::ProviderThrottled, "slow").after(Duration::from_secs(3));
        assert!(error.retryable);
        assert_eq!(error.retry_after, Some(Duration::from_secs(3)));
        assert!(!ProviderError::lasting(Reason::ProviderRejected, "no").retryable);
    }
}
