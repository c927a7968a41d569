use std::sync::Arc;

use proptest::prelude::*;
use rcgen::{CertificateParams, IsCa, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError as RustlsCertificateError, Error, RootCertStore};

use super::*;

mod crosses;

const SERVICE: &str = "exeat-issuer.exeat-system.svc";
const DAY: Duration = Duration::from_secs(86_400);

fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn later(by: Duration) -> Timestamp {
    noon() + SignedDuration::try_from(by).unwrap()
}

fn root() -> Root {
    Root::create("Exeat issuer CA", &["exeat-issuer.exeat-system.svc", "exeat-system.svc.cluster.local"], noon())
        .unwrap()
}

/// What a client that trusts only `root` says to `leaf` at `now` when it wanted `name`.
fn verdict(root: &Root, leaf: &Leaf, name: &str, now: Timestamp) -> Result<(), Error> {
    verdict_of(&[root], leaf, name, now)
}

/// What a client that trusts `roots` says to `leaf` and the crosses shown with it.
fn verdict_of(trusted: &[&Root], leaf: &Leaf, name: &str, now: Timestamp) -> Result<(), Error> {
    let mut roots = RootCertStore::empty();
    for root in trusted {
        roots.add(CertificateDer::from_pem_slice(root.cert_pem().as_bytes()).unwrap()).unwrap();
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(leaf.chain_pem.as_bytes()).collect::<Result<_, _>>().unwrap();
    let since_epoch = Duration::from_secs(u64::try_from(now.as_second()).unwrap());
    let name = ServerName::try_from(name).unwrap();
    let now = UnixTime::since_unix_epoch(since_epoch);
    verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], now).map(|_| ())
}

#[test]
fn a_client_that_trusts_the_root_accepts_a_permitted_name() {
    let root = root();
    let names = [SERVICE, "exeat-issuer.exeat-system.svc.cluster.local"];
    let leaf = root.issue(&names, LEAF_VALIDITY, noon()).unwrap();
    for name in names {
        assert_eq!(verdict(&root, &leaf, name, noon()), Ok(()));
    }
    assert!(verdict(&root, &leaf, "other.exeat-system.svc.cluster.local", noon()).is_err());
    assert_eq!(verdict(&root, &leaf, SERVICE, later(LEAF_VALIDITY)), Ok(()));
    assert!(verdict(&root, &leaf, SERVICE, later(LEAF_VALIDITY + DAY)).is_err(), "expired");
    let stranger = Root::create("Exeat issuer CA", &["exeat-issuer.exeat-system.svc"], noon()).unwrap();
    assert!(verdict(&stranger, &leaf, SERVICE, noon()).is_err(), "another root of the same name");
}

#[test]
fn a_client_refuses_what_a_stolen_root_key_signs_for_other_names() {
    let root = root();
    for name in ["kubernetes.default.svc", "sts.amazonaws.com", "evilexeat-issuer.exeat-system.svc", "10.0.0.1"] {
        let leaf = root.sign(&[name.to_owned()], LEAF_VALIDITY, noon()).unwrap();
        let refused = verdict(&root, &leaf, name, noon()).unwrap_err();
        assert!(
            matches!(&refused, Error::InvalidCertificate(RustlsCertificateError::Other(reason))
                if reason.to_string().contains("NameConstraintViolation")),
            "{name}: {refused:?}"
        );
    }
}

#[test]
fn names_outside_the_constraints_are_not_even_issued() {
    let error = root().issue(&[SERVICE, "kubernetes.default.svc"], LEAF_VALIDITY, noon()).unwrap_err();
    assert_eq!(error.code(), "CertificateNameNotPermitted");
    assert!(error.to_string().contains("kubernetes.default.svc") && error.to_string().contains(SERVICE), "{error}");
    assert!(root().issue(&["EXEAT-ISSUER.exeat-system.SVC"], LEAF_VALIDITY, noon()).is_ok());
    let none: [&str; 0] = [];
    assert_eq!(root().issue(&none, LEAF_VALIDITY, noon()).unwrap_err().code(), "CertificateNameInvalid");
    assert_eq!(Root::create("x", &none, noon()).unwrap_err().code(), "CertificateNameInvalid");
    for name in ["", "*.svc", ".svc", "svc.", "a..b", "-a.svc", "a_b.svc", "10.0.0.1/8", "naïve.svc"] {
        let error = Root::create("x", &[name], noon()).unwrap_err();
        assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
    }
}

