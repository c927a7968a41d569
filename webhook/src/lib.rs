//! The admission webhook: it injects the sidecar into annotated pods, refuses pods and objects that could not work,
//! and warns about workload templates whose pods it would refuse.
//!
//! Decisions are pure ([`inject()`], [`validate`]); [`http`] is the only part that knows the protocol, and [`run()`]
//! puts both on a cluster.

pub mod annotations;
pub mod inject;
pub mod message;
pub mod patch;
mod pod;
mod refuse;
pub mod settings;
pub mod validate;

pub use inject::{InjectContext, inject};
pub use settings::{Settings, SidecarSettings};
