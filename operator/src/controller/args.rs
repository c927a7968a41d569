use super::notify::args::NotifyArgs;
use crate::audit::command::VerifyArgs;
use crate::process::ProcessArgs;
use clap::{Args as ClapArgs, CommandFactory, FromArgMatches, Parser, Subcommand};
use exeat_runtime::args::parse_duration;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Decides which agent holds which credentials: pods become CredentialSessions, policies and providers become Ready.
#[derive(Parser, Debug)]
#[command(name = "exeat-controller", version, subcommand_negates_reqs = true)]
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
    /// Verify an audit log with the keys and heads of its chains. Exits with 1 when there are findings.
    VerifyAudit(VerifyArgs),
}

/// What is asked for, with the settings that it needs.
#[derive(Debug)]
pub enum Call {
    /// One of the commands that talk to the API server.
    Serve(Box<Cli>),
    /// Verify an audit log: it needs no pod and no cluster.
    VerifyAudit(VerifyArgs),
}

impl Call {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// What is wrong with it, or the help that was asked for.
    pub fn try_parse_from(line: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let mut command = Cli::command();
        let matches = command.try_get_matches_from_mut(line)?;
        if let Some(("verify-audit", matches)) = matches.subcommand() {
            let args = VerifyArgs::from_arg_matches(matches);
            return args.map(Self::VerifyAudit).map_err(|error| error.format(&mut command));
        }
        let cli = Cli::from_arg_matches(&matches);
        cli.map(|cli| Self::Serve(Box::new(cli))).map_err(|error| error.format(&mut command))
    }
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

    /// How long people are still asked what no session waits for: a pod may just be taking another's place.
    #[arg(long, env = "EXEAT_APPROVAL_PATIENCE", default_value = "10m", value_parser = parse_duration)]
    pub approval_patience: Duration,

    /// How many approvals of one namespace may wait for people at once; further requests are made when some have been decided. Twice as many
    /// are made in an hour where nobody waits for the answers.
    #[arg(long, env = "EXEAT_MAX_OPEN_APPROVALS", default_value_t = 50)]
    pub max_open_approvals: usize,

    /// Folder with the admission policies as installed (YAML): the leader puts them back when they are changed or removed.
    #[arg(long, env = "EXEAT_ADMISSION_POLICIES", value_name = "FOLDER")]
    pub admission_policies: Option<PathBuf>,

    /// How many objects of a kind are reconciled at once; those of one namespace are half of them at most.
    #[arg(long, env = "EXEAT_CONCURRENCY", default_value_t = 32)]
    pub concurrency: u16,

    /// Whom to tell what waits for people.
    #[command(flatten)]
    pub notify: NotifyArgs,

    /// As every program of ours.
    #[command(flatten)]
    pub process: ProcessArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Call, clap::Error> {
        Call::try_parse_from(std::iter::once("exeat-controller").chain(line.iter().copied()))
    }

    #[test]
    fn a_log_is_verified_without_a_pod_but_nothing_else_runs_without_one() {
        let line = ["verify-audit", "--key-file", "issuer=/k", "--key-file=controller=/c", "--heads=/h", "-"];
        let Ok(Call::VerifyAudit(args)) = parse(&line) else { panic!("not understood") };
        assert_eq!(args.key_files[0], ("issuer".to_owned(), "/k".into()));
        assert_eq!((args.files, args.heads, args.partial), (vec!["-".into()], Some("/h".into()), false));
        for line in [&[][..], &["uninstall"], &["run"]] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains("pod"), "{error}");
        }
        let Ok(Call::Serve(cli)) = parse(&["--pod-name=a", "uninstall"]) else { panic!("not understood") };
        assert!(matches!(cli.command, Some(Command::Uninstall { .. })));
        assert!(parse(&["verify-audit", "--key-file=/k", "-"]).unwrap_err().to_string().contains("controller=FILE"));
    }
}
