use super::super::due::Notice;
use super::super::fixtures::{approval, items, settle};
use super::*;
use exeat_crds::v1alpha1::ApprovalPhase;
use proptest::prelude::*;

#[test]
fn a_message_reads_like_this() {
    let expected = "*Approvals* in cluster `prod`: 1 new
• *waits* for people: `agents/a000` for `Deployment/reports` under policy `writer`
    until `2026-01-01T16:00:00Z`: `kubectl exeat approve -n agents a000 -m WHY`
    rules: `provider/deletes`
    required: `1 of security`
    missing: `security: 1 more`
    asked by: `alice＠example.com`
    claimed reason, unchecked: `clean up &lt;old&gt; reports`
    changed since the last approval: `+ s3:DeleteObject`
    digest: `d1`";
    assert_eq!(text("prod", &items(1)), expected);
    let denied = settle(approval("a"), ApprovalPhase::Denied, "bob said no", "2026-01-01T13:00:00Z");
    let denied = text("prod", &[Item::new(&denied, Notice::Decided(ApprovalPhase::Denied))]);
    assert!(denied.starts_with("*Approvals* in cluster `prod`: 1 decided\n• *decided*: `agents/a`"), "{denied}");
    assert!(denied.contains("\n    Denied: `bob said no`") && !denied.contains("kubectl"), "{denied}");
}

#[test]
fn many_are_counted_and_the_text_stays_short() {
    for count in [9, 10, 11, 500] {
        let text = text("prod", &items(count));
        let shown = text.matches("\n• ").count();
        assert!(shown > 0 && text.chars().count() <= MAX_TEXT, "{count}");
        let rest = format!("… and {} more", count - shown);
        assert_eq!(text.contains(&rest), shown < count, "{text}");
    }
}

#[test]
fn nobody_is_called_and_nothing_is_linked() {
    for (said, shown) in [
        ("<!channel> look", "`&lt;!channel&gt; look`"),
        ("@here &amp; @bob", "`＠here &amp;amp; ＠bob`"),
        ("<https://evil.example|approved>", "`&lt;https：//evil.example|approved&gt;`"),
        ("x` *bold* `y", "`x' *bold* 'y`"),
        ("a\n• *waits*", "`a• *waits*`"),
        (" \u{200B} ", "`-`"),
    ] {
        assert_eq!(code(said, 200), shown);
    }
    assert_eq!(code("abcdef", 3), "`abc…`");
}

/// Nothing but our own code spans, and nothing in them that a receiver acts on.
fn is_inert(text: &str) -> bool {
    let entities = text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "");
    !text.contains(['<', '>', '@', '\r']) && !text.contains("://") && !entities.contains('&')
}

/// Text that is likely to do harm, and any other.
fn said() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "<!channel>",
        "<@U1>",
        "@here",
        "&lt;",
        "&",
        "`",
        "```",
        "https://e.example",
        ":",
        "//",
        "\n",
        "\u{202E}",
        "*",
        "|",
        ">",
        "\n• *waits*",
    ]);
    prop_oneof![
        prop::collection::vec(pieces.prop_map(str::to_owned).boxed(), 0..300).prop_map(|p| p.concat()),
        any::<String>(),
        "\\PC{0,600}",
    ]
}

proptest! {
    #[test]
    fn a_span_can_not_be_left(said in said(), max in 1_usize..300) {
        let span = code(&said, max);
        let inner = span.strip_prefix('`').and_then(|s| s.strip_suffix('`')).unwrap();
        prop_assert!(!inner.is_empty() && !inner.contains('`') && !inner.chars().any(char::is_control), "{span}");
        prop_assert!(!inner.starts_with(char::is_whitespace), "{span}");
        prop_assert!(is_inert(&span), "{span}");
        prop_assert!(span.chars().count() <= 5 * max + 3);
    }

    #[test]
    fn whatever_others_write_a_message_keeps_its_shape(said in said(), who in said(), changed in said(), count in 1_usize..30) {
        let mut all = items(count);
        for item in &mut all {
            item.claimed_justification = Some(said.clone());
            item.requester = Some(who.clone());
            item.changes = Some(vec![changed.clone(); 16]);
            item.required[0].group = said.clone();
            item.missing = vec![who.clone(); 16];
        }
        let text = text(&who, &all);
        prop_assert!(is_inert(&text) && text.chars().count() <= MAX_TEXT, "{text}");
        let shown = text.lines().filter(|line| line.starts_with("• *waits* for people: `agents/a")).count();
        prop_assert!(shown > 0);
        let ours = ["*Approvals*", "• *waits*", "    ", "… and "];
        prop_assert!(text.lines().all(|line| ours.iter().any(|start| line.starts_with(start))), "{text}");
        prop_assert!(text.lines().all(|line| line.matches('`').count() % 2 == 0), "{text}");
        prop_assert_eq!(text.lines().any(|line| line.starts_with("… and ")), shown < count);
    }
}
