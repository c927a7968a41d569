//! What Secrets with a root hold alike: the root, the certificate of the one before, and texts beside them. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use secrecy::{ExposeSecret, SecretString};

use super::{CaError, Root, overlap_end, validity};

/// Entry of the root that certificates are issued from.
pub const CERTIFICATE: &str = "ca.crt";
/// Entry of its private key.
pub const KEY: &str = "ca.key";
/// Entry of the former root's certificate, while it is published beside the newest.
pub const FORMER: &str = "former.crt";
/// Entry of the time until when it is.
pub const FORMER_UNTIL: &str = "former-until";

/// Why the Secret's root can't be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum HeldError {
    /// One of the two that belong together.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// No root of ours.
    #[error(transparent)]
    Ca(#[from] CaError),
}

/// The root before; its key is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    /// Its certificate.
    pub certificate: String,
    /// Until when it is published.
    pub until: Timestamp,
}

impl Former {
    /// A root that is replaced at `now`.
    pub fn of(root: &Root, overlap: Duration, now: Timestamp) -> Self {
        Self { certificate: root.cert_pem().to_owned(), until: overlap_end(now, overlap) }
    }

    /// Reads it; one without a readable end is over.
    pub fn held(secret: &Secret) -> Option<Self> {
        let certificate = text(secret, FORMER).filter(|pem| validity(pem).is_ok())?;
        let until = text(secret, FORMER_UNTIL).and_then(|text| text.trim().parse().ok());
        Some(Self { certificate, until: until.unwrap_or(Timestamp::MIN) })
    }
}

/// The root in use; nothing where the Secret is empty, or the root has expired: nobody can be served from it any more.
///
/// # Errors
/// When the Secret holds what is neither empty nor a root.
pub fn held_root(secret: &Secret, now: Timestamp) -> Result<Option<Root>, HeldError> {
    match (text(secret, CERTIFICATE), text(secret, KEY)) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(HeldError::Missing(CERTIFICATE)),
        (Some(_), None) => Err(HeldError::Missing(KEY)),
        (Some(certificate), Some(key)) => match Root::from_pem(&certificate, &SecretString::from(key), now) {
            Err(CaError::NotValid { not_after, .. }) if now > not_after => Ok(None),
            read => Ok(Some(read?)),
        },
    }
}

/// An entry that is not blank.
pub fn text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    Some(String::from_utf8_lossy(&bytes.0).into_owned()).filter(|text| !text.trim().is_empty())
}

/// An annotation.
pub fn annotation<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    secret.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Fills a Secret. It keeps its resourceVersion: of replicas that write at once one is first.
pub struct Filled(Secret);

impl Filled {
    /// Over what was read.
    pub fn over(secret: Secret) -> Self {
        Self(secret)
    }

    /// With an entry, or without it.
    #[must_use]
    pub fn entry(mut self, key: &str, text: Option<String>) -> Self {
        let data = self.0.data.get_or_insert_default();
        match text.filter(|text| !text.is_empty()) {
            Some(text) => drop(data.insert(key.to_owned(), ByteString(text.into_bytes()))),
            None => drop(data.remove(key)),
        }
        self
    }

    /// With a root in these two entries, or without them.
    #[must_use]
    pub fn root(self, certificate: &str, key: &str, root: Option<&Root>) -> Self {
        self.entry(certificate, root.map(|root| root.cert_pem().to_owned()))
            .entry(key, root.map(|root| root.key_pem().expose_secret().to_owned()))
    }

    /// With the former root, or without one.
    #[must_use]
    pub fn former(self, former: Option<&Former>) -> Self {
        self.entry(FORMER, former.map(|former| former.certificate.clone()))
            .entry(FORMER_UNTIL, former.map(|former| former.until.to_string()))
    }

    /// With an annotation; nothing takes one away.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.0.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        }
        self
    }

    /// The Secret to write.
    pub fn secret(self) -> Secret {
        self.0
    }
}
