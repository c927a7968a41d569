use crate::process::ProcessArgs;
use clap::{Args as ClapArgs, Parser, Subcommand};
use exeat_runtime::args::parse_duration;
use std::path::PathBuf;
use std::time::Duration;

/// Decides which agent holds which credentials: pods become CredentialSessions, policies and providers become Ready.
#[derive(Parser, Debug)]
#[command(name = "exeat-controller", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings.
    #[command(flatten)]
    pub args: Args,
}

/// What to do.
#[derive(Subcommand, Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the controller (the default).
    Run,
    /// Revoke every session, wait until access has ended where a provider can end it, and let go of all finalizers. For `helm uninstall`.
    Uninstall {
        /// Longest time to wait for revocations.
        #[arg(long, default_value = "60s", value_parser = parse_duration)]
        timeout: Duration,
    },
}

/// Settings of the controller.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// How long ended sessions are kept.
    #[arg(long, env = "EXEAT_SESSION_RETENTION_AGE", default_value = "168h", value_parser = parse_duration)]
    pub session_retention_age: Duration,

    /// How many ended sessions are kept for each policy.
    #[arg(long, env = "EXEAT_SESSION_RETENTION_COUNT", default_value_t = 200)]
    pub session_retention_count: usize,

    /// How many sessions of one namespace may wait at once; further pods get theirs when some have been decided.
    #[arg(long, env = "EXEAT_MAX_PENDING", default_value_t = 200)]
    pub max_pending: usize,

    /// Folder with the admission policies as installed (YAML): the leader puts them back when they are changed or removed.
    #[arg(long, env = "EXEAT_ADMISSION_POLICIES", value_name = "FOLDER")]
    pub admission_policies: Option<PathBuf>,

    /// How many objects of a kind are reconciled at once.
    #[arg(long, env = "EXEAT_CONCURRENCY", default_value_t = 16)]
    pub concurrency: u16,

    /// As every program of ours.
    #[command(flatten)]
    pub process: ProcessArgs,
}
