//! The pure part: what may be concluded from a Lease, and what is written to it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

use super::LeaseConfig;

/// The name of who holds `lease`, if anyone does.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// What one candidate has seen of the Lease, by its own monotonic clock.
///
/// The times in the Lease come from the holder's wall clock and are never compared with ours: a holder counts as
/// alive for a full lease duration after *we* last saw its record change, as in client-go.
#[derive(Debug, Default)]
pub(super) struct Observer {
    last: Option<(LeaseSpec, Instant)>,
}

impl Observer {
    /// Notes what was read. `now` is taken after the answer arrived, so it is never too early.
    pub(super) fn observe(&mut self, lease: Option<&Lease>, now: Instant) {
        let Some(lease) = lease else {
            return;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if self.last.as_ref().is_none_or(|(last, _)| *last != spec) {
            self.last = Some((spec, now));
        }
    }

    /// Whether a candidate may take the Lease it has just observed, or create it where there is none.
    ///
    /// A Lease that vanished is waited for like a silent holder, whose gate may still be open.
    pub(super) fn may_take(&self, found: Option<&Lease>, config: &LeaseConfig, now: Instant) -> bool {
        let Some((spec, since)) = &self.last else {
            return true;
        };
        if let Some(found) = found
            && holder(found).is_none_or(|holder| holder == config.identity)
        {
            return true;
        }
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
        now.duration_since(*since) >= Duration::from_secs(seconds).max(config.duration)
    }
}

/// The Lease to write in order to take or renew it: `found` with our record in it, other fields and the version kept.
pub(super) fn claimed(found: Option<&Lease>, config: &LeaseConfig, now: Timestamp) -> Lease {
    let mut lease = found.cloned().unwrap_or_default();
    lease.metadata.name = Some(config.name.clone());
    lease.metadata.namespace = Some(config.namespace.clone());
    let ours = holder(&lease) == Some(config.identity.as_str());
    let spec = lease.spec.get_or_insert_default();
    let now = after(spec.renew_time.as_ref(), now);
    if !ours {
        if found.is_some() {
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.acquire_time = Some(MicroTime(now));
    }
    spec.holder_identity = Some(config.identity.clone());
    spec.lease_duration_seconds = Some(config.duration_seconds());
    spec.renew_time = Some(MicroTime(now));
    lease
}

/// The Lease to write in order to give it up, or `None` where it is not ours.
pub(super) fn released(found: &Lease, config: &LeaseConfig, now: Timestamp) -> Option<Lease> {
    if holder(found) != Some(config.identity.as_str()) {
        return None;
    }
    let mut lease = found.clone();
    let spec = lease.spec.get_or_insert_default();
    spec.renew_time = Some(MicroTime(after(spec.renew_time.as_ref(), now)));
    spec.holder_identity = None;
    Some(lease)
}

/// `now`, or just after the last renewal where the wall clock stands still or went back: an unchanged record would
/// be no write at all for the API server, and no sign of life for the other candidates.
fn after(last: Option<&MicroTime>, now: Timestamp) -> Timestamp {
    let micros = |time: Timestamp| Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time);
    let now = micros(now);
    let next = last.and_then(|MicroTime(last)| micros(*last).checked_add(SignedDuration::from_micros(1)).ok());
    next.map_or(now, |next| now.max(next))
}
