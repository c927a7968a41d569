//! Metrics `exeat_sidecar_…`. Labels come from closed sets, but for the names of the pod's own policies.

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use prometheus::proto::MetricFamily;

use crate::args::Provider;
use crate::guard::Rejection;

/// What the names of the stream's metrics begin with.
const OF_STREAM: &str = "exeat_sidecar_stream_";

/// A protocol that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// AWS container credentials.
    Aws,
    /// `Status` for Kubernetes clients.
    Kubernetes,
    /// Plain JSON.
    Json,
    /// Calls to Vault.
    Vault,
    /// Tokens for Azure's SDKs.
    Azure,
    /// Google's metadata server.
    Gcp,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The credential was served.
    Served,
    /// Denied: 4xx.
    Denied,
    /// Not now: 503.
    Unavailable,
}

/// How a call to the issuer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// It brought a credential.
    Minted,
    /// The issuer said no, or not now.
    Refused,
    /// There was no answer.
    Failed,
}

/// What is served now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing yet, or not now.
    Waiting,
    /// A credential.
    Held,
    /// Nothing, for a reason that waiting can't help.
    Stopped,
}

impl Phase {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Waiting, "waiting"), (Self::Held, "held"), (Self::Stopped, "stopped")];

    /// As metrics and logs write it.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(phase, _)| *phase == self).map_or("", |(_, name)| name)
    }
}

/// Every metric of the process, with counters at hand for the path of a request.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: [[IntCounter; 3]; 6],
    rejections: IntCounterVec,
    fetches: [IntCounter; 3],
    /// Seconds that calls to the issuer took.
    pub fetch_seconds: Histogram,
    /// End of the held credential, seconds since the epoch; 0 without one.
    pub expiry: IntGauge,
    /// 1 while the stream stands.
    pub stream_connected: IntGauge,
    /// Monitoring datagrams of AWS SDKs that told of a call.
    pub observed_datagrams: IntCounter,
    /// Reports of what was used that the issuer took.
    pub observed_reports: IntCounter,
    /// Attempts after the first to open the stream.
    pub stream_reconnects: IntCounter,
    phase: IntGaugeVec,
}

impl Metrics {
    /// All metrics at zero, every label value present.
    ///
    /// # Errors
    /// When a metric is defined twice or misnamed.
    pub fn new() -> Result<Self, prometheus::Error> {
        Self::at(Registry::new())
    }

    /// The same for one of several policies, told apart by the kind of its provider, and by its name where several can be of one kind.
    ///
    /// # Errors
    /// As [`Metrics::new`].
    pub fn of(provider: Provider, policy: Option<&str>) -> Result<Self, prometheus::Error> {
        let labels = [("provider", Some(provider.as_str())), ("policy", policy)];
        let labels =
            labels.into_iter().filter_map(|(label, value)| Some((label.to_owned(), value?.to_owned()))).collect();
        Self::at(Registry::new_custom(None, Some(labels))?)
    }

    fn at(registry: Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new("exeat_sidecar_requests_total", "Requests that the guard let pass, by protocol and outcome"),
            &["protocol", "outcome"],
        )?;
        let rejections = IntCounterVec::new(
            Opts::new("exeat_sidecar_rejected_requests_total", "Requests refused by the guard, by reason"),
            &["reason"],
        )?;
        for rejection in Rejection::ALL {
            rejections.with_label_values(&[rejection.code()]);
        }
        let fetches = IntCounterVec::new(
            Opts::new("exeat_sidecar_fetches_total", "Calls to the issuer for a credential, by outcome"),
            &["outcome"],
        )?;
        let buckets = vec![0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let fetch_seconds = Histogram::with_opts(
            HistogramOpts::new("exeat_sidecar_fetch_duration_seconds", "Duration of calls to the issuer")
                .buckets(buckets),
        )?;
        let expiry = IntGauge::new(
            "exeat_sidecar_credential_expiry_timestamp_seconds",
            "End of the held credential since the epoch; 0 without one",
        )?;
        let stream_connected =
            IntGauge::new("exeat_sidecar_stream_connected", "1 while the stream from the issuer stands")?;
        let stream_reconnects =
            IntCounter::new("exeat_sidecar_stream_reconnects_total", "Attempts to open the stream again")?;
        let phase = IntGaugeVec::new(Opts::new("exeat_sidecar_state", "1 for the present state"), &["state"])?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(rejections.clone()))?;
        registry.register(Box::new(fetches.clone()))?;
        registry.register(Box::new(fetch_seconds.clone()))?;
        registry.register(Box::new(expiry.clone()))?;
        registry.register(Box::new(stream_connected.clone()))?;
        registry.register(Box::new(stream_reconnects.clone()))?;
        registry.register(Box::new(phase.clone()))?;
        let requests = ["aws", "kubernetes", "json", "vault", "azure", "gcp"].map(|protocol| {
            ["served", "denied", "unavailable"].map(|outcome| requests.with_label_values(&[protocol, outcome]))
        });
        let fetches = ["minted", "refused", "failed"].map(|outcome| fetches.with_label_values(&[outcome]));
        let [observed_datagrams, observed_reports] = observed(&registry)?;
        let metrics = Self {
            registry,
            requests,
            rejections,
            fetches,
            fetch_seconds,
            expiry,
            stream_connected,
            observed_datagrams,
            observed_reports,
            stream_reconnects,
            phase,
        };
        metrics.set_phase(Phase::Waiting);
        Ok(metrics)
    }

    /// Counts a request.
    pub fn answered(&self, protocol: Protocol, outcome: Outcome) {
        self.requests[protocol as usize][outcome as usize].inc();
    }

    /// Counts a request that the guard refused.
    pub fn rejected(&self, rejection: Rejection) {
        self.rejections.with_label_values(&[rejection.code()]).inc();
    }

    /// Counts a call to the issuer.
    pub fn fetched(&self, outcome: Fetch) {
        self.fetches[outcome as usize].inc();
    }

    /// Notes the present state.
    pub fn set_phase(&self, phase: Phase) {
        for (other, name) in Phase::ALL {
            self.phase.with_label_values(&[name]).set(i64::from(other == phase));
        }
    }

    /// The Prometheus text format.
    ///
    /// # Errors
    /// When a metric can't be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        encode(&[self])
    }
}

