//! What a command line is refused for before anything is asked of a cluster. Pure.

use crate::args::{Cli, Command};
use crate::audit::AuditCommand;
use crate::error::Error;
use crate::output::Format;
use crate::{approvals, explain, revoke};

/// Judges a command line.
///
/// # Errors
/// What can't be used of it.
pub fn check(cli: &Cli) -> Result<(), Error> {
    format(cli)?;
    namespaces(cli)?;
    match &cli.command {
        Command::Approve(args) | Command::Deny(args) => approvals::decide::check(args),
        Command::Revoke(args) => revoke::select::check(args, cli.global.all_namespaces),
        Command::Explain(args) => explain::target::parse(&args.kind, args.name.as_deref()).map(drop),
        _ => Ok(()),
    }
}

fn format(cli: &Cli) -> Result<(), Error> {
    if cli.global.output == Format::Csv && !matches!(&cli.command, Command::Audit(AuditCommand::Export(_))) {
        return Err(Error::Usage("-o csv: only `audit export` writes it; use table, wide, json or yaml".to_owned()));
    }
    Ok(())
}

/// `-A` widens what looks at several namespaces. Where it means nothing it is refused, so that nobody takes one namespace for all.
fn namespaces(cli: &Cli) -> Result<(), Error> {
    if !cli.global.all_namespaces {
        return Ok(());
    }
    if let Some(namespace) = &cli.global.namespace {
        return Err(Error::Usage(format!("-A and -n {namespace} contradict each other: give one of them")));
    }
    let looks_at_several = match &cli.command {
        Command::Sessions(_) | Command::Watch | Command::Approvals(_) | Command::Revoke(_) | Command::Holds => true,
        Command::Audit(audit) => matches!(audit, AuditCommand::Recent(_) | AuditCommand::Show(_)),
        _ => false,
    };
    if looks_at_several {
        return Ok(());
    }
    let fix = match &cli.command {
        Command::Session(_) | Command::Approve(_) | Command::Deny(_) | Command::Explain(_) | Command::Learn(_) => {
            "this command is about what is in one namespace; name it with -n"
        }
        _ => "this command looks at no namespace, or at one of its own; leave it out",
    };
    Err(Error::Usage(format!("-A: {fix}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn told(line: &str) -> Result<(), String> {
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        check(&cli).map_err(|error| {
            assert_eq!(error.exit().code(), 2, "{line}: {error}");
            error.to_string()
        })
    }

    #[test]
    fn all_namespaces_go_with_no_name_and_only_where_they_mean_something() {
        for line in [
            "x -A sessions",
            "x watch -A",
            "x approvals -A",
            "x holds -A",
            "x revoke -A --yes --provider p",
            "x audit recent -A",
            "x audit show s -A",
            "x -n a session s",
        ] {
            assert_eq!(told(line), Ok(()), "{line}");
        }
        for (line, word) in [
            ("x -n a sessions -A", "-A and -n a contradict"),
            ("x revoke -A -n a --yes --provider p", "-A and -n a contradict"),
            ("x -A session s", "name it with -n"),
            ("x approve a -m m -A", "name it with -n"),
            ("x deny a -m m -A", "name it with -n"),
            ("x -A explain pod p", "name it with -n"),
            ("x -A learn p", "name it with -n"),
            ("x -A release h", "leave it out"),
            ("x -A doctor", "leave it out"),
            ("x -A policy lint f", "leave it out"),
            ("x -A audit export f", "leave it out"),
        ] {
            assert!(told(line).unwrap_err().contains(word), "{line}: {:?}", told(line));
        }
    }

    #[test]
    fn what_can_be_judged_without_a_cluster_is() {
        for (line, word) in [
            ("x explain svc s", "\"svc\" is not explained"),
            ("x approve a -m=", "--message"),
            ("x revoke", "name a session"),
            ("x revoke --workload fleet", "KIND/NAME"),
            ("x sessions -o csv", "audit export"),
        ] {
            assert!(told(line).unwrap_err().contains(word), "{line}: {:?}", told(line));
        }
    }
}
