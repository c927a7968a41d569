//! The two programs of the operator image.
//!
//! - [`controller`] decides: pods become sessions, sessions become Active or not. It has no cloud identity and reads no Secret but its audit key.
//!   Where people are to be told what waits for them, the URL is mounted as a file.
//! - [`issuer`] mints: it proves the pod, computes the grant again, and hands the credential to the sidecar. It decides nothing.
//!
//! Both write the same [`audit`] events, [`events`] and [`metrics`].

pub mod audit;
pub mod controller;
pub mod events;
mod https;
pub mod issuer;
mod limiter;
pub mod metrics;
pub mod process;
mod revocation;
mod turns;
