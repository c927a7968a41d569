//! The root and what it signs.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SubjectPublicKeyInfo, date_time_ymd,
};
use secrecy::{ExposeSecret, SecretString};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;
use zeroize::Zeroize;

use super::cross::Cross;
use super::{CaError, Leaf, MAX_CROSSES, ROOT_VALIDITY, Validity, check_name, validity_of, within};

/// A root certificate with its key. `Debug` hides the key.
#[derive(Clone, Debug)]
pub struct Root {
    cert_pem: String,
    key_pem: SecretString,
    permitted: Vec<String>,
    validity: Validity,
}

impl Root {
    /// Makes a root that can vouch only for `permitted` DNS names and what lies below them, and for no IP address. Valid
    /// for [`ROOT_VALIDITY`] from `now`. The constraints are critical. Its name is `common_name` and an id of its key:
    /// no two roots share one, so that verifiers find the path through crosses without trying.
    ///
    /// # Errors
    /// When a name is no DNS name, or none is given.
    pub fn create(common_name: &str, permitted: &[impl AsRef<str>], now: Timestamp) -> Result<Self, CaError> {
        let permitted: Vec<String> = permitted.iter().map(|name| name.as_ref().to_ascii_lowercase()).collect();
        let mut key = generate_key()?;
        let (root, _) = Self::with_key(common_name, permitted, &mut key, now)?;
        Ok(root)
    }

    /// Makes the root that follows this one, held to the same names, and its cross: the new key, vouched for by this
    /// root. Who trusts this root alone accepts through the cross what the next one issues, until either expires.
    ///
    /// # Errors
    /// When this root is not valid at `now`.
    pub fn succeed(&self, common_name: &str, now: Timestamp) -> Result<(Self, Cross), CaError> {
        self.validity.check(now)?;
        let mut key = generate_key()?;
        let subject_key = SubjectPublicKeyInfo::from_der(&key.subject_public_key_info()).map_err(CaError::Generate)?;
        let (next, mut params) = Self::with_key(common_name, self.permitted.clone(), &mut key, now)?;
        let validity = next.validity.within(self.validity);
        set_validity(&mut params, validity);
        params.use_authority_key_identifier_extension = true;
        let cert_pem = params.signed_by(&subject_key, &self.issuer()?).map_err(CaError::Generate)?.pem();
        Ok((next, Cross { cert_pem, validity }))
    }

    /// The root over `key`, which is emptied, and what it was made from.
    fn with_key(
        common_name: &str,
        permitted: Vec<String>,
        key: &mut KeyPair,
        now: Timestamp,
    ) -> Result<(Self, CertificateParams), CaError> {
        check_names(&permitted)?;
        let validity = Validity::starting(now, ROOT_VALIDITY);
        let mut params = params("", &[], validity)?;
        let id: String = params.key_identifier(key).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name.push(DnType::CommonName, format!("{common_name} {id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(MAX_CROSSES));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: permitted.iter().cloned().map(GeneralSubtree::DnsName).collect(),
            excluded_subtrees: vec![
                GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([0; 4], 0)),
                GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix([0; 16], 0)),
            ],
        });
        let cert_pem = params.self_signed(key).map_err(CaError::Generate)?.pem();
        Ok((Self { cert_pem, key_pem: take_pem(key), permitted, validity }, params))
    }

    /// Reads a root, and refuses it unless it is a valid authority at `now`, held by critical name constraints to
    /// DNS names, and `key_pem` is its key.
    ///
    /// # Errors
    /// With what is wrong first.
    pub fn from_pem(cert_pem: &str, key_pem: &SecretString, now: Timestamp) -> Result<Self, CaError> {
        let (_, block) = parse_x509_pem(cert_pem.as_bytes()).map_err(|error| CaError::Unreadable(error.to_string()))?;
        let certificate = block.parse_x509().map_err(|error| CaError::Unreadable(error.to_string()))?;
        check_authority(&certificate)?;
        let permitted = permitted_names(&certificate)?;
        let validity = validity_of(&certificate)?;
        validity.check(now)?;
        let mut key = read_key(key_pem)?;
        let matches = key.subject_public_key_info() == certificate.public_key().raw;
        key.zeroize();
        if !matches {
            return Err(CaError::KeyMismatch);
        }
        Ok(Self { cert_pem: cert_pem.to_owned(), key_pem: key_pem.clone(), permitted, validity })
    }

    /// The certificate as PEM: what clients trust.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The private key as PEM (PKCS #8).
    pub fn key_pem(&self) -> &SecretString {
        &self.key_pem
    }

    /// The DNS names that the root is held to, with what lies below them.
    pub fn permitted(&self) -> &[String] {
        &self.permitted
    }

    /// When the root is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Issues a server certificate with a fresh key for `names`, valid for `length` from `now`, but no longer than
    /// the root.
    ///
    /// # Errors
    /// When a name is no DNS name or outside the root's constraints, none is given, or the root is not valid at `now`.
    pub fn issue(&self, names: &[impl AsRef<str>], length: Duration, now: Timestamp) -> Result<Leaf, CaError> {
        let names: Vec<String> = names.iter().map(|name| name.as_ref().to_ascii_lowercase()).collect();
        check_names(&names)?;
        if let Some(name) = names.iter().find(|name| !self.permitted.iter().any(|subtree| within(name, subtree))) {
            return Err(CaError::NotPermitted { name: name.clone(), permitted: self.permitted.clone() });
        }
        self.validity.check(now)?;
        self.sign(&names, length, now)
    }

    /// Signs without a look at the names: what holds a stolen key back is the clients' check of the constraints.
    pub(super) fn sign(&self, names: &[String], length: Duration, now: Timestamp) -> Result<Leaf, CaError> {
        let validity = Validity::starting(now, length).within(self.validity);
        let mut params = params("exeat", names, validity)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let mut key = generate_key()?;
        let chain_pem = params.signed_by(&key, &self.issuer()?).map_err(CaError::Generate)?.pem();
        Ok(Leaf { chain_pem, key_pem: take_pem(&mut key), validity })
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, CaError> {
        Issuer::from_ca_cert_pem(&self.cert_pem, read_key(&self.key_pem)?).map_err(CaError::Generate)
    }
}

