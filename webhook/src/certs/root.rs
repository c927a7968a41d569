//! The root that all replicas share by a Secret, and what to do about what is found in it. Pure.

use std::collections::BTreeMap;

use exeat_runtime::ca::{CaError, Root, leaf_due};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use secrecy::{ExposeSecret, SecretString};

/// Key of the root's certificate; older roots may follow it.
pub const CERTIFICATE: &str = "ca.crt";
/// Key of the root's private key.
pub const KEY: &str = "ca.key";
const END: &str = "-----END CERTIFICATE-----";
const COMMON_NAME: &str = "exeat webhook root";

/// What is in the Secret, and what follows.
#[derive(Clone, Debug)]
pub struct Found {
    /// The root to issue from.
    pub root: Root,
    /// What clients are told to trust: this root, and the one before it while certificates of both are about.
    pub bundle: String,
    /// Whether the Secret must be written before anything is issued.
    pub write: bool,
}

/// Why the Secret can't be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// One of the two keys is missing, or they are damaged; a person put them there, or a person must look.
    #[error("{0}; empty {CERTIFICATE} and {KEY} of the Secret to have a new root made")]
    Unusable(String),
    /// No root can be made.
    #[error(transparent)]
    Make(CaError),
}

impl RootError {
    /// The stable reason code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unusable(_) => "RootUnusable",
            Self::Make(error) => error.code(),
        }
    }
}

/// Judges the Secret. `mine` is the root that this replica issues from already: an emptied Secret gets it back, so
/// that no replica's certificate loses its root.
///
/// # Errors
/// When the Secret holds what is neither empty nor a root.
pub fn judge(secret: &Secret, mine: Option<&Root>, host: &str, now: Timestamp) -> Result<Found, RootError> {
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()).filter(|text| !text.trim().is_empty())
    };
    let (certificates, key) = match (text(CERTIFICATE), text(KEY)) {
        (None, None) => return fill(mine, host, now),
        (Some(certificates), Some(key)) => (certificates, SecretString::from(key)),
        (None, Some(_)) => return Err(RootError::Unusable(format!("{CERTIFICATE} is missing"))),
        (Some(_), None) => return Err(RootError::Unusable(format!("{KEY} is missing"))),
    };
    let first = first_certificate(&certificates);
    match Root::from_pem(first, &key, now) {
        Ok(root) if !root.permitted().iter().any(|name| name == host) => renew(host, Some(first), now),
        Ok(root) if leaf_due(root.validity().not_before, root.validity().not_after, now) => {
            renew(host, Some(root.cert_pem()), now)
        }
        Ok(root) => Ok(Found { root, bundle: certificates, write: false }),
        Err(CaError::NotValid { .. }) => renew(host, None, now),
        Err(error) => Err(RootError::Unusable(error.to_string())),
    }
}

fn fill(mine: Option<&Root>, host: &str, now: Timestamp) -> Result<Found, RootError> {
    match mine {
        Some(root) => Ok(Found { root: root.clone(), bundle: root.cert_pem().to_owned(), write: true }),
        None => renew(host, None, now),
    }
}

fn renew(host: &str, former: Option<&str>, now: Timestamp) -> Result<Found, RootError> {
    let root = Root::create(COMMON_NAME, &[host], now).map_err(RootError::Make)?;
    let bundle = match former {
        Some(former) => format!("{}{former}", root.cert_pem()),
        None => root.cert_pem().to_owned(),
    };
    Ok(Found { root, bundle, write: true })
}

fn first_certificate(pem: &str) -> &str {
    pem.find(END).map_or(pem, |at| &pem[..at + END.len()])
}

