//! `revoke`, `holds`, `release`: the kill switch. A revocation is a write-once field, so that running it again is safe and goes on where the
//! last run stopped.

pub mod act;
pub mod hold;
pub mod ledger;
mod near;
mod pass;
pub mod select;
pub mod summary;
mod wait;

use crate::client::Cluster;
use crate::error::{Error, Exit};
use crate::output::Out;
use clap::Args;
use std::time::Duration;

/// Arguments of `revoke`.
#[derive(Args, Clone, Debug, Default)]
pub struct RevokeArgs {
    /// One session by its name.
    #[arg(value_name = "SESSION", conflicts_with_all = ["pod", "workload", "policy", "provider", "all_in_namespace"])]
    pub session: Option<String>,
    /// All sessions of this pod.
    #[arg(long, value_name = "NAME")]
    pub pod: Option<String>,
    /// All sessions of this workload's pods, as KIND/NAME: deployment/fleet, cronjob/nightly.
    #[arg(long, value_name = "KIND/NAME")]
    pub workload: Option<String>,
    /// All sessions under this policy.
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// All sessions of this provider.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// All sessions of the namespace.
    #[arg(long)]
    pub all_in_namespace: bool,
    /// Hold new sessions off first: nothing that matches is opened until the hold is released.
    #[arg(long)]
    pub deny_new: bool,
    /// Why, for the record and for the agents.
    #[arg(short = 'm', long = "reason", value_name = "TEXT", default_value = "revoked with kubectl exeat revoke")]
    pub reason: String,
    /// Ask nothing.
    #[arg(short, long)]
    pub yes: bool,
    /// Do not wait until the sessions have ended.
    #[arg(long)]
    pub no_wait: bool,
    /// Most seconds to wait for that, once all are revoked.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub timeout: u64,
    /// Most revocations a second.
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub rate: u32,
    /// Tell what would be revoked, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `release`.
#[derive(Args, Clone, Debug)]
pub struct ReleaseArgs {
    /// Names of holds.
    #[arg(required = true, value_name = "HOLD")]
    pub names: Vec<String>,
}

impl RevokeArgs {
    fn pause(&self) -> Duration {
        Duration::from_secs(1) / self.rate.max(1)
    }
}

/// `revoke`.
///
/// # Errors
/// Nothing, or too much, was named; the API server's.
pub async fn run(cluster: &Cluster, args: &RevokeArgs, out: &mut Out<'_>) -> Result<Exit, Error> {
    act::revoke(cluster, args, out).await
}
