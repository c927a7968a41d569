//! The certificates that webhook and issuer serve. They live in the programs' memory, so each replica is asked for its own, by a TLS
//! handshake through a port-forward.

use super::{Check, Level, certificates, webhooks};
use crate::client::Cluster;
use crate::clock;
use crate::error::api_message;
use crate::output::time;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

mod handshake;

/// Longest wait for one replica.
const LIMIT: Duration = Duration::from_secs(5);
/// Name of the port that TLS is served at.
const PORT: &str = "https";

/// What one program's replicas are held to.
struct Served<'a> {
    program: &'a str,
    system: &'a str,
    /// Who calls it knows it by these, PEM.
    roots: &'a [u8],
    /// Where those are.
    kept: &'a str,
}

impl Served<'_> {
    /// The name that it is called by.
    fn host(&self) -> String {
        format!("exeat-{}.{}.svc", self.program, self.system)
    }

    fn check(&self) -> String {
        format!("{}'s certificate", self.program)
    }

    fn restart(&self) -> String {
        let (system, program) = (self.system, self.program);
        format!(
            "its log tells why; `kubectl -n {system} rollout restart deployment exeat-{program}` makes it fetch a new one"
        )
    }
}

pub(super) async fn checks(cluster: &Cluster) -> Vec<Check> {
    let system = cluster.system.as_str();
    let of_webhook = webhooks::roots(&cluster.client).await;
    let of_issuer = certificates::issuer_roots(cluster).await.ok().flatten().unwrap_or_default();
    let webhook =
        Served { program: "webhook", system, roots: &of_webhook, kept: "caBundle of the webhook configurations" };
    let issuer = Served { program: "issuer", system, roots: of_issuer.as_bytes(), kept: "ConfigMap exeat-issuer-root" };
    vec![of_program(cluster, &webhook).await, of_program(cluster, &issuer).await]
}

async fn of_program(cluster: &Cluster, served: &Served<'_>) -> Check {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.system);
    let labels = format!("app.kubernetes.io/name=exeat,app.kubernetes.io/component={}", served.program);
    let pods = match api.list(&ListParams::default().labels(&labels).fields("status.phase=Running")).await {
        Ok(pods) => pods.items,
        Err(error) => return Check::unseen(served.check(), &error),
    };
    let mut checks = Vec::new();
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        checks.push((pod.name_any(), of_replica(&api, pod, served).await));
    }
    sum(served, checks)
}

async fn of_replica(api: &Api<Pod>, pod: &Pod, served: &Served<'_>) -> Check {
    match timeout(LIMIT, chain(api, pod, &served.host())).await {
        Ok(Ok(chain)) => judge(served, &chain, clock::now()),
        Ok(Err(why)) => unseen(served, &why),
        Err(_) => unseen(served, "no answer through a port-forward within 5 s"),
    }
}

async fn chain(api: &Api<Pod>, pod: &Pod, host: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let ports =
        pod.spec.iter().flat_map(|spec| &spec.containers).flat_map(|container| container.ports.iter().flatten());
    let named = ports.filter(|port| port.name.as_deref() == Some(PORT)).map(|port| port.container_port).next();
    let port = named.and_then(|port| u16::try_from(port).ok()).ok_or_else(|| format!("it has no port {PORT}"))?;
    let mut forward = api.portforward(&pod.name_any(), &[port]).await.map_err(|error| api_message(&error))?;
    handshake::chain(forward.take_stream(port).ok_or("no stream")?, host).await
}

fn unseen(served: &Served<'_>, why: &str) -> Check {
    let fix =
        format!("ask somebody who may forward ports in namespace {} (pods/portforward) to run doctor", served.system);
    Check::warn(served.check(), format!("it was not looked at: {why}"), fix)
}

/// The worst of all replicas, with its name.
fn sum(served: &Served<'_>, replicas: Vec<(String, Check)>) -> Check {
    let count = replicas.len();
    match replicas.into_iter().max_by_key(|(_, check)| check.level) {
        None => Check::warn(served.check(), "no replica runs, so none was looked at", "look at its Deployment above"),
        Some((_, check)) if check.level == Level::Ok => {
            Check { message: format!("{} ({count} replicas)", check.message), ..check }
        }
        Some((pod, check)) => Check { message: format!("pod {pod}: {}", check.message), ..check },
    }
}

/// Judges what a replica shows: leaf first, then what ties it to an older root.
fn judge(served: &Served<'_>, chain: &[CertificateDer<'_>], now: Timestamp) -> Check {
    let check = served.check();
    let Some((leaf, crosses)) = chain.split_first() else {
        return Check::fail(check, "it shows none", served.restart());
    };
    let Some(verifier) = verifier(served.roots) else {
        let message = format!("{} holds no root that it could be held against", served.kept);
        return Check::warn(check, message, "mend the root first: its own line above tells how");
    };
    let verdict = ServerName::try_from(served.host())
        .map_err(|error| rustls::Error::General(error.to_string()))
        .and_then(|host| {
            let at = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().unsigned_abs()));
            verifier.verify_server_cert(leaf, crosses, &host, &[], at).map(drop)
        });
    match (verdict, validity(leaf)) {
        (Ok(()), Some((start, end))) => lasting(served, start, end, now),
        (Ok(()), None) => Check::fail(check, "its dates can't be read", served.restart()),
        (Err(rustls::Error::InvalidCertificate(why)), _) => refused(served, leaf, &why),
        (Err(other), _) => Check::fail(check, other.to_string(), served.restart()),
    }
}

fn verifier(roots: &[u8]) -> Option<Arc<WebPkiServerVerifier>> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(CertificateDer::pem_slice_iter(roots).filter_map(Result::ok));
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::new(ring::default_provider())).build().ok()
}

/// Why who calls the program refuses its certificate.
fn refused(served: &Served<'_>, leaf: &CertificateDer<'_>, why: &CertificateError) -> Check {
    let (start, end) = validity(leaf).unwrap_or_default();
    let message = match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!("it ended at {end}"),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let fix = "let this machine and all nodes keep time (NTP)";
            return Check::fail(served.check(), format!("it begins at {start}: a clock is wrong"), fix);
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("it is for {}, and the program is called {}", names(leaf).join(", "), served.host())
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("it was issued by a root that is not in {}, so whoever calls the program refuses it", served.kept)
        }
        other => format!("whoever calls the program refuses it: {other}"),
    };
    Check::fail(served.check(), message, served.restart())
}

/// It is replaced after two thirds of its life; one in its last quarter was forgotten.
fn lasting(served: &Served<'_>, start: Timestamp, end: Timestamp, now: Timestamp) -> Check {
    let left = end.duration_since(now);
    if left < end.duration_since(start) / 4 {
        let message = format!("it ends in {} and should have been renewed by now", time::until(end, now));
        return Check::warn(served.check(), message, served.restart());
    }
    Check::ok(served.check(), format!("it is {}'s, from the known root, and lasts until {end}", served.host()))
}

fn validity(leaf: &CertificateDer<'_>) -> Option<(Timestamp, Timestamp)> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let time = |seconds: i64| Timestamp::from_second(seconds).ok();
    Some((time(leaf.validity().not_before.timestamp())?, time(leaf.validity().not_after.timestamp())?))
}

fn names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let alternatives = leaf.subject_alternative_name().ok().flatten();
    let alternatives = alternatives.map(|names| names.value.general_names.clone()).unwrap_or_default();
    let dns = alternatives.into_iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_owned()),
        _ => None,
    });
    dns.collect()
}

#[cfg(test)]
mod tests;
