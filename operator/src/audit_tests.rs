use super::*;
use std::sync::Arc;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("no space left"))
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn session() -> CredentialSession {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "exeat.dev/v1alpha1", "kind": "CredentialSession",
        "metadata": {"name": "s-1", "namespace": "agents", "uid": "u1"},
        "spec": {"request": {
            "policyRef": {"name": "p", "uid": "pu"}, "providerRef": {"name": "aws"}, "authorityHash": "h", "number": 1,
            "agent": {"serviceAccount": "sa", "pod": {"name": "pod", "uid": "podu"}},
            "justification": "nightly\u{202E} report\n"
        }}
    }))
    .unwrap()
}

#[test]
fn a_line_is_one_json_object_with_its_place_in_the_sequence() {
    let sink = Sink::default();
    let audit = Audit::new("pod-a", "boot", "east", Box::new(sink.clone()));
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let event = AuditEvent::session_created(&session());
    assert!(audit.record(&event, now) && audit.record(&event, now));
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0]["sequence"].as_u64(), lines[1]["sequence"].as_u64()), (Some(0), Some(1)));
    assert_eq!(lines[0]["event"], "SessionCreated");
    assert_eq!(lines[0]["claimedJustification"], "nightly report");
    assert_eq!(lines[0]["cluster"], "east");
}

#[test]
fn a_full_disk_is_told_to_the_caller() {
    let audit = Audit::new("pod-a", "boot", "", Box::new(Full));
    assert!(!audit.record(&AuditEvent::session_created(&session()), Timestamp::UNIX_EPOCH));
}
