//! What every Exeat binary needs and nothing that decides: arguments, clock, shutdown, readiness, telemetry,
//! the health endpoints, and behind features leader election, TLS, the own certificate authority and name look-ups.

pub mod args;
pub mod backoff;
#[cfg(feature = "ca")]
pub mod ca;
pub mod clock;
#[cfg(feature = "dns")]
pub mod dns;
pub mod health;
#[cfg(feature = "lease")]
pub mod lease;
pub mod readiness;
pub mod shutdown;
pub mod telemetry;
#[cfg(feature = "tls")]
pub mod tls;
