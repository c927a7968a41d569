//! The sidecar: serves one pod's credential on loopback, in each SDK's own protocol.
//!
//! ```text
//!  SDK ──127.0.0.1──▶ server ─▶ router ─▶ guard ─▶ protocol ──reads──▶ snapshot
//!                                                                        ▲ publishes
//!  issuer ◀──TLS── issuer (fetch) ◀──────────── agent ◀─▶ machine (pure: what is served, what comes next)
//!         ──TLS──▶ stream (revocation, change) ───▲
//! ```
//!
//! For Vault the sidecar does not serve the credential: it makes the agent's calls with it ([`vault`]).
//!
//! What is used under a policy in mode Observe is gathered and told to the issuer by [`observe`].
//!
//! [`machine`], [`guard`] and [`refresh`] decide and do no I/O; [`agent`] is the one task that acts on them.

pub mod agent;
pub mod app;
pub mod args;
pub mod files;
pub mod guard;
pub mod issuer;
pub mod lanes;
pub mod lines;
pub mod listeners;
pub mod machine;
pub mod metrics;
pub mod observe;
pub mod place;
pub mod probe;
pub mod protocol;
pub mod refresh;
pub mod router;
pub mod secret;
pub mod server;
pub mod snapshot;
pub mod stream;
pub mod vault;
