//! The command line.

use crate::approvals::{self, DecideArgs};
use crate::audit::AuditCommand;
use crate::doctor::DoctorArgs;
use crate::explain::ExplainArgs;
use crate::learn::LearnArgs;
use crate::output::Format;
use crate::policy::PolicyCommand;
use crate::revoke::{ReleaseArgs, RevokeArgs};
use crate::sessions::{ListArgs, ShowArgs};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Who holds which credentials, who must say yes, how to stop it, and why an agent gets nothing.
///
/// Exit codes: 0 done; 1 an error or a failed check; 2 the command line can't be used; 3 a gate says no; 4 begun, not at its end yet.
#[derive(Debug, Parser)]
#[command(name = "kubectl-exeat", bin_name = "kubectl exeat", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// The kubeconfig file [default: $KUBECONFIG, else ~/.kube/config].
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,

    /// Act as this user, as kubectl's --as does; needs the right to impersonate.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,

    /// Act as a member of this group too; may be given several times.
    #[arg(long = "as-group", global = true, value_name = "GROUP", requires = "as_user")]
    pub as_groups: Vec<String>,

    /// The namespace [default: the context's].
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,

    /// All namespaces, where a command looks at several.
    #[arg(short = 'A', long, global = true)]
    pub all_namespaces: bool,

    /// How to show it. `audit export` alone also writes csv.
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,

    /// When to colour: on a terminal unless NO_COLOR is set, always, or never.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: When,

    /// Set and not empty: no colours, whatever the terminal.
    #[arg(long, global = true, env = "NO_COLOR", hide = true, hide_env = true, default_value = "")]
    pub no_color: String,

    /// Longest wait for an answer of the API server, as 30, 30s or 2m; watches may be silent for longer.
    #[arg(long, global = true, default_value = "30s", value_name = "TIME", value_parser = wait)]
    pub request_timeout: Duration,

    /// The namespace that Exeat is installed in.
    #[arg(
        long,
        global = true,
        env = "EXEAT_SYSTEM_NAMESPACE",
        hide_env_values = true,
        default_value = "exeat-system",
        value_name = "NAME"
    )]
    pub system_namespace: String,
}

/// Seconds alone are welcome, as kubectl's --request-timeout takes them.
fn wait(text: &str) -> Result<Duration, String> {
    let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let written = if bare { format!("{text}s") } else { text.to_owned() };
    let wait = exeat_crds::duration::parse(&written).map_err(|error| error.to_string())?.unsigned_abs();
    if wait.is_zero() { Err("it must be 1s at least".to_owned()) } else { Ok(wait) }
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Global {
    /// Whether to colour what goes to something that is a terminal or not.
    pub fn colors(&self, terminal: bool) -> bool {
        match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal && self.no_color.is_empty(),
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List sessions: who holds what, until when.
    Sessions(ListArgs),
    /// Show all that is known of one session.
    Session(ShowArgs),
    /// Follow sessions and approvals as they change; ends on q or Ctrl-C.
    Watch,
    /// List what waits for people: who is missing, until when, and what changed since the last approved request.
    Approvals(approvals::ListArgs),
    /// Say yes to what is asked. It is shown in full first.
    Approve(DecideArgs),
    /// Say no; it wins. One's own yes may be turned into a no.
    Deny(DecideArgs),
    /// End sessions: one by its name, or all that match. May be run again at any time.
    Revoke(RevokeArgs),
    /// List what keeps new sessions off.
    Holds,
    /// Let new sessions open again.
    Release(ReleaseArgs),
    /// Find out gate by gate why a pod gets its credentials, or does not.
    Explain(ExplainArgs),
    /// Show the smallest policy for what agents were seen to use in mode Observe, and how it differs from today's. Nothing is applied.
    Learn(LearnArgs),
    /// Check, compare and try policies in files.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Read, verify and export what was recorded.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Check the installation.
    Doctor(DoctorArgs),
    /// Write the completions of a shell, or what kubectl asks to complete `kubectl exeat`.
    Completions {
        /// bash, zsh or fish, for `kubectl-exeat`; kubectl, for `kubectl exeat` in any of them.
        #[arg(value_enum)]
        shell: CompletionShell,
    },
    /// Answer kubectl's completion of `kubectl exeat`.
    #[command(name = "__complete", hide = true, disable_help_flag = true)]
    Complete {
        /// The words so far; the last one is being written.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// What there are completions for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompletionShell {
    /// kubectl itself, in any shell that completes it.
    Kubectl,
    /// Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn colours_need_a_terminal_and_no_word_against_them() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["x"], args, &["watch"]].concat()).unwrap().global;
        assert!(parse(&[]).colors(true) && !parse(&[]).colors(false));
        assert!(!parse(&["--no-color=1"]).colors(true));
        assert!(parse(&["--color=always"]).colors(false) && !parse(&["--color=never"]).colors(true));
    }

    #[test]
    fn a_wait_is_seconds_or_a_duration() {
        assert_eq!((wait("5"), wait("2m")), (Ok(Duration::from_secs(5)), Ok(Duration::from_secs(120))));
        assert!(["", "0", "0s", "soon", "-1s"].iter().all(|text| wait(text).is_err()));
    }
}
