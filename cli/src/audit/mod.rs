//! `audit`: what was recorded. Events are for people and go after an hour; the records in the programs' logs are the evidence.

pub mod export;
pub mod recent;
pub mod record;

use crate::args::Global;
use crate::client::Cluster;
use crate::clock;
use crate::error::{Error, Exit};
use crate::output::Out;
use clap::{Args, Subcommand};
use exeat_audit::command::{self, VerifyArgs, VerifyError};
use std::path::PathBuf;

/// Read, verify and export what was recorded.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// Show what happened lately: Events, and audit records where the programs' logs may be read.
    Recent(RecentArgs),
    /// Show all that was recorded of one session.
    Show(ShowArgs),
    /// Find records that were removed, changed, moved or cut off. Exit code 1: something was found.
    Verify(VerifyArgs),
    /// Write the records of logs as one JSON list, or as CSV with -o csv.
    Export(ExportArgs),
}

/// Arguments of `audit recent`.
#[derive(Args, Clone, Debug)]
pub struct RecentArgs {
    /// How far to look back, for instance 90m.
    #[arg(long, default_value = "1h", value_name = "DURATION", value_parser = seconds)]
    pub since: i64,
}

/// Arguments of `audit show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Name of the session.
    #[arg(value_name = "SESSION")]
    pub session: String,
}

/// Arguments of `audit export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// Logs, one JSON record a line; other lines are skipped. "-" is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

fn seconds(text: &str) -> Result<i64, String> {
    exeat_crds::duration::parse(text).map(|duration| duration.as_secs()).map_err(|error| error.to_string())
}

/// `audit …`.
///
/// # Errors
/// The API server's, or a file that can't be read.
pub async fn run(global: &Global, command: &AuditCommand, out: &mut Out<'_>) -> Result<Exit, Error> {
    match command {
        AuditCommand::Recent(args) => {
            let cluster = Cluster::connect(global).await?;
            recent::recent(&cluster, args.since, clock::now(), out).await
        }
        AuditCommand::Show(args) => recent::show(&Cluster::connect(global).await?, &args.session, out).await,
        AuditCommand::Verify(args) => verify(args, out),
        AuditCommand::Export(args) => export::run(args, out),
    }
}

fn verify(args: &VerifyArgs, out: &mut Out<'_>) -> Result<Exit, Error> {
    let unread = |error: VerifyError| match error {
        VerifyError::Report(error) => Error::Output(error),
        error @ VerifyError::File { .. } => Error::Usage(error.to_string()),
    };
    if !out.is_data() {
        let well = command::run(args, &mut out.to).map_err(unread)?;
        return Ok(if well { Exit::Done } else { Exit::Failed });
    }
    let report = command::verify(args).map_err(unread)?;
    match out.data(&report) {
        // The reader has gone; the verdict is no less true.
        Err(error) if !error.is_broken_pipe() => Err(error),
        _ => Ok(if report.findings.is_empty() { Exit::Done } else { Exit::Failed }),
    }
}
