//! `audit verify` and `audit export`.

use super::server::{Said, Server, session};
use super::{Folder, said};
use exeat_audit::chain::{Chain, Origin};
use exeat_audit::heads::{Anchor, entry_name};
use exeat_audit::key::Key;
use jiff::Timestamp;
use serde_json::json;

/// A log of three records among other lines, its heads and its key.
fn log(folder: &Folder) -> (String, String, String) {
    let key = Key::parse(&"1".repeat(64)).unwrap();
    let origin = Origin { program: "issuer".into(), writer: "pod-a".into(), boot: "b0".into() };
    let mut chain = Chain::new(key.clone(), origin, "east");
    let mut lines = "{\"level\":\"INFO\"}\n".to_owned();
    for event in ["CredentialsIntended", "CredentialsIssued", "AccessRevoked"] {
        let event =
            json!({"event": event, "reason": "Active", "message": "a, \"b\"", "namespace": "agents", "session": "s-1"});
        let sealed = chain.seal(&event, 0, Timestamp::UNIX_EPOCH).unwrap();
        chain.advance(&sealed);
        lines += std::str::from_utf8(&sealed.line).unwrap();
    }
    let anchor = Anchor::new("issuer", key.id(), &chain.head().unwrap(), Timestamp::UNIX_EPOCH);
    let heads =
        json!({"kind": "ConfigMap", "data": {entry_name("pod-a", "b0"): serde_json::to_string(&anchor).unwrap()}});
    (folder.file("log", &lines), folder.file("heads", &heads.to_string()), folder.file("key", &key.to_text()))
}

#[test]
fn a_log_is_verified_as_the_controller_verifies_it() {
    let folder = Folder::new("verify");
    let (file, heads, key) = log(&folder);
    let key = format!("issuer={key}");
    let verify = |files: &[&str]| said(&[&["audit", "verify", "--key-file", &key, "--heads", &heads], files].concat());
    let (code, out, _) = verify(&[&file]);
    assert!(code == 0 && out.ends_with("3 records in 1 chains, 1 other lines, 0 findings\n"), "{out}");
    let text = std::fs::read_to_string(&file).unwrap();
    let (first, second) =
        text.split_at(text.find("CredentialsIssued").and_then(|at| text[..at].rfind('\n')).unwrap() + 1);
    let parts = [folder.file("one", first), folder.file("two", second)];
    let (code, out, _) = verify(&[&parts[0], &parts[1]]);
    assert!(code == 0 && out.contains("3 records"), "a rotated log is one log: {out}");
    let forged = folder.file("forged", &text.replace("\"namespace\":\"agents\"", "\"namespace\":\"others\""));
    let (code, out, _) = verify(&[&forged]);
    assert!(code == 1 && out.contains("Changed line=2"), "{out}");
    let (code, out, _) = verify(&[&parts[0]]);
    assert!(code == 1 && out.starts_with("Truncated"), "{out}");
    assert_eq!(verify(&["/nonexistent.ndjson"]).0, 2);
}

#[test]
fn records_are_exported_for_others() {
    let folder = Folder::new("export");
    let (file, ..) = log(&folder);
    let (code, out, err) = said(&["audit", "export", "-o", "json", &file]);
    let records: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, records.as_array().map(Vec::len), &records[1]["event"]),
        (0, Some(3), &json!("CredentialsIssued"))
    );
    assert!(err.contains("3 records, 1 other lines"), "{err}");
    let (code, out, _) = said(&["audit", "export", "-o", "csv", &file]);
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        code == 0 && lines.len() == 4 && lines[0].starts_with("time,program,") && lines[3].contains("\"a, \"\"b\"\"\""),
        "{out}"
    );
}

#[test]
fn what_verify_finds_is_told_to_programs_too() {
    let folder = Folder::new("verify-data");
    let (file, heads, key) = log(&folder);
    let key = format!("issuer={key}");
    let text = std::fs::read_to_string(&file).unwrap();
    let forged = folder.file("forged", &text.replacen("\"namespace\":\"agents\"", "\"namespace\":\"others\"", 1));
    for (file, code, findings) in [(&file, 0, 0), (&forged, 1, 1)] {
        let base = ["audit", "verify", "--key-file", &key, "--heads", &heads, file];
        let (ended, json, _) = said(&[&base[..], &["-o", "json"]].concat());
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((ended, report["findings"].as_array().map(Vec::len)), (code, Some(findings)), "{json}");
        let chain = &report["chains"][0];
        assert_eq!((&chain["writer"], &chain["last"], &report["otherLines"]), (&json!("pod-a"), &json!(2), &json!(1)));
        if findings > 0 {
            let first = &report["findings"][0];
            assert_eq!((&first["code"], &first["line"], &first["boot"]), (&json!("Changed"), &json!(2), &json!("b0")));
        }
        let (ended, yaml, _) = said(&[&base[..], &["-o", "yaml"]].concat());
        assert!(ended == code && yaml.contains("otherLines: 1"), "{yaml}");
    }
}

/// As `audit verify … | head -1` does it.
#[test]
fn a_reader_that_has_seen_enough_changes_no_verdict() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let folder = Folder::new("verify-head");
    // More findings than a pipe holds.
    let lines: String = (0..5000).map(|n| format!("{{\"audit\":\"exeat.dev/v1\",\"event\":{n}}}\n")).collect();
    let file = folder.file("log", &lines);
    for format in ["table", "json"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-exeat"))
            .args(["audit", "verify", "-o", format, &file])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(first.starts_with("Unreadable line=1") || format == "json", "{first}");
        assert_eq!(
            (output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()),
            (Some(1), ""),
            "{format}"
        );
    }
}

#[test]
fn a_log_that_can_not_be_read_is_missed_and_told() {
    let folder = Folder::new("missing-log");
    let records = std::fs::read_to_string(log(&folder).0).unwrap();
    let pods = ["exeat-controller-0", "exeat-issuer-0"].map(
        |name| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "exeat-system"}}),
    );
    for readable in [2, 1, 0] {
        let text = records.clone();
        let objects = [pods.to_vec(), vec![session("s-1", "Active")]].concat();
        let server = Server::with(&format!("logs-{readable}"), objects, move |_, asked| {
            let place =
                ["/exeat-controller-0/log", "/exeat-issuer-0/log"].iter().position(|log| asked.path.ends_with(log));
            match place {
                Some(place) if place < readable => Said::Text(text.clone()),
                Some(_) => Said::No(400, "the container waits to start"),
                None => Said::Usual,
            }
        });
        let (code, out, err) = server.said(&["audit", "show", "s-1", "-n", "agents"]);
        assert_eq!((code, out.contains("CredentialsIssued")), (i32::from(readable == 0), readable > 0), "{out}{err}");
        let missing = err.contains("the log of pod exeat-issuer-0 can't be read (the container waits to start)");
        assert_eq!(missing, readable == 1, "{err}");
        assert_eq!(err.contains("Events alone are shown"), readable == 0, "{err}");
    }
}
