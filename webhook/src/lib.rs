//! The admission webhook: it injects the sidecar into annotated pods, stamps into objects who wrote them, refuses pods and
//! objects that could not work, and warns about workload templates whose pods it would refuse.
//!
//! Decisions are pure ([`inject()`], [`stamp`], [`validate`]); [`http`] is the only part that knows the protocol, and
//! [`run`] puts both on a cluster. The rights that it needs stand in [`args`].

pub mod access;
pub mod annotations;
pub mod args;
pub mod certs;
mod follow;
pub mod http;
pub mod inject;
pub mod issuer_root;
pub mod message;
pub mod metrics;
pub mod objects;
pub mod patch;
mod pod;
mod refuse;
pub mod run;
pub mod settings;
pub mod sidecar_images;
pub mod stamp;
pub mod validate;

pub use inject::{InjectContext, Injected, inject};
pub use settings::{InstallationSettings, NamespaceSidecar, Settings, SidecarSettings};
