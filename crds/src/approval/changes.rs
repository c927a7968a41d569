//! What differs between two requests, for people who have seen the first: fatigue comes from reading the same again.

use crate::rules::Statement;
use crate::text;
use crate::v1alpha1::ApprovalRequest;

/// Lines that are shown.
const MAX_LINES: usize = 16;
/// Bytes of a line.
const MAX_LINE: usize = 500;

/// What `new` asks that `old` did not, and the reverse. Empty: the same.
pub fn changes(old: &ApprovalRequest, new: &ApprovalRequest) -> Vec<String> {
    let mut lines = Vec::new();
    let (before, after) = (statements(&old.allow), statements(&new.allow));
    lines.extend(after.iter().filter(|s| !before.contains(s)).map(|s| format!("+ allow {s}")));
    lines.extend(before.iter().filter(|s| !after.contains(s)).map(|s| format!("- allow {s}")));
    lines.extend(old.deny.iter().filter(|d| !new.deny.contains(d)).map(|d| format!("- deny {d}")));
    lines.extend(new.deny.iter().filter(|d| !old.deny.contains(d)).map(|d| format!("+ deny {d}")));
    for (what, old, new) in [
        ("principal", &old.principal, &new.principal),
        ("duration", &old.duration, &new.duration),
        ("service account", &old.service_account, &new.service_account),
        ("provider", &old.provider_ref.name, &new.provider_ref.name),
    ] {
        if old != new {
            lines.push(format!("{what}: {old} → {new}"));
        }
    }
    if old.enforcement != new.enforcement {
        let shown =
            |request: &ApprovalRequest| request.enforcement.map_or("narrowed to what is allowed", |_| "PrincipalOnly");
        lines.push(format!("enforcement: {} → {}", shown(old), shown(new)));
    }
    if old.policy_ref.uid != new.policy_ref.uid {
        lines.push("the policy was deleted and made again".to_owned());
    }
    if lines.len() > MAX_LINES {
        let more = lines.len() - (MAX_LINES - 1);
        lines.truncate(MAX_LINES - 1);
        lines.push(format!("… and {more} more"));
    }
    lines.iter().map(|l| text::cut(l, MAX_LINE).to_owned()).collect()
}

/// One line for each action on each resource: statements are grouped as their author likes.
fn statements(allow: &[Statement]) -> Vec<String> {
    let pairs = allow
        .iter()
        .flat_map(|s| s.actions.iter().flat_map(|a| s.resources.iter().map(move |r| format!("{a} on {r}"))));
    pairs.collect()
}
