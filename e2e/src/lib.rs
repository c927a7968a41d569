//! What the stories on a real cluster share: a namespace for each, objects, waiting, looking into pods.
//!
//! The cluster must run and Exeat must be installed in it (`e2e/install.sh`); `scripts/e2e.sh` does all of it. The binaries run
//! inside the cluster's network namespace, with `KUBECONFIG` set and `EXEAT_E2E=1`.

pub mod approvals;
pub mod azure;
mod build;
mod cluster;
mod failure;
mod issuer;
mod pods;
pub mod readme;
mod scope;
mod sessions;
mod sidecar;
mod stolen;
pub mod system;
mod wait;

pub use build::{
    AWS_ACCOUNT, AgentPod, GRANTS, KUBERNETES, MINIO, MINISTACK, REPORT_WRITER, S3_MINIO, S3_MINISTACK, VAULT,
    VAULT_ADDRESS, agent, aws_policy, deployment, kubernetes_policy, policy, provider, script, statement,
};
pub use cluster::{connect, connect_as, connect_with_token, is_for_tests, now, system_namespace};
pub use failure::{Failure, Result, refused};
pub use issuer::{Answer, Issuer};
pub use pods::{Output, ROOT, exeat, exeat_program, kubectl, shell, shell_within};
pub use scope::{Scope, in_namespace};
pub use sessions::phase;
pub use stolen::StolenToken;
pub use wait::{holds_for, wait_for};

/// Fails with the message unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::Failure::new(format!($($message)+)));
        }
    };
}