#[test]
fn a_root_survives_its_pem_and_issues_on() {
    let made = root();
    assert_eq!(made.validity().not_after, later(ROOT_VALIDITY));
    let read = Root::from_pem(made.cert_pem(), made.key_pem(), later(DAY)).unwrap();
    assert_eq!((read.permitted(), read.validity()), (made.permitted(), made.validity()));
    let leaf = read.issue(&[SERVICE], LEAF_VALIDITY, later(DAY)).unwrap();
    assert_eq!(verdict(&made, &leaf, SERVICE, later(DAY)), Ok(()));
    assert_eq!(validity(&leaf.chain_pem).unwrap(), leaf.validity);
    assert!(leaf.certified_key().is_ok());
}

#[test]
fn a_leaf_never_outlives_the_root() {
    let root = root();
    let late = later(ROOT_VALIDITY - DAY);
    assert_eq!(root.issue(&[SERVICE], LEAF_VALIDITY, late).unwrap().validity.not_after, root.validity().not_after);
    let over = root.issue(&[SERVICE], LEAF_VALIDITY, later(ROOT_VALIDITY + DAY)).unwrap_err();
    assert_eq!(over.code(), "CertificateNotValid");
}

fn self_signed(edit: impl FnOnce(&mut CertificateParams)) -> (String, SecretString) {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    edit(&mut params);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem().into())
}

#[test]
fn what_is_no_constrained_valid_root_with_its_key_is_refused_with_the_reason() {
    let good = root();
    let refused = |cert: &str, key: &SecretString, now| Root::from_pem(cert, key, now).unwrap_err().code();
    assert_eq!(refused("", good.key_pem(), noon()), "CertificateUnreadable");
    assert_eq!(refused(&good.cert_pem()[..200], good.key_pem(), noon()), "CertificateUnreadable");
    assert_eq!(refused(good.cert_pem(), &"no key".into(), noon()), "PrivateKeyUnreadable");
    assert_eq!(refused(good.cert_pem(), root().key_pem(), noon()), "PrivateKeyMismatch");
    assert_eq!(refused(good.cert_pem(), good.key_pem(), later(ROOT_VALIDITY + DAY)), "CertificateNotValid");
    let yesterday = noon() - SignedDuration::from_hours(24);
    assert_eq!(refused(good.cert_pem(), good.key_pem(), yesterday), "CertificateNotValid");
    let leaf = good.issue(&[SERVICE], LEAF_VALIDITY, noon()).unwrap();
    assert_eq!(refused(&leaf.chain_pem, &leaf.key_pem, noon()), "CertificateNotAnAuthority");
    let (cert, key) = self_signed(|params| params.key_usages.clear());
    assert_eq!(refused(&cert, &key, noon()), "CertificateNotAnAuthority");
    let (cert, key) = self_signed(|_| {});
    assert_eq!(refused(&cert, &key, noon()), "CertificateUnconstrained");
    let (cert, key) = self_signed(|params| {
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: Vec::new(),
            excluded_subtrees: vec![rcgen::GeneralSubtree::DnsName("example".to_owned())],
        });
    });
    assert_eq!(refused(&cert, &key, noon()), "CertificateUnconstrained");
}

#[test]
fn keys_are_hidden() {
    let root = root();
    let leaf = root.issue(&[SERVICE], LEAF_VALIDITY, noon()).unwrap();
    for (shown, key) in [(format!("{root:?}"), root.key_pem()), (format!("{leaf:?}"), &leaf.key_pem)] {
        let secret = key.expose_secret().lines().nth(1).unwrap();
        assert!(!shown.contains(secret) && !shown.contains("PRIVATE KEY"), "{shown}");
    }
}

#[test]
fn a_leaf_is_due_at_two_thirds_of_its_life() {
    let leaf = root().issue(&[SERVICE], LEAF_VALIDITY, noon()).unwrap();
    let Validity { not_before, not_after } = leaf.validity;
    let due = not_before + not_after.duration_since(not_before) / 3 * 2;
    assert!(!leaf.is_due(noon()));
    assert!(!leaf.is_due(due - SignedDuration::from_secs(1)));
    assert!(leaf.is_due(due));
    assert!(leaf.is_due(not_after + SignedDuration::from_hours(1)));
    assert!(!leaf.is_due(not_before));
    let back = not_before - SignedDuration::from_secs(1);
    assert!(leaf.is_due(back), "the clock went back: nobody would accept it yet");
    assert!(!leaf_due(not_before, not_after, back), "which is no reason for a new root");
}

proptest! {
    #[test]
    fn a_name_is_within_a_subtree_by_whole_labels(name in "[a-c]{1,2}(\\.[a-c]{1,2}){0,3}", subtree in "[a-c]{1,2}(\\.[a-c]{1,2}){0,2}") {
        let names: Vec<_> = name.split('.').rev().collect();
        let subtrees: Vec<_> = subtree.split('.').rev().collect();
        prop_assert_eq!(within(&name, &subtree), names.starts_with(&subtrees));
    }
}