fn check_names(names: &[String]) -> Result<(), CaError> {
    if names.is_empty() {
        return Err(CaError::NoNames);
    }
    names.iter().try_for_each(|name| check_name(name))
}

fn params(common_name: &str, names: &[String], validity: Validity) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::new(names).map_err(CaError::Generate)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    set_validity(&mut params, validity);
    Ok(params)
}

fn set_validity(params: &mut CertificateParams, validity: Validity) {
    let epoch = date_time_ymd(1970, 1, 1);
    let since_epoch = |time: Timestamp| Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0));
    params.not_before = epoch + since_epoch(validity.not_before);
    params.not_after = epoch + since_epoch(validity.not_after);
}

fn generate_key() -> Result<KeyPair, CaError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::Generate)
}

fn read_key(pem: &SecretString) -> Result<KeyPair, CaError> {
    KeyPair::from_pem_and_sign_algo(pem.expose_secret(), &PKCS_ECDSA_P256_SHA256).map_err(|_| CaError::Key)
}

fn take_pem(key: &mut KeyPair) -> SecretString {
    let pem = SecretString::from(key.serialize_pem());
    key.zeroize();
    pem
}

fn check_authority(certificate: &X509Certificate<'_>) -> Result<(), CaError> {
    let unreadable = |error: x509_parser::error::X509Error| CaError::Unreadable(error.to_string());
    if !certificate.basic_constraints().map_err(unreadable)?.is_some_and(|found| found.critical && found.value.ca) {
        return Err(CaError::NotAnAuthority("its basic constraints do not say so critically"));
    }
    if !certificate.key_usage().map_err(unreadable)?.is_some_and(|found| found.value.key_cert_sign()) {
        return Err(CaError::NotAnAuthority("its key usage does not include signing certificates"));
    }
    if certificate.subject() != certificate.issuer() {
        return Err(CaError::NotAnAuthority("it is signed by another one"));
    }
    Ok(())
}

fn permitted_names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, CaError> {
    let constraints = certificate.name_constraints().map_err(|error| CaError::Unreadable(error.to_string()))?;
    let permitted =
        constraints.filter(|found| found.critical).and_then(|found| found.value.permitted_subtrees.as_ref());
    let names: Vec<_> = permitted
        .into_iter()
        .flatten()
        .filter_map(|subtree| match subtree.base {
            GeneralName::DNSName(name) if !name.is_empty() => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if names.is_empty() { Err(CaError::Unconstrained) } else { Ok(names) }
}
