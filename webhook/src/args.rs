//! Command line of the webhook. Every setting is a flag and an environment variable.
//!
//! Rights that its service account needs, and nothing else:
//!
//! | API group | resource | names | verbs | where |
//! |---|---|---|---|---|
//! | `exeat.dev` | `agentcredentialpolicies`, `credentialproviders` | all | get, list, watch | cluster |
//! | `authorization.k8s.io` | `subjectaccessreviews` | - | create | cluster |
//! | `admissionregistration.k8s.io` | `mutatingwebhookconfigurations`, `validatingwebhookconfigurations` | `exeat` | get, list, watch, patch | cluster |
//! | core | `secrets` | `exeat-webhook-root` | get, update | own namespace |
//! | `admissionregistration.k8s.io` | `validatingadmissionpolicies` | `exeat-sidecar` | get, list, watch | cluster |
//! | core | `configmaps` | `exeat-issuer-root` | get, list, watch | own namespace |
//!
//! Lists and watches of single objects select `metadata.name`, which RBAC grants by `resourceNames`. With
//! `--tls-cert-file` the Secret and the webhook configurations are not touched.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};
use exeat_crds::names;
use exeat_runtime::args::{ClientArgs, HealthArgs, PodArgs, TelemetryArgs, parse_duration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;

use crate::settings::{InstallationSettings, NamespaceSidecar, Settings, SidecarSettings};

/// Users that a sidecar may run as: not root.
const UIDS: RangeInclusive<i64> = 1..=i32::MAX as i64;

/// Admission webhook of Exeat: injects the sidecar into annotated pods, validates Exeat's objects, and warns about
/// workload templates whose pods it would refuse.
#[derive(Debug, Parser)]
#[command(name = "exeat-webhook", version)]
pub struct Cli {
    /// The HTTPS server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// What is injected.
    #[command(flatten)]
    pub injection: InjectionArgs,
    /// Which pod this is.
    #[command(flatten)]
    pub pod: PodArgs,
    /// How the API server is reached.
    #[command(flatten)]
    pub client: ClientArgs,
    /// Health and metrics.
    #[command(flatten)]
    pub health: HealthArgs,
    /// Log output.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// The HTTPS server and its certificate.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Address of the HTTPS server that the API server calls.
    #[arg(long, env = "EXEAT_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:9443")]
    pub listen: SocketAddr,
    /// Name of the Service in front of the webhook: the certificate is for SERVICE.NAMESPACE.svc.
    #[arg(long, env = "EXEAT_SERVICE_NAME", value_name = "NAME", default_value = "exeat-webhook")]
    pub service_name: String,
    /// Name of the MutatingWebhookConfiguration and ValidatingWebhookConfiguration that the root is written into.
    #[arg(long, env = "EXEAT_WEBHOOK_CONFIGURATION", value_name = "NAME", default_value = "exeat")]
    pub webhook_configuration: String,
    /// How long a former root of ours is trusted beside the one in use. Replicas look for a new root at least four times in
    /// it, so that none serves a certificate of the former one when that is dropped.
    #[arg(long, env = "EXEAT_ROOT_OVERLAP", value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub root_overlap: Duration,
    /// Certificate chain (PEM, leaf first) that something else renews; without it the webhook makes its own and keeps
    /// its root in the webhook configurations.
    #[arg(long, env = "EXEAT_TLS_CERT_FILE", value_name = "FILE", requires = "tls_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Private key (PEM) of --tls-cert-file.
    #[arg(long, env = "EXEAT_TLS_KEY_FILE", value_name = "FILE", requires = "tls_cert_file")]
    pub tls_key_file: Option<PathBuf>,
}

/// What is injected into annotated pods.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Injection")]
pub struct InjectionArgs {
    /// Image of the sidecar.
    #[arg(long, env = "EXEAT_SIDECAR_IMAGE", value_name = "IMAGE")]
    pub sidecar_image: String,
    /// Further images that count as genuine, in full: what a mirror or a digest resolver makes of the sidecar's.
    #[arg(long, env = "EXEAT_SIDECAR_ACCEPTED_IMAGES", value_name = "IMAGE,…", value_delimiter = ',')]
    pub sidecar_accepted_images: Vec<String>,
    /// When the sidecar's image is pulled.
    #[arg(long, env = "EXEAT_SIDECAR_PULL_POLICY", value_name = "POLICY", default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub sidecar_pull_policy: String,
    /// User and group of the sidecar; pods whose containers name the same user are refused.
    #[arg(long, env = "EXEAT_SIDECAR_UID", value_name = "UID", default_value_t = 60911, value_parser = clap::value_parser!(i64).range(UIDS))]
    pub sidecar_uid: i64,
    /// Log filter of the sidecar.
    #[arg(long, env = "EXEAT_SIDECAR_LOG_LEVEL", value_name = "FILTER", default_value = "info")]
    pub sidecar_log_level: String,
    /// What the sidecar requests; empty for nothing.
    #[arg(long, env = "EXEAT_SIDECAR_REQUESTS", value_name = "NAME=QUANTITY,…", default_value = "cpu=10m,memory=16Mi", value_parser = parse_amounts)]
    pub sidecar_requests: Amounts,
    /// What the sidecar may use at most; empty for no limit.
    #[arg(long, env = "EXEAT_SIDECAR_LIMITS", value_name = "NAME=QUANTITY,…", default_value = "cpu=200m,memory=64Mi", value_parser = parse_amounts)]
    pub sidecar_limits: Amounts,
    /// Other sidecars in single namespaces, as JSON: {"team-a": {"uid": 70000, "requests": "cpu=20m", "limits": "memory=128Mi"}}. What
    /// is not named is as everywhere.
    #[arg(long, env = "EXEAT_SIDECAR_NAMESPACES", value_name = "JSON", default_value = "{}", value_parser = parse_namespaces)]
    pub sidecar_namespaces: Namespaces,
    /// Audience of the identity tokens of this installation; the issuer must be told the same.
    #[arg(long, env = "EXEAT_AUDIENCE", value_name = "AUDIENCE", default_value = names::DEFAULT_AUDIENCE)]
    pub audience: String,
    /// Address at which sidecars find the issuer [default: port 443 of exeat-issuer in our own namespace].
    #[arg(long, env = "EXEAT_ISSUER_URL", value_name = "URL", value_parser = parse_issuer_url)]
    pub issuer_url: Option<String>,
}

/// Amounts of resources by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Amounts(pub BTreeMap<String, Quantity>);

/// Sidecars of single namespaces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Namespaces(pub BTreeMap<String, NamespaceSidecar>);

impl InjectionArgs {
    /// The settings that these arguments describe, for an installation in `namespace`.
    pub fn settings(&self, namespace: &str) -> InstallationSettings {
        let default_url = || format!("https://exeat-issuer.{namespace}.svc:443");
        let general = Settings {
            sidecar: SidecarSettings {
                image: self.sidecar_image.clone(),
                accepted_images: self.sidecar_accepted_images.iter().filter(|i| !i.is_empty()).cloned().collect(),
                pull_policy: self.sidecar_pull_policy.clone(),
                uid: self.sidecar_uid,
                log_level: self.sidecar_log_level.clone(),
                requests: self.sidecar_requests.0.clone(),
                limits: self.sidecar_limits.0.clone(),
            },
            audience: self.audience.clone(),
            issuer_url: self.issuer_url.clone().unwrap_or_else(default_url),
        };
        InstallationSettings { general, namespaces: self.sidecar_namespaces.0.clone() }
    }
}

fn parse_amounts(text: &str) -> Result<Amounts, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let amounts = pairs.map(|pair| {
        let amount = pair.split_once('=').map(|(name, quantity)| (name.trim(), quantity.trim()));
        match amount {
            Some((name, quantity)) if !name.is_empty() && is_quantity(quantity) => {
                Ok((name.to_owned(), Quantity(quantity.to_owned())))
            }
            _ => Err(format!("{pair:?} is no amount; write a resource and a quantity, as cpu=10m or memory=16Mi")),
        }
    });
    amounts.collect::<Result<_, _>>().map(Amounts)
}

