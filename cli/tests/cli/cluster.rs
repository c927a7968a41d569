//! Which cluster, which namespace, in which form; and a cluster that does not answer.

use super::server::{Said, Server, closed, kubeconfig, session, session_in};
use super::{Folder, on_terminal, said};
use serde_json::Value;
use std::net::TcpListener;

fn fleet() -> Vec<Value> {
    vec![session("mine", "Active"), session_in("others", "theirs", "Revoked")]
}

#[test]
fn a_context_leads_to_its_server_and_namespaces_are_kept_apart() {
    let server = Server::new("cluster-context", fleet());
    let (code, out, _) = server.said(&["sessions"]);
    assert!(code == 0 && out.contains("mine") && !out.contains("theirs"), "{out}");
    let (_, out, _) = server.said(&["sessions", "-n", "others"]);
    assert!(out.contains("theirs") && !out.contains("mine"), "{out}");
    let (_, out, _) = server.said(&["sessions", "-A"]);
    assert!(out.starts_with("NAMESPACE") && out.contains("theirs") && out.contains("mine"), "{out}");
    assert_eq!(server.said(&["--context", "here", "sessions"]).0, 0);
    let (code, _, err) = server.said(&["--context", "closed", "sessions"]);
    assert!(code == 1 && err.contains("the connection is refused"), "{err}");
    let (code, _, err) = server.said(&["--context", "none", "sessions"]);
    assert!(code == 1 && err.contains("none"), "{err}");
    let before = server.asked("GET").len();
    let (code, _, err) = server.said(&["sessions", "-A", "-n", "others"]);
    assert!(code == 2 && err.contains("contradict each other"), "{err}");
    let (code, _, err) = server.said(&["session", "mine", "-A"]);
    assert!(code == 2 && err.contains("name it with -n"), "{err}");
    assert_eq!(server.asked("GET").len(), before);
}

#[test]
fn every_form_shows_the_same() {
    let server = Server::new("cluster-forms", fleet());
    let (_, table, _) = server.said(&["sessions"]);
    let (_, wide, _) = server.said(&["sessions", "-o", "wide"]);
    assert!(!table.contains("ReplicaSet/fleet-7d") && wide.contains("ReplicaSet/fleet-7d"), "{table}{wide}");
    let (_, out, _) = server.said(&["sessions", "-o", "json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    let (_, out, _) = server.said(&["sessions", "-o", "yaml"]);
    let yaml: Value = serde_saphyr::from_str(&out).unwrap();
    assert_eq!((&json["kind"], &json["items"][0]["metadata"]["name"]), (&"List".into(), &"mine".into()));
    assert_eq!(json, yaml);
    let (_, out, err) = server.said(&["sessions", "-n", "none", "-o", "json"]);
    let none: Value = serde_json::from_str(&out).unwrap();
    assert!(none["items"].as_array().is_some_and(Vec::is_empty) && err.is_empty(), "{err}");
    let (_, out, _) = server.said(&["session", "mine", "-o", "yaml"]);
    assert_eq!(serde_saphyr::from_str::<Value>(&out).unwrap()["kind"], "CredentialSession");
}

#[test]
fn kubectl_is_told_names_of_the_cluster() {
    let hold = serde_json::json!({"apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialHold", "metadata": {"name": "incident"},
        "spec": {"namespace": "agents", "reason": "r"}});
    let server = Server::new("cluster-names", [fleet(), vec![session("ended", "Revoked"), hold]].concat());
    let complete = |words: &[&str]| {
        let config = server.arguments(&[]);
        said(&[&["__complete", "--"], &config[..], words].concat())
    };
    for (words, told) in [
        (&["session", ""][..], "ended\tRevoked, policy reader\nmine\tActive, policy reader\n:4\n"),
        (&["revoke", ""], "mine\tActive, policy reader\n:4\n"),
        (&["-n", "others", "session", "th"], "theirs\tRevoked, policy reader\n:4\n"),
        (&["release", "in"], "incident\tnamespace agents\n:4\n"),
        (&["approve", ""], ":4\n"),
        (&["--context", "closed", "session", ""], ":4\n"),
    ] {
        let (code, out, err) = complete(words);
        assert_eq!((code, out.as_str(), err.as_str()), (0, told, ""), "{words:?}");
    }
}

#[test]
fn colours_are_for_terminals() {
    let server = Server::new("cluster-colours", fleet());
    let sessions = server.arguments(&["sessions"]);
    let (code, text) = on_terminal(&sessions, "");
    assert!(code == 0 && text.contains("\u{1b}[32mActive\u{1b}[0m"), "{text:?}");
    for without in [&["--color=never"][..], &["--no-color=1"]] {
        let (_, text) = on_terminal(&[&sessions[..], without].concat(), "");
        assert!(text.contains("Active") && !text.contains('\u{1b}'), "{text:?}");
    }
    assert!(!said(&sessions).1.contains('\u{1b}'));
}

const COMMANDS: [&[&str]; 9] = [
    &["sessions"],
    &["session", "s"],
    &["approvals"],
    &["approve", "a", "b", "-m", "m", "--yes"],
    &["revoke", "s"],
    &["release", "h", "i"],
    &["watch"],
    &["explain", "pod", "p"],
    &["doctor"],
];

#[test]
fn a_server_that_is_not_there_is_named() {
    let folder = Folder::new("cluster-closed");
    let server = closed();
    let config = folder.file("kubeconfig", &kubeconfig(&[("c", &server)]));
    for command in COMMANDS {
        let (code, out, err) = said(&[&["--kubeconfig", &config], command].concat());
        let told = format!("error: the cluster can't be reached: {server}: the connection is refused");
        assert!(code == 1 && out.is_empty() && err.starts_with(&told), "{command:?}: {code} {out}{err}");
        assert!(err.contains("--context") && err.lines().count() == 1, "{command:?}: {err}");
    }
}

/// It takes connections and never says a word.
#[test]
fn a_server_that_is_mute_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = Folder::new("cluster-mute");
    let server = format!("http://{}", listener.local_addr().unwrap());
    let config = folder.file("kubeconfig", &kubeconfig(&[("c", &server)]));
    for command in [&["sessions"][..], &["watch"], &["explain", "pod", "p"], &["revoke", "s"]] {
        let (code, _, err) = said(&[&["--kubeconfig", &config, "--request-timeout", "1s"], command].concat());
        let told = format!("error: the cluster can't be reached: {server}: it does not answer in time");
        assert!(code == 1 && err.starts_with(&told), "{command:?}: {code} {err}");
    }
    let (_, help, _) = said(&["--help"]);
    assert!(help.contains("[default: 30s]"), "it is no five minutes: {help}");
}

#[test]
fn a_watch_that_may_not_read_ends() {
    for (number, refused) in ["credentialsessions", "approvals"].into_iter().enumerate() {
        let server = Server::with(&format!("cluster-watch-{number}"), fleet(), move |_, asked| {
            if asked.name() == refused { Said::No(403, "User \"u\" cannot list") } else { Said::Usual }
        });
        let (code, out, err) = server.said(&["watch"]);
        assert!(
            code == 1 && out.is_empty() && err.ends_with("can't be watched: User \"u\" cannot list\n"),
            "{code}: {err}"
        );
    }
}
