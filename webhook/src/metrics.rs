//! What the webhook measures. Labels come from closed sets.

use std::time::Duration;

use exeat_crds::reason::Refused;
use jiff::Timestamp;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

/// The webhook's metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    refusals: IntCounterVec,
    certificate_expiry: IntGauge,
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let buckets = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
        let seconds = HistogramOpts::new("exeat_webhook_request_seconds", "Time to answer an admission review.");
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new("exeat_webhook_requests_total", "Admission reviews by path and outcome."),
                &["path", "outcome"],
            )?,
            seconds: HistogramVec::new(seconds.buckets(buckets), &["path"])?,
            refusals: IntCounterVec::new(
                Opts::new("exeat_webhook_refusals_total", "Reasons for which pods and objects were refused."),
                &["path", "reason"],
            )?,
            certificate_expiry: IntGauge::new(
                "exeat_webhook_certificate_expiry_timestamp_seconds",
                "When the certificate that is served expires, seconds since 1970.",
            )?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.refusals.clone()))?;
        registry.register(Box::new(metrics.certificate_expiry.clone()))?;
        Ok(metrics)
    }

    /// Counts an answered request.
    pub(crate) fn answered(&self, path: &'static str, outcome: &'static str, took: Duration) {
        self.requests.with_label_values(&[path, outcome]).inc();
        self.seconds.with_label_values(&[path]).observe(took.as_secs_f64());
    }

    /// Counts the reasons of a refusal.
    pub(crate) fn refused(&self, path: &'static str, problems: &[Refused]) {
        for problem in problems {
            self.refusals.with_label_values(&[path, problem.reason.as_str()]).inc();
        }
    }

    /// Says until when the served certificate is valid.
    pub(crate) fn certificate_expires(&self, at: Timestamp) {
        self.certificate_expiry.set(at.as_second());
    }
}
