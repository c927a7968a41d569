//! The issuer: proves the pod, computes the grant again, mints, hands out. It decides nothing and remembers no credential.

mod admit;
pub mod approvals;
/// Settings.
pub mod args;
mod authn;
pub mod authorities;
mod early;
#[cfg(test)]
mod fixtures;
mod hold;
pub mod holder;
mod learn;
mod mint;
mod orphans;
mod probe;
mod providers;
pub mod recompute;
mod revoke;
mod root;
mod run;
mod server;
mod sessions;
mod soon;
mod status;
mod stream;
mod streams;
#[cfg(test)]
mod tests;
pub mod view;

pub use run::run;
