//! `policy`: policies in files, judged without a cluster by the rules that a cluster applies.

pub mod call;
pub mod diff;
mod kind;
pub mod lint;
pub mod schema;
mod server;
pub mod test;

use crate::args::Global;
use crate::error::{Error, Exit};
use crate::output::Out;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Check, compare and try policies in files.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check policies and providers as the API server and the webhook do; with --provider also whether they resolve.
    Lint(LintArgs),
    /// Tell what a change of a policy newly allows or forbids.
    Diff(DiffArgs),
    /// Tell whether a policy allows one call, and why. Exit code 3: it does not.
    Test(TestArgs),
}

/// Arguments of `policy lint`.
#[derive(Args, Clone, Debug)]
pub struct LintArgs {
    /// YAML or JSON files; "-" is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A file with the providers that policies are resolved against.
    #[arg(long, value_name = "FILE")]
    pub provider: Option<PathBuf>,
    /// Also ask the cluster, by a dry run; nothing is stored. Needs the rights to get, and to create or update, what the files hold.
    #[arg(long)]
    pub server: bool,
}

/// Arguments of `policy diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// The policy as it was.
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The policy as it shall be.
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// A file with the provider that they name, where what they allow does not tell of which kind it is.
    #[arg(long, value_name = "FILE")]
    pub provider: Option<PathBuf>,
    /// End with exit code 3 where the new policy is wider in anything.
    #[arg(long)]
    pub fail_if_wider: bool,
}

/// Arguments of `policy test`.
#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// The policy.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// A file with the provider that it names.
    #[arg(long, value_name = "FILE")]
    pub provider: PathBuf,
    /// The call.
    #[command(flatten)]
    pub call: CallArgs,
    /// The agent's service account, where it shall be judged too.
    #[arg(long, value_name = "NAME")]
    pub service_account: Option<String>,
    /// The pod's labels, where the policy selects by them.
    #[arg(long, value_name = "KEY=VALUE,…", value_delimiter = ',', value_parser = label, requires = "service_account")]
    pub labels: Vec<(String, String)>,
    /// What the pod's annotation exeat.dev/allow says.
    #[arg(long, value_name = "TEXT")]
    pub narrowing: Option<String>,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, several with commas between them".to_owned()),
    }
}

/// One call of an agent.
#[derive(Args, Clone, Debug)]
pub struct CallArgs {
    /// What is done, as the provider writes it: s3:GetObject, storage.objects.get, "get pods".
    #[arg(long, value_name = "ACTION")]
    pub action: String,
    /// On what: arn:aws:s3:::reports/a.csv, projects/_/buckets/reports/objects/a.csv, agents/pod-1, or * for a call without a resource.
    #[arg(long, value_name = "RESOURCE")]
    pub resource: String,
}

/// `policy …`. The namespace of the command line is used for policies whose file names none.
///
/// # Errors
/// A file or a call that can't be read.
pub async fn run(global: &Global, command: &PolicyCommand, out: &mut Out<'_>) -> Result<Exit, Error> {
    match command {
        PolicyCommand::Lint(args) => lint::run(global, args, out).await,
        PolicyCommand::Diff(args) => diff::run(args, out),
        PolicyCommand::Test(args) => test::run(args, global.namespace.as_deref(), out),
    }
}
