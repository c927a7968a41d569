//! Unmodified clients in agents' pods: what each of them makes of a credential, a denial, a refresh, a revocation and an outage.
//!
//! Programs and their pins are in `e2e/conformance`. `make test` runs what takes little; `make conformance` runs all of it and writes
//! the table in `docs/conformance.md`.

mod client;
mod clients;
mod life;
mod results;
mod together;
mod traps;

/// Tests share the issuers; the one that stops them has them for itself.
static ISSUERS: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());
