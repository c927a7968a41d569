//! Completions. Shells complete `kubectl-exeat` by a script of their own; for `kubectl exeat` kubectl runs `kubectl_complete-exeat`, which
//! is told names of the cluster, too ([`names`]). All else is pure.

pub mod names;

use crate::args::{Cli, CompletionShell};
use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use std::fmt::Write;

/// What kubectl looks for on the PATH under the name `kubectl_complete-exeat`.
const FOR_KUBECTL: &[u8] = b"#!/bin/sh\nexec kubectl-exeat __complete -- \"$@\"\n";
/// Tells kubectl that no names of files belong here, as cobra writes it.
const NO_FILES: &str = ":4\n";
/// The shell may complete names of files.
const FILES: &str = ":0\n";

/// The script to be installed.
pub fn script(shell: CompletionShell) -> Vec<u8> {
    let shell = match shell {
        CompletionShell::Kubectl => return FOR_KUBECTL.to_vec(),
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kubectl-exeat", &mut script);
    script
}

/// What names of the cluster stand in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// All sessions.
    Sessions,
    /// Those that can be revoked.
    OpenSessions,
    /// Approvals that can be decided on.
    Approvals,
    /// Holds.
    Holds,
}

/// Options that say which cluster and namespace is meant.
const LEADS_THERE: [&str; 5] = ["kubeconfig", "context", "as_user", "as_groups", "namespace"];

/// Where the words so far have led.
struct Place<'a> {
    at: &'a Command,
    /// The option whose value the last word is.
    awaited: Option<&'a Arg>,
    /// Words that are neither options nor commands.
    given: usize,
    /// Options of [`LEADS_THERE`], as they were written.
    leads: Vec<String>,
}

impl<'a> Place<'a> {
    fn of(root: &'a Command, before: &[String]) -> Self {
        let mut place = Self { at: root, awaited: None, given: 0, leads: Vec::new() };
        for word in before {
            if let Some(option) = place.awaited.take() {
                place.leads.extend(Some(word.clone()).filter(|_| leads(option)));
            } else if let Some(below) = place.at.find_subcommand(word) {
                place.at = below;
            } else if word.starts_with('-') {
                let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
                let found = option(place.at, name).filter(|option| option.get_action().takes_values());
                place.leads.extend(Some(word.clone()).filter(|_| found.is_some_and(leads)));
                place.awaited = found.filter(|_| name == word);
            } else {
                place.given += 1;
            }
        }
        place
    }

    /// What names are awaited, and the options that lead to them.
    fn names(&self) -> Option<Named> {
        let (first, name) = (self.given == 0, self.at.get_name());
        match name {
            "session" | "show" if first => Some(Named::Sessions),
            "revoke" if first => Some(Named::OpenSessions),
            "approve" | "deny" => Some(Named::Approvals),
            "release" => Some(Named::Holds),
            _ => None,
        }
        .filter(|_| self.awaited.is_none())
    }
}

fn leads(option: &Arg) -> bool {
    LEADS_THERE.contains(&option.get_id().as_str())
}

/// What names of the cluster may stand in place of the last word, and the options that lead to that cluster.
pub fn wanted(words: &[String]) -> Option<(Named, Vec<String>)> {
    let mut root = Cli::command();
    root.build();
    let (last, before) = words.split_last()?;
    let place = Place::of(&root, before);
    let named = place.names().filter(|_| !last.starts_with('-'))?;
    Some((named, place.leads))
}

/// What may stand in place of the last word, a line each with what it means, and whether names of files may. Names of the cluster were
/// looked up where they are [`wanted`].
pub fn answer(words: &[String], names: Vec<(String, String)>) -> String {
    let mut root = Cli::command();
    root.build();
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let place = Place::of(&root, before);
    let at = place.at;
    let found: Vec<(String, String)> = match place.awaited {
        // `audit export` alone writes csv; for all others the value stays hidden.
        Some(option) => values(option, at.get_name() == "export"),
        None if last.starts_with('-') => options(at),
        None => {
            subcommands(at).chain(at.get_positionals().flat_map(|option| values(option, false))).chain(names).collect()
        }
    };
    let files = found.is_empty() && place.names().is_none();
    let mut text = String::new();
    for (word, meaning) in found.iter().filter(|(word, _)| word.starts_with(last)) {
        let _ = writeln!(text, "{word}\t{meaning}");
    }
    text + if files { FILES } else { NO_FILES }
}

fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let (long, short) = (word.strip_prefix("--"), word.strip_prefix('-').filter(|word| word.chars().count() == 1));
    command.get_arguments().find(|option| {
        long.is_some_and(|long| option.get_long() == Some(long))
            || short.is_some_and(|short| option.get_short() == short.chars().next())
    })
}

fn first_line(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

fn subcommands(command: &Command) -> impl Iterator<Item = (String, String)> {
    let shown = command.get_subcommands().filter(|below| !below.is_hide_set());
    shown.map(|below| (below.get_name().to_owned(), first_line(below.get_about())))
}

fn options(command: &Command) -> Vec<(String, String)> {
    let shown = command.get_arguments().filter(|option| !option.is_hide_set());
    shown.filter_map(|option| Some((format!("--{}", option.get_long()?), first_line(option.get_help())))).collect()
}

fn values(option: &Arg, hidden: bool) -> Vec<(String, String)> {
    let possible = option.get_possible_values().into_iter().filter(|value| hidden || !value.is_hide_set());
    possible.map(|value| (value.get_name().to_owned(), first_line(value.get_help()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_completed_by_those_before_it() {
        for (words, wanted, files) in [
            (&["sess"][..], &["session", "sessions"][..], NO_FILES),
            (&["policy", ""], &["diff", "lint", "test"], NO_FILES),
            (&["-n", "policy", "policy", "te"], &["test"], NO_FILES),
            (&["sessions", "-o", ""], &["json", "table", "wide", "yaml"], NO_FILES),
            (&["audit", "export", "-o", ""], &["csv", "json", "table", "wide", "yaml"], NO_FILES),
            (&["revoke", "--all-in-namespace", "--deny"], &["--deny-new"], NO_FILES),
            (&["completions", "f"], &["fish"], NO_FILES),
            (&["policy", "lint", ""], &[], FILES),
            (&["__comp"], &[], NO_FILES),
            (&["-n", "agents", "approve", "fi"], &["first-1"], NO_FILES),
            (&["revoke", ""], &["first-1"], NO_FILES),
            (&["revoke", "first-1", ""], &[], FILES),
            (&["audit", "show", "no"], &[], NO_FILES),
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let names = super::wanted(&words).map(|_| ("first-1".to_owned(), "m".to_owned()));
            let text = answer(&words, names.into_iter().collect());
            let mut found: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once('\t')?.0)).collect();
            found.sort_unstable();
            assert_eq!((found.as_slice(), text.ends_with(files)), (wanted, true), "{words:?}: {text}");
        }
    }

    #[test]
    fn names_are_wanted_where_they_stand_and_of_the_cluster_that_is_meant() {
        let asked = |line: &str| wanted(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let found = |named, leads: &[&str]| Some((named, leads.iter().map(|word| (*word).to_owned()).collect()));
        assert_eq!(asked("session "), found(Named::Sessions, &[]));
        assert_eq!(asked("-n a --context=b audit show s"), found(Named::Sessions, &["-n", "a", "--context=b"]));
        assert_eq!(asked("revoke --yes -m why "), found(Named::OpenSessions, &[]));
        assert_eq!(asked("approve one -m why --namespace b "), found(Named::Approvals, &["--namespace", "b"]));
        assert_eq!(asked("release --as ann one two"), found(Named::Holds, &["--as", "ann"]));
        for line in ["session one ", "session -n ", "session --", "sessions ", "policy lint ", "completions ", ""] {
            assert_eq!(asked(line), None, "{line:?}");
        }
    }
}
