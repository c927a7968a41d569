//! Roots: what others know our programs by. What the programs serve is judged in `serving`.

use super::Check;
use crate::client::Cluster;
use crate::clock;
use crate::output::time;
use exeat_crds::names;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use x509_parser::pem::Pem;

/// What ends sooner is worth a word.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// When the last certificate of a bundle ends: the newest root is the one that must last.
///
/// # Errors
/// A bundle without a certificate that can be read.
pub fn end(bundle: &[u8]) -> Result<Timestamp, String> {
    let mut last = None;
    for pem in Pem::iter_from_buffer(bundle) {
        let pem = pem.map_err(|error| format!("no PEM: {error}"))?;
        let certificate = pem.parse_x509().map_err(|error| format!("no certificate: {error}"))?;
        let end =
            Timestamp::from_second(certificate.validity().not_after.timestamp()).map_err(|error| error.to_string())?;
        last = last.max(Some(end));
    }
    last.ok_or_else(|| "it holds no certificate".to_owned())
}

/// Judges a bundle.
pub fn judge(check: &str, bundle: &[u8], now: Timestamp) -> Check {
    match end(bundle) {
        Err(why) => Check::fail(check, why, "let the programs write it: look at the log of the webhook or issuer"),
        Ok(end) if end <= now => {
            Check::fail(check, format!("it ended at {end}"), "let it be replaced: docs/operations.md, Certificates")
        }
        Ok(end) if end.duration_since(now) < SOON => Check::warn(
            check,
            format!("it ends in {}", time::until(end, now)),
            "it should have been replaced by now: docs/operations.md, Certificates",
        ),
        Ok(end) => Check::ok(check, format!("it lasts until {end}")),
    }
}

/// What sidecars know the issuer by, PEM.
pub(super) async fn issuer_roots(cluster: &Cluster) -> Result<Option<String>, kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.system);
    let found = api.get_opt(names::ISSUER_ROOT_CONFIG_MAP).await?;
    Ok(found.and_then(|map| map.data?.remove("ca.crt")))
}

pub(super) async fn check(cluster: &Cluster) -> Check {
    const CHECK: &str = "issuer's root";
    match issuer_roots(cluster).await {
        Err(error) => Check::unseen(CHECK, &error),
        Ok(Some(bundle)) => judge(CHECK, bundle.as_bytes(), clock::now()),
        Ok(None) => {
            let (map, system) = (names::ISSUER_ROOT_CONFIG_MAP, &cluster.system);
            let message = format!("ConfigMap {map} in namespace {system} holds none: no pod can be injected");
            Check::fail(CHECK, message, "the issuer writes it when it starts: look at its log")
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::doctor::Level;

    /// A root until 2036-01-01.
    pub(in crate::doctor) fn bundle() -> String {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2036, 1, 1);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn the_end_decides() {
        let level = |now: &str| judge("root", bundle().as_bytes(), now.parse().unwrap()).level;
        assert_eq!(level("2026-06-01T00:00:00Z"), Level::Ok);
        assert_eq!(level("2035-12-20T00:00:00Z"), Level::Warn);
        assert_eq!(level("2036-02-01T00:00:00Z"), Level::Fail);
        assert_eq!(judge("root", b"", "2026-06-01T00:00:00Z".parse().unwrap()).level, Level::Fail);
    }
}
