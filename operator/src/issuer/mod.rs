//! The issuer: proves the pod, computes the grant again, mints, hands out. It decides nothing and remembers no credential.

/// Settings.
pub mod args;
mod authn;
mod mint;
mod probe;
mod providers;
pub mod recompute;
mod revoke;
mod root;
mod run;
mod server;
mod sessions;
mod status;
mod stream;
pub mod view;

pub use run::run;
