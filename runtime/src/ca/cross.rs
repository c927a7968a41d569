//! Crosses: certificates by which who trusts an older root accepts what a newer one issues.

use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::parse_x509_pem;

use super::{CaError, Leaf, MAX_CROSSES, Root, Validity, validity_of};

const END: &str = "-----END CERTIFICATE-----";

/// A root's key, certified by the root before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cross {
    pub(super) cert_pem: String,
    pub(super) validity: Validity,
}

impl Cross {
    /// The certificate as PEM.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// When it is valid: no longer than either root.
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

/// The certificates in a text, each with its marks and a newline.
pub fn certificates(pem: &str) -> impl Iterator<Item = String> {
    pem.split_inclusive(END).filter(|part| part.ends_with(END)).map(|part| part.trim_start().to_owned() + "\n")
}

/// The crosses in `pem` that lead down from `root`, newest first: each is for the key that signed the one before it.
/// Ends at the first that is expired at `now`, unreadable or out of place, and after [`MAX_CROSSES`]. Signatures are
/// the clients' to check.
pub fn read_crosses(root: &Root, pem: &str, now: Timestamp) -> Vec<Cross> {
    let Ok(mut expected) = subject(root.cert_pem()) else { return Vec::new() };
    let mut found = Vec::new();
    for cert_pem in certificates(pem).take(usize::from(MAX_CROSSES)) {
        let Ok(Link { subject, issuer, validity }) = link(&cert_pem) else { break };
        if subject != expected || now > validity.not_after {
            break;
        }
        found.push(Cross { cert_pem, validity });
        expected = issuer;
    }
    found
}

impl Leaf {
    /// The same leaf, shown together with `crosses`.
    #[must_use]
    pub fn with_crosses(mut self, crosses: &[Cross]) -> Self {
        crosses.iter().for_each(|cross| self.chain_pem.push_str(&cross.cert_pem));
        self
    }
}

/// What ties a certificate to its neighbours. Names do: no two roots share one.
struct Link {
    subject: Vec<u8>,
    issuer: Vec<u8>,
    validity: Validity,
}

fn link(pem: &str) -> Result<Link, CaError> {
    parsed(pem, |certificate| {
        let validity = validity_of(certificate)?;
        let (subject, issuer) = (certificate.subject().as_raw().to_vec(), certificate.issuer().as_raw().to_vec());
        Ok(Link { subject, issuer, validity })
    })
}

fn subject(pem: &str) -> Result<Vec<u8>, CaError> {
    parsed(pem, |certificate| Ok(certificate.subject().as_raw().to_vec()))
}

fn parsed<T>(pem: &str, read: impl FnOnce(&X509Certificate<'_>) -> Result<T, CaError>) -> Result<T, CaError> {
    let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|error| CaError::Unreadable(error.to_string()))?;
    let certificate = block.parse_x509().map_err(|error| CaError::Unreadable(error.to_string()))?;
    read(&certificate)
}
