//! From a command line to its command.

use crate::args::{Cli, Command};
use crate::client::{self, Cluster};
use crate::clock;
use crate::error::{Error, Exit};
use crate::output::{Out, Paint};
use crate::{approvals, audit, check, complete, doctor, explain, learn, policy, revoke, sessions, watch};
use exeat_crds::v1alpha1::Verdict;
use std::io::IsTerminal;

/// Runs a command on standard output.
///
/// # Errors
/// Why it did not do what was asked.
pub async fn run(cli: Cli) -> Result<Exit, Error> {
    let (mut to, mut notes) = (std::io::stdout(), std::io::stderr());
    let paint = Paint(cli.global.colors(to.is_terminal()));
    let asks = std::io::stdin().is_terminal() && notes.is_terminal();
    let mut out = Out { to: &mut to, notes: &mut notes, format: cli.global.output, paint, asks };
    check::check(&cli)?;
    let global = cli.global.clone();
    match dispatch(cli, &mut out).await {
        Err(error) => match error.no_answer() {
            Some(why) => Err(client::unreachable(&global, &why).await),
            None => Err(error),
        },
        done => done,
    }
}

async fn dispatch(cli: Cli, out: &mut Out<'_>) -> Result<Exit, Error> {
    let now = clock::now();
    let global = cli.global;
    match cli.command {
        Command::Sessions(args) => sessions::list(&Cluster::connect(&global).await?, &args, now, out).await,
        Command::Session(args) => sessions::show(&Cluster::connect(&global).await?, &args, now, out).await,
        Command::Watch => watch::run(&Cluster::connect(&global).await?, out).await,
        Command::Approvals(args) => approvals::list(&Cluster::connect(&global).await?, &args, now, out).await,
        Command::Approve(args) => {
            approvals::decide::run(&Cluster::connect(&global).await?, &args, Verdict::Approve, out).await
        }
        Command::Deny(args) => {
            approvals::decide::run(&Cluster::connect(&global).await?, &args, Verdict::Deny, out).await
        }
        Command::Holds => revoke::hold::list(&Cluster::connect(&global).await?, now, out).await,
        Command::Release(args) => revoke::hold::release(&Cluster::connect(&global).await?, &args, out).await,
        Command::Revoke(args) => revoke::run(&Cluster::connect(&global).await?, &args, out).await,
        Command::Explain(args) => explain::run(&Cluster::connect(&global).await?, &args, out).await,
        Command::Learn(args) => learn::run(&Cluster::connect(&global).await?, &args, now, out).await,
        Command::Policy(command) => policy::run(&global, &command, out).await,
        Command::Audit(command) => audit::run(&global, &command, out).await,
        Command::Doctor(args) => doctor::run(&Cluster::connect(&global).await?, &args, out).await,
        Command::Completions { shell } => {
            out.to.write_all(&complete::script(shell))?;
            Ok(Exit::Done)
        }
        Command::Complete { words } => {
            let names = complete::names::of(&words).await;
            out.text(&complete::answer(&words, names))?;
            Ok(Exit::Done)
        }
    }
}
