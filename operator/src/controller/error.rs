use exeat_runtime::lease::NotLeader;

/// Why a reconcile did not finish. It is tried again with a growing delay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("Kubernetes API: {0}")]
    Kube(#[source] Box<kube::Error>),
    /// This replica is not the leader (any more).
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
    /// A manifest of ours can't be read.
    #[error("{0}")]
    Manifest(String),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Kube(Box::new(error))
    }
}

impl Error {
    /// Stable code, a label of the error metric.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Kube(error) => match error.as_ref() {
                kube::Error::Api(status) if status.code == 409 => "Conflict",
                kube::Error::Api(status) if status.code == 403 => "Forbidden",
                kube::Error::Api(_) => "ApiRefused",
                _ => "ApiUnreachable",
            },
            Self::NotLeader(_) => "NotLeader",
            Self::Manifest(_) => "ManifestInvalid",
        }
    }
}
