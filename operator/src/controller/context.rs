use super::backstop::Backstop;
use super::caches::Caches;
use super::retention::Retention;
use crate::audit::Audit;
use crate::events::Events;
use crate::metrics::ControllerMetrics;
use exeat_runtime::clock::Clock;
use exeat_runtime::lease::WriteGate;
use jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::Action;
use std::sync::Arc;
use std::time::Duration;

/// Everything is looked at again after this long, told or not.
const RESYNC: Duration = Duration::from_secs(300);

/// How soon an object is decided anew that was overtaken.
const OVERTAKEN: Duration = Duration::from_millis(100);

/// What reconciles share.
#[derive(Clone)]
pub struct Context {
    /// Client of the API server.
    pub client: kube::Client,
    /// Watched objects.
    pub caches: Arc<Caches>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Open only while this replica leads: checked before every write.
    pub gate: WriteGate,
    /// Audit log.
    pub audit: Audit,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: ControllerMetrics,
    /// Whether the admission policies stand.
    pub backstop: Backstop,
    /// How many sessions of one namespace may wait at once.
    pub max_pending: usize,
    /// How much may wait for people at once in one namespace.
    pub max_open_approvals: usize,
    /// How long people are still asked what no session waits for.
    pub approval_patience: SignedDuration,
    /// How long history is kept.
    pub retention: Retention,
}

/// What an apply did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was to be done.
    Unchanged,
    /// Something was written.
    Changed,
    /// What was decided did not hold any more: it is decided anew.
    Overtaken,
    /// The object is gone.
    Gone,
}

impl Context {
    /// When to look at an object again.
    pub fn next_look(&self, outcome: Outcome, at: Option<Timestamp>, now: Timestamp) -> Action {
        match (outcome, at) {
            (Outcome::Gone, _) => Action::await_change(),
            (Outcome::Overtaken, _) => Action::requeue(OVERTAKEN),
            (_, None) => Action::requeue(RESYNC),
            (_, Some(at)) => {
                let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                Action::requeue(left.min(RESYNC) + Duration::from_millis(100))
            }
        }
    }
}