/// The metrics of several policies as one text: each name once, and what is one for the process (its stream) from the first alone.
///
/// # Errors
/// As [`Metrics::encode`].
pub fn encode(all: &[&Metrics]) -> Result<Vec<u8>, prometheus::Error> {
    let mut families: Vec<MetricFamily> = Vec::new();
    for (i, metrics) in all.iter().enumerate() {
        for mut family in metrics.registry.gather() {
            if i > 0 && family.name().starts_with(OF_STREAM) {
                continue;
            }
            match families.iter_mut().find(|known| known.name() == family.name()) {
                Some(known) => known.mut_metric().extend(family.take_metric()),
                None => families.push(family),
            }
        }
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text)?;
    Ok(text)
}

/// What is counted in mode Observe: datagrams, and reports.
fn observed(registry: &Registry) -> Result<[IntCounter; 2], prometheus::Error> {
    let datagrams = IntCounter::new(
        "exeat_sidecar_observed_datagrams_total",
        "Monitoring datagrams of AWS SDKs that told of a call, in mode Observe",
    )?;
    let reports = IntCounter::new(
        "exeat_sidecar_observed_reports_total",
        "Reports of what was used that the issuer took, in mode Observe",
    )?;
    registry.register(Box::new(datagrams.clone()))?;
    registry.register(Box::new(reports.clone()))?;
    Ok([datagrams, reports])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_policies_are_told_apart_and_the_stream_is_one() {
        let [aws, kubernetes] = [Provider::Aws, Provider::Kubernetes].map(|p| Metrics::of(p, None).unwrap());
        kubernetes.fetched(Fetch::Minted);
        aws.stream_connected.set(1);
        let text = String::from_utf8(encode(&[&aws, &kubernetes]).unwrap()).unwrap();
        for (line, times) in [
            (r#"exeat_sidecar_fetches_total{outcome="minted",provider="kubernetes"} 1"#, 1),
            (r#"exeat_sidecar_fetches_total{outcome="minted",provider="aws"} 0"#, 1),
            ("# TYPE exeat_sidecar_fetches_total", 1),
            ("\nexeat_sidecar_stream_connected", 1),
        ] {
            assert_eq!(text.matches(line).count(), times, "{line} in\n{text}");
        }
    }

    #[test]
    fn counts_land_at_their_labels() {
        let metrics = Metrics::new().unwrap();
        metrics.answered(Protocol::Json, Outcome::Unavailable);
        metrics.rejected(Rejection::Forwarded("x-forwarded-for"));
        metrics.fetched(Fetch::Failed);
        metrics.set_phase(Phase::Stopped);
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        for line in [
            r#"exeat_sidecar_requests_total{outcome="unavailable",protocol="json"} 1"#,
            r#"exeat_sidecar_requests_total{outcome="served",protocol="aws"} 0"#,
            r#"exeat_sidecar_rejected_requests_total{reason="RequestForwarded"} 1"#,
            r#"exeat_sidecar_fetches_total{outcome="failed"} 1"#,
            r#"exeat_sidecar_state{state="stopped"} 1"#,
            r#"exeat_sidecar_state{state="waiting"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
