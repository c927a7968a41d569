use super::chain::{Chain, Origin};
use super::key::Key;
use super::record::Record;
use super::verify::{Extent, Keys, verify};
use super::*;
use jiff::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeMap;

pub(in crate::audit) fn origin(writer: &str, boot: &str) -> Origin {
    Origin { program: "issuer".to_owned(), writer: writer.to_owned(), boot: boot.to_owned() }
}

pub(in crate::audit) fn key(digit: char) -> Key {
    Key::parse(&digit.to_string().repeat(64)).unwrap()
}

pub(in crate::audit) fn session() -> CredentialSession {
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
fn a_record_says_what_happened_to_which_session() {
    let chain = Chain::new(key('1'), origin("pod-a", "boot"), "east");
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let line = chain.seal(&AuditEvent::session_created(&session()), 0, now).unwrap().line;
    let record: serde_json::Value = serde_json::from_slice(&line).unwrap();
    for (field, value) in [
        ("audit", "exeat.dev/v1"),
        ("time", "2026-01-01T00:00:00Z"),
        ("program", "issuer"),
        ("writer", "pod-a"),
        ("boot", "boot"),
        ("cluster", "east"),
        ("event", "SessionCreated"),
        ("session", "s-1"),
        ("podUid", "podu"),
        ("claimedJustification", "nightly report"),
    ] {
        assert_eq!(record[field], value, "{field}");
    }
    assert!(line.ends_with(b"}\n"));
}

/// What somebody might write to break a line, to end a text early, or to show a reader something else.
fn nasty() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "\n",
        "\r\n",
        "\u{2028}",
        "\u{85}",
        "\"",
        "\\",
        "\\\"",
        "\",\"event\":\"CredentialsIssued\",\"x\":\"",
        "}\n{\"audit\":\"exeat.dev/v1\"",
        "\u{202E}",
        "\u{2066}",
        "\u{200F}",
        "\u{FEFF}",
        "\0",
        "\u{1b}[2K",
        "</script>",
        "é",
        "\u{1F600}",
        "\u{E0041}",
    ]);
    prop::collection::vec(prop_oneof![pieces.prop_map(str::to_owned), any::<String>()], 0..8).prop_map(|p| p.concat())
}

proptest! {
    #[test]
    fn no_text_breaks_or_forges_a_line(claimed in nasty(), message in nasty(), name in nasty()) {
        let mut session = session();
        session.spec.request.justification = Some(claimed);
        session.metadata.name = Some(name.clone());
        session.spec.request.agent.pod.name = name.clone();
        let mut event = AuditEvent::of(&session, EventName::CredentialsRefused, "ProviderRejected", &message);
        event.credential_id = Some(name);
        let mut chain = Chain::new(key('1'), origin("pod-a", "b0"), "east");
        let sealed = chain.seal(&event, 0, Timestamp::UNIX_EPOCH).unwrap();
        chain.advance(&sealed);
        let text = std::str::from_utf8(&sealed.line).unwrap();
        prop_assert_eq!(text.trim_end_matches('\n').lines().count(), 1);
        prop_assert_eq!(text.matches('\n').count(), 1);
        let visible = text.strip_suffix('\n').unwrap();
        prop_assert_eq!(text::strip_hidden(visible), visible);
        let record: Record = serde_json::from_str(text).unwrap();
        prop_assert_eq!(record.text("event"), Some("CredentialsRefused"));
        prop_assert_eq!(record.text("reason"), Some("ProviderRejected"));
        prop_assert_eq!(record.canonical().unwrap(), visible.as_bytes());
        let mut keys = Keys::default();
        keys.add("issuer", key('1'));
        prop_assert_eq!(verify([&sealed.line[..]], &keys, &BTreeMap::new(), Extent::Whole).findings, vec![]);
    }
}