/// One namespace's sidecar as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSidecar {
    uid: Option<i64>,
    requests: Option<String>,
    limits: Option<String>,
}

fn parse_namespaces(text: &str) -> Result<Namespaces, String> {
    let written: BTreeMap<String, WrittenSidecar> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let read = |(namespace, written): (String, WrittenSidecar)| {
        let amounts = |text: Option<String>| text.map(|text| parse_amounts(&text).map(|a| a.0)).transpose();
        let wrong = |problem: String| format!("{namespace:?}: {problem}");
        let uid = match written.uid {
            Some(uid) if !UIDS.contains(&uid) => return Err(wrong(format!("uid {uid} is not in {UIDS:?}"))),
            uid => uid,
        };
        let requests = amounts(written.requests).map_err(wrong)?;
        let limits = amounts(written.limits).map_err(wrong)?;
        Ok((namespace, NamespaceSidecar { uid, requests, limits }))
    };
    written.into_iter().map(read).collect::<Result<_, _>>().map(Namespaces)
}

/// A number with one of Kubernetes' suffixes; exponents are left out.
fn is_quantity(text: &str) -> bool {
    const SUFFIXES: [&str; 14] = ["", "n", "u", "m", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi"];
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let digits = number.chars().filter(char::is_ascii_digit).count();
    digits > 0 && number.len() - digits <= 1 && SUFFIXES.contains(&suffix)
}

fn parse_issuer_url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").map(|rest| rest.trim_end_matches('/'));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']) => Ok(format!("https://{host}")),
        _ => Err("write https://host[:port]; the sidecar sends its token there".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        let base = ["exeat-webhook", "--sidecar-image", "exeat-sidecar:1", "--pod-name", "w-0"];
        Cli::try_parse_from(base.iter().chain(arguments))
    }

    #[test]
    fn the_issuer_is_looked_for_in_the_webhooks_own_namespace() {
        let cli = parse(&["--pod-namespace", "elsewhere"]).unwrap();
        let settings = cli.injection.settings(&cli.pod.pod_namespace).of("agents");
        assert_eq!(settings.issuer_url, "https://exeat-issuer.elsewhere.svc:443");
        assert_eq!(settings.audience, "exeat.dev");
        assert_eq!(settings.sidecar.requests["memory"], Quantity("16Mi".to_owned()));
        let cli = parse(&["--issuer-url", "https://other:8443/", "--sidecar-limits", ""]).unwrap();
        let settings = cli.injection.settings("any").of("agents");
        assert_eq!(settings.issuer_url, "https://other:8443");
        assert!(settings.sidecar.limits.is_empty());
    }

    #[test]
    fn a_namespace_differs_in_what_it_names() {
        let json = r#"{"team-a": {"uid": 70000, "limits": "memory=128Mi"}, "team-b": {"requests": ""}}"#;
        let settings = parse(&["--sidecar-namespaces", json]).unwrap().injection.settings("any");
        let [general, a, b] = ["agents", "team-a", "team-b"].map(|namespace| settings.of(namespace).sidecar);
        assert_eq!(general, settings.general.sidecar);
        assert_eq!((a.uid, &a.requests), (70000, &general.requests));
        assert_eq!(a.limits, [("memory".to_owned(), Quantity("128Mi".to_owned()))].into());
        assert_eq!((b.uid, b.requests.len(), &b.limits), (general.uid, 0, &general.limits));
    }

    #[test]
    fn bad_values_are_refused_with_the_flag_and_how_to_write_them() {
        for (flag, value, fix) in [
            ("--issuer-url", "http://issuer", "https://host[:port]"),
            ("--issuer-url", "https://issuer/path", "https://host[:port]"),
            ("--sidecar-requests", "cpu", "cpu=10m"),
            ("--sidecar-requests", "cpu=ten", "cpu=10m"),
            ("--sidecar-limits", "memory=1.2.3Mi", "memory=16Mi"),
            ("--sidecar-uid", "0", "1..="),
            ("--sidecar-namespaces", "team-a", "expected"),
            ("--sidecar-namespaces", r#"{"team-a": {"uid": 0}}"#, "uid 0 is not in 1..="),
            ("--sidecar-namespaces", r#"{"team-a": {"iud": 1}}"#, "unknown field `iud`"),
            ("--sidecar-namespaces", r#"{"team-a": {"limits": "cpu"}}"#, "\"team-a\": \"cpu\" is no amount"),
            ("--tls-cert-file", "/a", "--tls-key-file"),
        ] {
            let message = parse(&[flag, value]).unwrap_err().to_string();
            assert!(message.contains(flag) && message.contains(fix), "{message}");
        }
    }
}