/// The Secret with the root in it. It keeps its resourceVersion, so that of several replicas one is first.
pub fn filled(mut secret: Secret, found: &Found) -> Secret {
    let data = secret.data.get_or_insert_with(BTreeMap::new);
    data.insert(CERTIFICATE.to_owned(), ByteString(found.bundle.clone().into_bytes()));
    data.insert(KEY.to_owned(), ByteString(found.root.key_pem().expose_secret().as_bytes().to_vec()));
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "exeat-webhook.exeat-system.svc";

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn start() -> Timestamp {
        time("2026-01-01T00:00:00Z")
    }

    fn secret(certificate: &str, key: &str) -> Secret {
        let data = [(CERTIFICATE, certificate), (KEY, key)];
        let data = data.map(|(name, text)| (name.to_owned(), ByteString(text.as_bytes().to_vec())));
        Secret { data: Some(data.into()), ..Secret::default() }
    }

    #[test]
    fn an_empty_secret_is_filled_once_and_then_used() {
        for empty in [Secret::default(), secret("", ""), secret(" \n", "")] {
            let first = judge(&empty, None, HOST, start()).unwrap();
            assert!(first.write);
            let stored = filled(empty, &first);
            let second = judge(&stored, None, HOST, start()).unwrap();
            assert!(!second.write);
            assert_eq!(second.root.cert_pem().trim(), first.root.cert_pem().trim());
            assert_eq!(second.bundle, first.bundle);
            second.root.issue(&[HOST], exeat_runtime::ca::LEAF_VALIDITY, start()).unwrap();
        }
    }

    #[test]
    fn an_emptied_secret_gets_back_the_root_that_is_in_use() {
        let mine = judge(&Secret::default(), None, HOST, start()).unwrap().root;
        let found = judge(&secret("", ""), Some(&mine), HOST, start()).unwrap();
        assert!(found.write);
        assert_eq!(found.root.cert_pem(), mine.cert_pem());
    }

    #[test]
    fn a_root_is_renewed_at_two_thirds_of_its_life_and_both_are_trusted() {
        let old = judge(&Secret::default(), None, HOST, start()).unwrap();
        let stored = filled(Secret::default(), &old);
        assert!(!judge(&stored, None, HOST, time("2032-08-01T00:00:00Z")).unwrap().write);
        let new = judge(&stored, None, HOST, time("2032-10-01T00:00:00Z")).unwrap();
        assert!(new.write);
        assert_eq!(new.bundle.matches(END).count(), 2);
        assert!(new.bundle.starts_with(new.root.cert_pem()) && new.bundle.contains(old.root.cert_pem().trim()));
        let stored = filled(stored, &new);
        let after = judge(&stored, Some(&old.root), HOST, time("2032-10-02T00:00:00Z")).unwrap();
        assert!(!after.write);
        assert_eq!(after.bundle.matches(END).count(), 2);
        assert!(judge(&filled(Secret::default(), &old), None, HOST, time("2036-06-01T00:00:00Z")).unwrap().write);
    }

    #[test]
    fn a_root_for_another_name_is_replaced() {
        let other = judge(&Secret::default(), None, "other.exeat-system.svc", start()).unwrap();
        let found = judge(&filled(Secret::default(), &other), None, HOST, start()).unwrap();
        assert!(found.write);
        assert_eq!(found.root.permitted(), [HOST]);
    }

    #[test]
    fn what_is_no_root_is_left_alone_with_the_fix() {
        let good = judge(&Secret::default(), None, HOST, start()).unwrap();
        let key = good.root.key_pem().expose_secret();
        let other = judge(&Secret::default(), None, HOST, start()).unwrap();
        for (certificate, key) in [
            ("nonsense", key),
            (good.root.cert_pem(), ""),
            ("", key),
            (other.root.cert_pem(), key),
            (good.root.cert_pem(), "x"),
        ] {
            let error = judge(&secret(certificate, key), None, HOST, start()).unwrap_err();
            assert_eq!(error.code(), "RootUnusable");
            let message = error.to_string();
            assert!(message.contains("empty ca.crt and ca.key"), "{message}");
            assert!(!message.contains("PRIVATE"), "{message}");
        }
    }
}
