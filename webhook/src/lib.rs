//! The admission webhook: it injects the sidecar into annotated pods, stamps into objects who wrote them, refuses pods and
//! objects that could not work, and warns about workload templates whose pods it would refuse.
//!
//! Decisions are pure ([`inject()`], [`stamp`], [`validate`]), and all that is left without the feature `server`: the command line judges by
//! them. `http` is the only part that knows the protocol, and `run` puts both on a cluster. The rights that it needs stand in `args`.

#[cfg(feature = "server")]
pub mod access;
pub mod annotations;
#[cfg(feature = "server")]
pub mod args;
#[cfg(feature = "server")]
pub mod certs;
#[cfg(feature = "server")]
mod follow;
#[cfg(feature = "server")]
pub mod http;
pub mod inject;
#[cfg(feature = "server")]
pub mod issuer_root;
pub mod message;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod objects;
pub mod patch;
mod pod;
mod refuse;
#[cfg(feature = "server")]
pub mod run;
pub mod settings;
#[cfg(feature = "server")]
pub mod sidecar_images;
pub mod stamp;
pub mod validate;

pub use inject::{Found, InjectContext, Injected, inject};
pub use settings::{InstallationSettings, NamespaceSidecar, Settings, SidecarSettings};
