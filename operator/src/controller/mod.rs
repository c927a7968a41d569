//! The controller: one leader decides, the other replicas stand by with nothing to lose.

/// Approvals.
pub mod approval;
/// Settings.
pub mod args;
pub mod backstop;
pub mod caches;
/// What reconciles share.
pub mod context;
/// Why a reconcile failed.
pub mod error;
pub mod images;
mod index;
pub mod notify;
pub mod pod;
pub mod policy;
pub mod provider;
pub mod retention;
mod run;
pub mod session;
#[cfg(test)]
mod there;
mod uninstall;
mod watches;
#[cfg(test)]
mod world;

pub use run::run;
pub use uninstall::uninstall;
