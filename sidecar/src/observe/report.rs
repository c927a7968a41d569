//! Tells the issuer what was used: a few seconds after the first call, then now and then, and once more at the end.

use std::sync::Arc;
use std::time::Duration;

use exeat_runtime::clock::Clock;
use exeat_wire::ObservedReport;
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

use super::Observed;
use crate::issuer::{CallError, Issuer};
use crate::metrics::Metrics;
use crate::snapshot::Snapshot;

/// Calls that come together are told together.
const SOON: Duration = Duration::from_secs(2);
/// From one report to the next.
const EVERY: Duration = Duration::from_secs(15);
/// After one that was not taken.
const LATER: Duration = Duration::from_secs(30);
/// At the end: a sidecar must not hold up a finished Job for long.
const LAST: Duration = Duration::from_secs(3);

/// Who tells.
pub struct Reporter {
    issuer: Arc<Issuer>,
    snapshots: watch::Receiver<Snapshot>,
    clock: Arc<dyn Clock>,
    /// What was used since the last report.
    pub observed: Arc<Observed>,
    pub(super) metrics: Arc<Metrics>,
    /// The session that was told of last. One report at a time.
    session: Mutex<Option<Arc<str>>>,
}

impl Reporter {
    /// Tells of what `observed` counts while the credential in `snapshots` is one of mode Observe.
    pub fn new(
        issuer: Arc<Issuer>,
        snapshots: watch::Receiver<Snapshot>,
        clock: Arc<dyn Clock>,
        observed: Arc<Observed>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { issuer, snapshots, clock, observed, metrics, session: Mutex::default() }
    }

    /// Tells for ever.
    pub async fn run(self: Arc<Self>) {
        let mut wait = SOON;
        loop {
            self.observed.changed().await;
            sleep(wait).await;
            wait = if self.tell().await { EVERY } else { LATER };
        }
    }

    /// Tells what is left, if that can be done soon.
    pub async fn finish(&self) {
        if self.observed.is_empty() || self.observing().is_none() {
            return;
        }
        let _ = timeout(LAST, self.tell()).await;
    }

    fn observing(&self) -> Option<Arc<str>> {
        self.snapshots.borrow().observed(self.clock.now())
    }

    /// One report. Whether the next may follow soon.
    async fn tell(&self) -> bool {
        let mut last = self.session.lock().await;
        let Some(session) = self.observing() else {
            self.observed.forget();
            return true;
        };
        let first = last.as_ref() != Some(&session);
        let (calls, dropped) = self.observed.take();
        if calls.is_empty() && dropped == 0 {
            return true;
        }
        let report = ObservedReport { session: session.to_string(), first, calls, dropped };
        match self.issuer.report(&report).await {
            Ok(()) => {
                self.metrics.observed_reports.inc();
                *last = Some(session);
                true
            }
            Err(CallError::Refused(refusal)) if !refusal.retryable => {
                tracing::info!(
                    code = refusal.code,
                    message = refusal.message,
                    "what was used is of no interest to the issuer"
                );
                false
            }
            Err(error) => {
                tracing::debug!(%error, "what was used could not be told yet");
                self.observed.put_back(report.calls, report.dropped);
                false
            }
        }
    }
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
