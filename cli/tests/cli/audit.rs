//! `audit verify` and `audit export`.

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
