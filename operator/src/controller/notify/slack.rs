//! Items as one text for Slack, and for what is compatible with it. Pure.
//!
//! Much of the text was written by agents' authors. All of it stands in code spans and can't leave them: no mention, no link, no
//! formatting, no line of its own.

use super::item::Item;
use exeat_crds::text::sanitize;
use std::fmt::Write;

/// Slack advises 4,000 characters at most, and shows no more than 40,000.
pub(super) const MAX_TEXT: usize = 3_800;
/// Most items that are shown; the others are counted.
pub(super) const MAX_SHOWN: usize = 10;
/// An item that is longer is shown without what was claimed and changed.
const MAX_ITEM: usize = 1_200;
/// Room for the line that counts the others.
const REST: usize = 120;

/// The message's text.
pub(super) fn text(cluster: &str, items: &[Item]) -> String {
    let mut text = heading(cluster, items);
    let mut length = text.chars().count();
    let mut shown = 0;
    for item in items.iter().take(MAX_SHOWN) {
        let part = Some(full(item)).filter(|part| part.chars().count() <= MAX_ITEM).unwrap_or_else(|| brief(item));
        length += part.chars().count();
        if length > MAX_TEXT - REST {
            break;
        }
        text.push_str(&part);
        shown += 1;
    }
    let rest = items.len() - shown;
    if rest > 0 {
        let _ = write!(text, "\n… and {rest} more: `kubectl get approvals --all-namespaces`");
    }
    text
}

fn heading(cluster: &str, items: &[Item]) -> String {
    let count = |event: &str| items.iter().filter(|i| i.event == event).count();
    let parts = [("pending", "new"), ("reminder", "soon too late"), ("decided", "decided")];
    let parts: Vec<_> = parts
        .iter()
        .map(|(event, word)| (count(event), word))
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    format!("*Approvals* in cluster {}: {}", code(cluster, 128), parts.join(", "))
}

/// What every item says.
fn brief(item: &Item) -> String {
    let whole = format!("{}/{}", item.namespace, item.name);
    let workload = item.workload.as_ref().map(|w| format!("{}/{}", w.kind, w.name));
    let mut whom = workload.unwrap_or_else(|| format!("ServiceAccount/{}", item.service_account));
    if let Some(session) = &item.session {
        let _ = write!(whom, ", session {session} alone");
    }
    let verb = match item.event {
        "reminder" => "*still waits* for people",
        "pending" => "*waits* for people",
        _ => "*decided*",
    };
    let mut text =
        format!("\n• {verb}: {} for {} under policy {}", code(&whole, 320), code(&whom, 160), code(&item.policy, 160));
    if let Some(outcome) = &item.outcome {
        let _ = write!(text, "\n    {}: {}", item.phase.as_str(), code(outcome, 160));
    }
    if let Some(decide) = &item.decide {
        let _ = write!(text, "\n    until {}: {}", code(&item.deadline, 64), code(&decide.approve, 380));
    }
    text
}

fn full(item: &Item) -> String {
    let mut text = brief(item);
    let mut line = |name: &str, value: &str| {
        if !value.trim().is_empty() {
            let _ = write!(text, "\n    {name}: {}", code(value, 200));
        }
    };
    line("rules", &item.rules.join(", "));
    if item.decide.is_some() {
        let required: Vec<_> = item.required.iter().map(|r| format!("{} of {}", r.count, r.group)).collect();
        line("required", &required.join(", "));
        line("missing", &item.missing.join(", "));
    }
    line("asked by", item.requester.as_deref().unwrap_or_default());
    line("claimed reason, unchecked", item.claimed_justification.as_deref().unwrap_or_default());
    let changes = match &item.changes {
        None => "nothing was approved here before".to_owned(),
        Some(changes) if changes.is_empty() => "nothing".to_owned(),
        Some(changes) => changes.join("; "),
    };
    line("changed since the last approval", &changes);
    line("digest", &item.digest);
    text
}

/// Text of others as a code span of at most `max` of its characters. `@` and `://` are replaced too: some receivers look for mentions
/// and links in code.
fn code(text: &str, max: usize) -> String {
    let clean = sanitize(text);
    let clean = clean.trim();
    let mut span = String::from("`");
    let cut: String = clean.chars().take(max).collect();
    for c in cut.replace("://", "：//").chars() {
        match c {
            '&' => span.push_str("&amp;"),
            '<' => span.push_str("&lt;"),
            '>' => span.push_str("&gt;"),
            '`' => span.push('\''),
            '@' => span.push('＠'),
            c => span.push(c),
        }
    }
    if clean.chars().count() > max {
        span.push('…');
    }
    if clean.is_empty() {
        span.push('-');
    }
    span.push('`');
    span
}

#[cfg(test)]
#[path = "slack_tests.rs"]
mod tests;
