//! API types of `exeat.dev` and the pure rules over them.
//!
//! Nothing here does I/O, reads a clock or needs a client, so that the controller, the issuer, the webhook, the
//! command line and later the gateway judge by the same code:
//!
//! - [`v1alpha1`]: the five kinds;
//! - [`rules`]: actions and resources of each provider, covers / subset / overlaps, grants and their digests;
//! - [`authority`]: policy and provider together: what a policy may hand out, or the reason why it may not;
//! - [`approval`]: whom a grant must be approved by, and what their words come to;
//! - [`reason`]: every reason code a user can meet;
//! - [`pod_policies`]: which policies a pod names;
//! - [`names`]: annotations, labels, finalizers, field managers.

pub mod approval;
pub mod authority;
pub mod condition;
pub mod digest;
pub mod duration;
pub mod hold;
pub mod names;
pub mod observed;
pub mod pod_policies;
pub mod reason;
pub mod rules;
pub mod text;
#[expect(unreachable_pub, reason = "the schema derive makes a public copy of each struct inside a function")]
pub mod v1alpha1;

pub use v1alpha1::{AgentCredentialPolicy, Approval, CredentialHold, CredentialProvider, CredentialSession};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group of every kind here.
pub const GROUP: &str = "exeat.dev";

/// The definitions of all kinds, in the order in which they are installed.
pub fn all_crds() -> Vec<CustomResourceDefinition> {
    vec![
        CredentialProvider::crd(),
        AgentCredentialPolicy::crd(),
        CredentialSession::crd(),
        Approval::crd(),
        CredentialHold::crd(),
    ]
}
