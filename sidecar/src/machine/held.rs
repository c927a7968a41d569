//! A credential as the sidecar holds it.

use exeat_wire::{Credential, CredentialResponse};
use jiff::{SignedDuration, Timestamp};

use crate::args::Provider;

/// The least grace without contact: shorter ones would stop between two heartbeats.
const MIN_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// A credential with the times that bound it. Its secrets are zeroized on drop and hidden from `Debug`.
#[derive(Clone, Debug)]
pub struct Held {
    /// Name of the session.
    pub session: String,
    /// Name of the policy.
    pub policy: String,
    /// Digest of the grant, empty where the issuer did not tell.
    pub digest: String,
    /// End of the credential.
    pub expires_at: Timestamp,
    /// End of the session.
    pub session_expires_at: Timestamp,
    /// How long it is served without contact to an issuer.
    pub offline_grace: SignedDuration,
    /// The credential.
    pub credential: Credential,
}

/// Why an issuer's answer can't be served.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// A time that is no RFC 3339.
    #[error("the issuer's answer has no readable {field}: {error}")]
    Time {
        /// Name of the field.
        field: &'static str,
        /// What is wrong with it.
        error: String,
    },
    /// A credential of another kind than the pod was injected for.
    #[error(
        "the credential is of kind {brought}, but this pod was injected for {expected}: its policy now names another kind \
         of provider; create the pod again"
    )]
    Kind {
        /// Kind of the issuer's credential.
        brought: &'static str,
        /// Kind that this sidecar serves.
        expected: &'static str,
    },
}

impl Held {
    /// Reads an issuer's answer for a sidecar that serves `provider`.
    ///
    /// # Errors
    /// When a time can't be read or the credential is of another kind.
    pub fn read(response: CredentialResponse, provider: Provider) -> Result<Self, Unusable> {
        let brought = kind(&response.credential);
        if brought != provider.as_str() {
            return Err(Unusable::Kind { brought, expected: provider.as_str() });
        }
        let grace = i64::try_from(response.offline_grace_seconds).unwrap_or(i64::MAX);
        Ok(Self {
            expires_at: time("expiresAt", &response.expires_at)?,
            session_expires_at: time("sessionExpiresAt", &response.session_expires_at)?,
            offline_grace: SignedDuration::from_secs(grace).max(MIN_GRACE),
            session: response.session,
            policy: response.policy,
            digest: response.digest,
            credential: response.credential,
        })
    }

    /// The earlier of the credential's and the session's end.
    pub fn ends_at(&self) -> Timestamp {
        self.expires_at.min(self.session_expires_at)
    }

    /// Whether it was minted for `session` under the grant with `digest`.
    pub fn is_of(&self, session: &str, digest: &str) -> bool {
        self.session == session && self.digest == digest
    }
}

fn time(field: &'static str, text: &str) -> Result<Timestamp, Unusable> {
    text.parse().map_err(|error: jiff::Error| Unusable::Time { field, error: error.to_string() })
}

fn kind(credential: &Credential) -> &'static str {
    match credential {
        Credential::Aws(_) => Provider::Aws.as_str(),
        Credential::Kubernetes(_) => Provider::Kubernetes.as_str(),
        _ => "unknown",
    }
}
