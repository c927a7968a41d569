//! Completions. Shells complete `kubectl-exeat` by a script of their own; for `kubectl exeat` kubectl runs `kubectl_complete-exeat`. Pure.

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

/// What may stand in place of the last word, a line each with what it means, and whether names of files may.
pub fn answer(words: &[String]) -> String {
    let mut root = Cli::command();
    root.build();
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let (mut at, mut awaited): (&Command, Option<&Arg>) = (&root, None);
    for word in before {
        if awaited.take().is_some() {
            continue;
        }
        match at.find_subcommand(word) {
            Some(below) => at = below,
            None => awaited = option(at, word).filter(|option| option.get_action().takes_values()),
        }
    }
    let found = match awaited {
        // `audit export` alone writes csv; for all others the value stays hidden.
        Some(option) => values(option, at.get_name() == "export"),
        None if last.starts_with('-') => options(at),
        None => subcommands(at).chain(at.get_positionals().flat_map(|option| values(option, false))).collect(),
    };
    let files = found.is_empty();
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
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let text = answer(&words);
            let mut found: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once('\t')?.0)).collect();
            found.sort_unstable();
            assert_eq!((found.as_slice(), text.ends_with(files)), (wanted, true), "{words:?}: {text}");
        }
    }
}
