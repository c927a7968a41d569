//! Leader election on a `coordination.k8s.io/v1` Lease, with a gate in front of every write.
//!
//! The safety argument, for one Lease and candidates with unique identities:
//! - Every change of the Lease is a create, or a replace on the very version that was read. Two candidates never
//!   both succeed from the same version.
//! - The leader's gate is open until `renew_deadline` after a moment *before* the last successful write was sent. It
//!   carries that deadline itself, so a hung or dead renewal task can't leave it open.
//! - Another candidate takes over only when a full lease duration, which is longer, has passed since it *observed* the
//!   last change, which is later than the moment that write was sent. Wall clocks of different nodes are never
//!   compared.
//! - A gate that was closed by loss or release stays closed. Loss closes the gate before anyone is told.
//!
//! What remains: a write that was sent while the gate was open may arrive later. The difference between lease duration
//! and renew deadline is there for it; writes also carry `resourceVersion` or are idempotent. A virtual machine whose
//! monotonic clock stood still is caught only once its wall clock is set right. And whoever may delete or edit the Lease
//! is trusted: a leader notices at its next renewal, and candidates that knew the holder wait for it.

mod config;
mod election;
mod gate;
mod record;
mod store;

pub use self::config::{LeaseConfig, LeaseConfigError, new_identity};
pub use self::election::{Leadership, LeaseEnd, elect};
pub use self::gate::{NotLeader, WriteGate};
pub use self::store::{KubeLease, LeaseStore, StoreError};

#[cfg(test)]
mod tests;
