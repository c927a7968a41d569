//! The own certificate authority: a ten-year root that is held to a few DNS names, and short leaves below it.
//!
//! Stateless: whoever holds the root's PEM issues leaves from it. Times are arguments. Keys are ECDSA P-256 and leave
//! only as [`SecretString`].

mod cross;
mod root;
mod rotation;
pub mod secret;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::sign::CertifiedKey;
use secrecy::{ExposeSecret, SecretString};
use x509_parser::pem::parse_x509_pem;

pub use self::cross::{Cross, certificates, read_crosses};
pub use self::root::Root;
pub use self::rotation::{ROOT_OVERLAP, Request, look_interval, overlap_end, root_due};
use crate::tls::{CertificateError, certified_key};

/// How long a root is valid.
pub const ROOT_VALIDITY: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
/// How long a leaf is usually valid.
pub const LEAF_VALIDITY: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Most crosses between a leaf and a root that is trusted; every root's path length allows them. A client that trusts a
/// root that was replaced more often than this is lost.
pub const MAX_CROSSES: u8 = 4;
/// Certificates are valid from this long before they are made, for peers whose clock is behind.
const BACKDATED: SignedDuration = SignedDuration::from_mins(5);

/// Why a certificate was not made or not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// No name, or one that is no plain DNS name.
    #[error("{0:?} is no DNS name; write labels of letters, digits and hyphens, without wildcard or leading dot")]
    Name(String),
    /// A root without a permitted name, or a leaf without a name.
    #[error("at least one DNS name is needed")]
    NoNames,
    /// The leaf's name lies outside the root's name constraints: no client would accept it.
    #[error("{name:?} lies outside the names that the root is held to: {}", permitted.join(", "))]
    NotPermitted {
        /// The name asked for.
        name: String,
        /// The root's permitted DNS subtrees.
        permitted: Vec<String>,
    },
    /// The certificate is no PEM or no X.509 certificate.
    #[error("the certificate is not readable: {0}")]
    Unreadable(String),
    /// The private key is not readable. The cause is left out: it could hold the key.
    #[error("the private key is no readable ECDSA P-256 key in PEM")]
    Key,
    /// The private key is not the certificate's.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// The certificate is not a root that may issue.
    #[error("the certificate is no authority: {0}")]
    NotAnAuthority(&'static str),
    /// The root names no permitted DNS subtree, or not critically: it could vouch for any name.
    #[error("the root has no critical name constraints with permitted DNS names")]
    Unconstrained,
    /// Not valid yet or any more.
    #[error("the certificate is valid from {not_before} to {not_after}, not at {now}")]
    NotValid {
        /// Start of its validity.
        not_before: Timestamp,
        /// End of its validity.
        not_after: Timestamp,
        /// When it was looked at.
        now: Timestamp,
    },
    /// The certificate can't be made.
    #[error("the certificate can't be made: {0}")]
    Generate(#[source] rcgen::Error),
}

impl CaError {
    /// The stable reason code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name(_) | Self::NoNames => "CertificateNameInvalid",
            Self::NotPermitted { .. } => "CertificateNameNotPermitted",
            Self::Unreadable(_) => "CertificateUnreadable",
            Self::Key => "PrivateKeyUnreadable",
            Self::KeyMismatch => "PrivateKeyMismatch",
            Self::NotAnAuthority(_) => "CertificateNotAnAuthority",
            Self::Unconstrained => "CertificateUnconstrained",
            Self::NotValid { .. } => "CertificateNotValid",
            Self::Generate(_) => "CertificateNotMade",
        }
    }
}

/// A server certificate with its key.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The certificate as PEM, and crosses after it. The root is not in it: clients have it.
    pub chain_pem: String,
    /// Its private key as PEM (PKCS #8).
    pub key_pem: SecretString,
    /// When it is valid.
    pub validity: Validity,
}

impl Leaf {
    /// The leaf as the TLS server takes it.
    ///
    /// # Errors
    /// When the PEM is unreadable or its parts do not match.
    pub fn certified_key(&self) -> Result<CertifiedKey, CertificateError> {
        certified_key(&self.chain_pem, self.key_pem.expose_secret())
    }

    /// Whether the leaf should be replaced: two thirds of its life are over, or the clock was wrong when it was made.
    pub fn is_due(&self, now: Timestamp) -> bool {
        now < self.validity.not_before || leaf_due(self.validity.not_before, self.validity.not_after, now)
    }
}

/// When a certificate is valid, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Start.
    pub not_before: Timestamp,
    /// End.
    pub not_after: Timestamp,
}

impl Validity {
    /// From just before `now` for `length`, in whole seconds.
    fn starting(now: Timestamp, length: Duration) -> Self {
        let seconds = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time);
        let add = |by: SignedDuration| now.checked_add(by).map_or(Timestamp::MAX, seconds);
        let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
        Self { not_before: add(-BACKDATED), not_after: add(length) }
    }

    /// The part that lies within `other`.
    fn within(self, other: Self) -> Self {
        Self { not_before: self.not_before.max(other.not_before), not_after: self.not_after.min(other.not_after) }
    }

    fn check(self, now: Timestamp) -> Result<(), CaError> {
        let Self { not_before, not_after } = self;
        if (not_before..=not_after).contains(&now) {
            Ok(())
        } else {
            Err(CaError::NotValid { not_before, not_after, now })
        }
    }
}

/// Whether two thirds of a certificate's life are over, so that it should be replaced.
pub fn leaf_due(not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> bool {
    let life = not_after.duration_since(not_before);
    now.duration_since(not_before) >= life / 3 * 2
}

/// When the first certificate in `pem` is valid.
///
/// # Errors
/// When there is none, or it is unreadable.
pub fn validity(pem: &str) -> Result<Validity, CaError> {
    let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|error| CaError::Unreadable(error.to_string()))?;
    let certificate = block.parse_x509().map_err(|error| CaError::Unreadable(error.to_string()))?;
    validity_of(&certificate)
}

fn validity_of(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Result<Validity, CaError> {
    let time = |time: x509_parser::time::ASN1Time| {
        Timestamp::from_second(time.timestamp()).map_err(|error| CaError::Unreadable(error.to_string()))
    };
    let validity = certificate.validity();
    Ok(Validity { not_before: time(validity.not_before)?, not_after: time(validity.not_after)? })
}

/// Whether `name` is a plain DNS name: no wildcard, no dot at either end.
fn check_name(name: &str) -> Result<(), CaError> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if name.len() <= 253 && name.split('.').all(label) { Ok(()) } else { Err(CaError::Name(name.to_owned())) }
}

/// Whether `name` is `subtree` or lies below it (RFC 5280, 4.2.1.10).
fn within(name: &str, subtree: &str) -> bool {
    let (name, subtree) = (name.to_ascii_lowercase(), subtree.to_ascii_lowercase());
    name.strip_suffix(&subtree).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests;
