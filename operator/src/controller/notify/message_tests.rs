use super::super::due::Notice;
use super::super::fixtures::{approval, items, settle};
use super::*;
use clap::Parser;
use exeat_cli::args::Command;
use exeat_crds::v1alpha1::ApprovalPhase;
use serde_json::Value;

fn generic_of(items: &[Item]) -> (Value, usize) {
    let message = message(Format::Generic, "prod", items).unwrap();
    (serde_json::from_slice(&message.body).unwrap(), message.told)
}

#[test]
fn the_generic_format_says_all_that_approvers_should_know() {
    let expected = json!({
        "version": 1,
        "cluster": "prod",
        "items": [{
            "event": "pending",
            "uid": "uid-a000",
            "namespace": "agents",
            "name": "a000",
            "phase": "Pending",
            "policy": "writer",
            "provider": "aws",
            "workload": {"kind": "Deployment", "name": "reports"},
            "session": null,
            "serviceAccount": "agent",
            "principal": "arn:aws:iam::123456789012:role/r",
            "rules": ["provider/deletes"],
            "required": [{"group": "security", "count": 1}],
            "minimum": 1,
            "missing": ["security: 1 more"],
            "requester": "alice@example.com",
            "claimedJustification": "clean up <old> reports",
            "changes": ["+ s3:DeleteObject"],
            "deadline": "2026-01-01T16:00:00Z",
            "digest": "d1",
            "outcome": null,
            "decide": {
                "approve": "kubectl exeat approve -n agents a000 -m WHY",
                "deny": "kubectl exeat deny -n agents a000 -m WHY",
            },
        }],
    });
    assert_eq!(generic_of(&items(1)), (expected, 1));
}

#[test]
fn a_decision_has_its_outcome_and_nothing_to_decide() {
    let denied = settle(approval("a"), ApprovalPhase::Denied, "bob said no: not\u{202E} today", "2026-01-01T13:00:00Z");
    let (body, _) = generic_of(&[Item::new(&denied, Notice::Decided(ApprovalPhase::Denied))]);
    let item = &body["items"][0];
    assert_eq!((item["event"].as_str(), item["phase"].as_str()), (Some("decided"), Some("Denied")));
    assert_eq!((item["outcome"].as_str(), &item["decide"]), (Some("bob said no: not today"), &Value::Null));
}

#[test]
fn a_generic_message_is_bounded_and_says_how_far_it_came() {
    let (body, told) = generic_of(&items(MAX_ITEMS + 5));
    assert_eq!((body["items"].as_array().unwrap().len(), told), (MAX_ITEMS, MAX_ITEMS));
    let mut large = items(20);
    for item in &mut large {
        item.missing = vec!["x".repeat(MAX_BODY / 4)];
    }
    let (body, told) = generic_of(&large);
    assert_eq!((body["items"].as_array().unwrap().len(), told), (3, 3));
    large[0].missing = vec!["x".repeat(2 * MAX_BODY)];
    assert_eq!(generic_of(&large).1, 1);
}

#[test]
fn slack_gets_one_text_that_tells_of_all() {
    let message = message(Format::Slack, "prod", &items(30)).unwrap();
    let body: Value = serde_json::from_slice(&message.body).unwrap();
    assert_eq!((body.as_object().unwrap().len(), message.told), (1, 30));
    assert_eq!(body["text"], slack::text("prod", &items(30)));
}

/// What the plugin makes of a line that an approver copies: whether it is a yes, where, of what, and why.
fn read(line: &str) -> (bool, Option<String>, Vec<String>, String) {
    let words = line.strip_prefix("kubectl exeat ").unwrap().split(' ');
    let read = exeat_cli::Cli::try_parse_from(["kubectl-exeat"].into_iter().chain(words)).unwrap();
    let (yes, decided) = match read.command {
        Command::Approve(decided) => (true, decided),
        Command::Deny(decided) => (false, decided),
        other => panic!("{other:?}"),
    };
    (yes, read.global.namespace, decided.names, decided.message)
}

#[test]
fn the_plugin_takes_the_commands_as_they_are_told() {
    let mut longest = approval(&"n".repeat(253));
    longest.metadata.namespace = Some("m".repeat(63));
    for approval in [approval("a000"), longest] {
        let (namespace, name) = (approval.metadata.namespace.clone(), approval.metadata.name.clone().unwrap());
        let item = Item::new(&approval, Notice::Pending);
        let decide = item.decide.clone().unwrap();
        let meant = |yes| (yes, namespace.clone(), vec![name.clone()], "WHY".to_owned());
        assert_eq!((read(&decide.approve), read(&decide.deny)), (meant(true), meant(false)));
        let text = slack::text("prod", &[item]);
        let spans: Vec<&str> = text.split('`').filter(|span| span.starts_with("kubectl exeat ")).collect();
        assert_eq!(spans, [decide.approve], "Slack's readers see the whole line: {text}");
    }
}
