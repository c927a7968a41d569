//! The command line itself.

use super::{exeat, said};

#[test]
fn help_is_no_error_and_a_wrong_word_is_usage() {
    let (code, out, _) = said(&["--help"]);
    assert_eq!(code, 0);
    for command in
        ["sessions", "approve", "revoke", "watch", "explain", "policy", "audit", "doctor", "holds", "release"]
    {
        assert!(out.contains(command), "{command}\n{out}");
    }
    for arguments in [
        &["no-such-command"][..],
        &[],
        &["revoke", "--workload"],
        &["sessions", "-o", "xml"],
        &["audit", "recent", "--since", "soon"],
    ] {
        let (code, out, err) = said(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(!err.is_empty());
    }
    let (code, _, err) = said(&["sessions", "-o", "csv"]);
    assert!(code == 2 && err.contains("audit export"), "{err}");
}

#[test]
fn every_shell_has_its_completions() {
    for (shell, sign) in
        [("bash", "complete -F"), ("zsh", "#compdef kubectl-exeat"), ("fish", "complete -c kubectl-exeat")]
    {
        let (code, out, _) = said(&["completions", shell]);
        assert!(code == 0 && out.contains(sign) && out.contains("sessions"), "{shell}: {out}");
    }
}

/// The program that kubectl starts. The shell reads it here: a file that was written a moment ago can't always be executed
/// ("Text file busy"), since another test that forks meanwhile takes its descriptor along.
#[test]
fn kubectl_is_told_what_may_follow() {
    let folder = super::Folder::new("complete");
    let script = folder.file("kubectl_complete-exeat", &said(&["completions", "kubectl"]).1);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_kubectl-exeat"));
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let output =
        std::process::Command::new("sh").arg(script).args(["policy", "li"]).env("PATH", path).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("lint\t") && said.ends_with("\n:4\n"), "{said}");
}

#[test]
fn a_cluster_that_is_not_there_is_told_and_nothing_hangs() {
    for arguments in [&["sessions"][..], &["doctor"], &["explain", "pod", "a"], &["--context", "none", "approvals"]] {
        let (code, _, err) = said(arguments);
        assert!(code == 1 && err.starts_with("error: the cluster can't be reached"), "{arguments:?}: {code} {err}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-exeat"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(!exeat(&["--version"]).stdout.is_empty());
}
