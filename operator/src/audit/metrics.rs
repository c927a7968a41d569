//! How the audit log fares.

use super::spool::Spool;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The audit log's metrics, the same in both programs.
#[derive(Clone)]
pub struct AuditMetrics {
    recorded: IntCounter,
    refused: IntCounter,
    lost: IntCounter,
    deliveries: IntCounterVec,
    anchors: IntCounterVec,
    spool_records: IntGauge,
    spool_bytes: IntGauge,
    available: IntGauge,
}

impl AuditMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A name that is taken already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let outcome = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["outcome"]);
        let metrics = Self {
            recorded: IntCounter::new("exeat_audit_records_total", "Audit records that were taken.")?,
            refused: IntCounter::new(
                "exeat_audit_refused_total",
                "Intents that were not recorded, so that nothing was minted.",
            )?,
            lost: IntCounter::new(
                "exeat_audit_lost_total",
                "Events that no room was left for; the next record counts them.",
            )?,
            deliveries: outcome("exeat_audit_deliveries_total", "Batches handed to the audit sink.")?,
            anchors: outcome("exeat_audit_anchors_total", "Writes of the chain's head.")?,
            spool_records: IntGauge::new("exeat_audit_spool_records", "Records that wait for the audit sink.")?,
            spool_bytes: IntGauge::new("exeat_audit_spool_bytes", "Bytes that wait for the audit sink.")?,
            available: IntGauge::new("exeat_audit_available", "1 while the audit sink takes records.")?,
        };
        for counter in [&metrics.recorded, &metrics.refused, &metrics.lost] {
            registry.register(Box::new(counter.clone()))?;
        }
        for counters in [&metrics.deliveries, &metrics.anchors] {
            registry.register(Box::new(counters.clone()))?;
        }
        for gauge in [&metrics.spool_records, &metrics.spool_bytes, &metrics.available] {
            registry.register(Box::new(gauge.clone()))?;
        }
        metrics.available.set(1);
        Ok(metrics)
    }

    pub(super) fn recorded(&self) {
        self.recorded.inc();
    }

    pub(super) fn refused(&self) {
        self.refused.inc();
    }

    pub(super) fn lost(&self) {
        self.lost.inc();
    }

    pub(super) fn delivered(&self, worked: bool) {
        self.deliveries.with_label_values(&[outcome(worked)]).inc();
        self.available.set(i64::from(worked));
    }

    pub(super) fn anchored(&self, worked: bool) {
        self.anchors.with_label_values(&[outcome(worked)]).inc();
    }

    pub(super) fn spool(&self, spool: &Spool) {
        self.spool_records.set(i64::try_from(spool.len()).unwrap_or(i64::MAX));
        self.spool_bytes.set(i64::try_from(spool.bytes()).unwrap_or(i64::MAX));
    }
}

fn outcome(worked: bool) -> &'static str {
    if worked { "ok" } else { "failed" }
}
