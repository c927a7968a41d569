//! Why a story fails, in words.

use kube::core::Status;

/// A story's failure. It shows as its message alone.
pub struct Failure(String);

/// What a step of a story gives.
pub type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    /// With this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// The API server's refusal of what should be refused.
///
/// # Errors
/// When it was accepted, or failed for another reason than a refusal.
pub fn refused<T>(what: &str, result: kube::Result<T>) -> Result<Status> {
    match result {
        Err(kube::Error::Api(status)) => Ok(*status),
        Err(error) => Err(Failure(format!("{what}: expected a refusal, got {error}"))),
        Ok(_) => Err(Failure(format!("{what}: expected a refusal, but it was accepted"))),
    }
}
