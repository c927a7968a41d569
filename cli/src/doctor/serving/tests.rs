use super::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

const HOST: &str = "exeat-webhook.exeat-system.svc";

/// A root, and what it signs.
struct Root {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Root {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2036, 1, 1));
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A leaf for the days from 1 to 9 March 2026, with its key.
    fn leaf(&self, host: &str) -> (CertificateDer<'static>, KeyPair) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2026, 3, 1), date_time_ymd(2026, 3, 9));
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().der().clone(), key)
    }
}

fn served(roots: &[u8]) -> Served<'_> {
    Served { program: "webhook", system: "exeat-system", roots, kept: "caBundle" }
}

fn judged(roots: &str, leaf: &CertificateDer<'_>, now: &str) -> Check {
    judge(&served(roots.as_bytes()), std::slice::from_ref(leaf), now.parse().unwrap())
}

#[test]
fn a_certificate_must_be_current_of_its_name_and_from_the_known_root() {
    let (root, foreign) = (Root::new("exeat 1"), Root::new("exeat 2"));
    let (leaf, elsewhere) = (root.leaf(HOST).0, root.leaf("exeat-webhook.other.svc").0);
    let bundle = format!("{}{}", foreign.pem, root.pem);
    let midway = "2026-03-03T00:00:00Z";
    for (check, level, words) in [
        (judged(&root.pem, &leaf, midway), Level::Ok, "lasts until 2026-03-09"),
        (judged(&bundle, &leaf, midway), Level::Ok, HOST),
        (judged(&root.pem, &leaf, "2026-03-06T23:00:00Z"), Level::Ok, "lasts until"),
        (judged(&root.pem, &leaf, "2026-03-07T01:00:00Z"), Level::Warn, "should have been renewed"),
        (judged(&root.pem, &leaf, "2026-03-09T01:00:00Z"), Level::Fail, "it ended at 2026-03-09"),
        (judged(&root.pem, &leaf, "2026-02-27T00:00:00Z"), Level::Fail, "a clock is wrong"),
        (
            judged(&root.pem, &elsewhere, midway),
            Level::Fail,
            "it is for exeat-webhook.other.svc, and the program is called exeat-webhook.exeat-system.svc",
        ),
        (judged(&foreign.pem, &leaf, midway), Level::Fail, "a root that is not in caBundle"),
        (judged("", &leaf, midway), Level::Warn, "holds no root"),
        (judge(&served(root.pem.as_bytes()), &[], midway.parse().unwrap()), Level::Fail, "it shows none"),
    ] {
        assert!(check.level == level && check.message.contains(words), "{words}: {check:?}");
        assert_eq!(check.fix.is_none(), level == Level::Ok, "{check:?}");
    }
}

#[test]
fn the_worst_replica_is_told_by_name() {
    let of = |level: Level| Check { level, ..Check::warn("c", "m", "f") };
    let replicas =
        |levels: &[Level]| levels.iter().enumerate().map(|(i, level)| (format!("pod-{i}"), of(*level))).collect();
    let sum = |levels: &[Level]| sum(&served(b""), replicas(levels));
    assert_eq!(sum(&[Level::Ok, Level::Ok]).message, "m (2 replicas)");
    let failed = sum(&[Level::Ok, Level::Fail, Level::Warn]);
    assert_eq!((failed.level, failed.message.as_str()), (Level::Fail, "pod pod-1: m"));
    assert_eq!(sum(&[]).level, Level::Warn);
}

#[tokio::test]
async fn what_is_shown_in_a_handshake_is_read_even_where_nobody_would_trust_it() {
    let (leaf, key) = Root::new("exeat 1").leaf("anything.test");
    let provider = Arc::new(ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![leaf.clone()], key).unwrap();
    let (near, far) = tokio::io::duplex(16 * 1024);
    let server = tokio::spawn(async move { TlsAcceptor::from(Arc::new(config)).accept(far).await.map(drop) });
    assert_eq!(handshake::chain(near, HOST).await.unwrap(), [leaf]);
    // The server may still have had something to say.
    drop(server.await.unwrap());

    let (near, far) = tokio::io::duplex(16);
    drop(far);
    assert!(handshake::chain(near, HOST).await.unwrap_err().starts_with("the TLS handshake failed"));
}
