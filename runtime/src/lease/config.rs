//! What one candidate needs to know.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// One candidate's part in an election. Made by [`LeaseArgs::config`](crate::args::LeaseArgs::config).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseConfig {
    /// Name of the Lease.
    pub name: String,
    /// Namespace of the Lease.
    pub namespace: String,
    /// This process's name in the Lease: unique among processes, restarts included ([`new_identity`]).
    pub identity: String,
    /// How long others wait after the last renewal they observed before they take over. Whole seconds.
    pub duration: Duration,
    /// How long the write gate stays open after the start of a successful renewal.
    pub renew_deadline: Duration,
    /// Wait between attempts.
    pub retry_period: Duration,
}

/// Durations that make no safe election. Each message names the flags to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseConfigError {
    /// The API keeps the duration in whole seconds.
    #[error("--lease-duration must be whole seconds, between 1s and 1h")]
    Duration,
    /// The gate must close while the others still wait.
    #[error(
        "--lease-renew-deadline must be shorter than --lease-duration: the leader stops writing before others take over"
    )]
    RenewDeadline,
    /// The leader needs more than one attempt.
    #[error(
        "--lease-retry-period must be positive and at most half of --lease-renew-deadline: one failed renewal must not end the leadership"
    )]
    RetryPeriod,
}

impl LeaseConfig {
    /// This configuration, if its durations fit together.
    ///
    /// # Errors
    /// With the first rule that is broken.
    pub fn validated(self) -> Result<Self, LeaseConfigError> {
        if self.duration.subsec_nanos() != 0 || !(1..=3600).contains(&self.duration.as_secs()) {
            return Err(LeaseConfigError::Duration);
        }
        if self.renew_deadline >= self.duration {
            return Err(LeaseConfigError::RenewDeadline);
        }
        if self.retry_period.is_zero() || self.retry_period * 2 > self.renew_deadline {
            return Err(LeaseConfigError::RetryPeriod);
        }
        Ok(self)
    }

    /// The duration as the API writes it.
    pub(super) fn duration_seconds(&self) -> i32 {
        i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX)
    }
}

/// A holder identity: the pod's name and a random part, so that a restarted process never takes a lease of its
/// predecessor for its own.
pub fn new_identity(pod_name: &str) -> String {
    format!("{pod_name}_{:016x}", random_u64())
}

/// A number that differs between calls; the standard library's hasher keys are its only source.
pub(super) fn random_u64() -> u64 {
    RandomState::new().build_hasher().finish()
}
