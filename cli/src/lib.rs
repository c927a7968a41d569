//! `kubectl exeat`: who holds what, who must say yes, how to stop it, and why an agent gets nothing.
//!
//! Each command has a folder. What it decides is pure (facts and `now` in, text out) and apart from what it reads and writes; a session, a
//! grant or a pod is judged by the very rules that the webhook, the controller and the issuer use.

pub mod approvals;
pub mod args;
pub mod audit;
pub mod check;
pub mod client;
pub mod clock;
pub mod complete;
pub mod doctor;
pub mod error;
pub mod explain;
pub mod files;
pub mod learn;
pub mod output;
pub mod policy;
pub mod revoke;
pub mod run;
pub mod sessions;
pub mod watch;

pub use args::Cli;
pub use error::{Error, Exit};
