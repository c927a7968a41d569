//! What a revocation came to, provider by provider. Pure.

use crate::output::time;
use exeat_crds::CredentialSession;
use exeat_crds::text::strip_hidden;
use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Sessions that are revoked.
    pub revoked: usize,
    /// Those that are not, with the reason.
    pub failed: Vec<(String, String)>,
    /// How access ends at each provider.
    pub providers: BTreeMap<String, Ending>,
    /// When it was told.
    #[serde(skip)]
    pub now: Timestamp,
}

/// How access ends at one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// Sessions of it.
    pub sessions: usize,
    /// Sessions that never held a credential.
    pub without_credential: usize,
    /// `Immediate` or `ExpiryOnly`.
    pub mode: Option<String>,
    /// All access has ended by then at the latest.
    pub effective_by: Option<String>,
}

/// Sums up. The latest `effectiveBy` counts.
pub fn of(revoked: &[CredentialSession], failed: &[(String, String)], now: Timestamp) -> Summary {
    let mut providers: BTreeMap<String, Ending> = BTreeMap::new();
    for session in revoked {
        let ending = providers.entry(session.spec.request.provider_ref.name.clone()).or_default();
        ending.sessions += 1;
        let status = session.status.clone().unwrap_or_default();
        match status.revocation {
            None => ending.without_credential += 1,
            Some(revocation) => {
                ending.mode = Some(format!("{:?}", revocation.mode));
                ending.effective_by = ending.effective_by.take().max(Some(revocation.effective_by));
            }
        }
    }
    Summary { revoked: revoked.len(), failed: failed.to_vec(), providers, now }
}

/// For people.
pub fn words(summary: &Summary) -> String {
    let mut text = format!("{} sessions revoked", summary.revoked);
    if !summary.failed.is_empty() {
        let _ = write!(text, ", {} FAILED", summary.failed.len());
    }
    text.push('\n');
    for (provider, ending) in &summary.providers {
        let _ = write!(text, "  {}: {} sessions", strip_hidden(provider), ending.sessions);
        match (&ending.mode, &ending.effective_by) {
            (Some(mode), Some(by)) => {
                let left = time::until_text(Some(by), summary.now);
                let when = if left == "over" { "it has ended".to_owned() } else { format!("in {left} at the latest") };
                let _ = write!(text, "; {mode}: access ends by {by} ({when})");
            }
            _ => text.push_str("; no credential was handed out"),
        }
        text.push('\n');
    }
    for (name, why) in &summary.failed {
        let _ = writeln!(text, "  not revoked: {}: {}", strip_hidden(name), strip_hidden(why));
    }
    text
}

/// What would be revoked.
pub fn plan(open: &[&CredentialSession], deny_new: bool) -> String {
    const SHOWN: usize = 20;
    let new = if deny_new { ", and new ones would be held off" } else { "" };
    if open.is_empty() {
        return format!("no open session matches{new}\n");
    }
    let mut text = format!("{} open sessions match{new}:\n", open.len());
    for session in open.iter().take(SHOWN) {
        let request = &session.spec.request;
        let namespace = session.namespace().unwrap_or_default();
        let line = format!(
            "{namespace}/{}  pod {}, policy {}, provider {}",
            session.name_any(),
            request.agent.pod.name,
            request.policy_ref.name,
            request.provider_ref.name
        );
        let _ = writeln!(text, "  {}", strip_hidden(&line));
    }
    if open.len() > SHOWN {
        let _ = writeln!(text, "  … and {} more", open.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::filter::tests::session;

    #[test]
    fn the_latest_end_of_each_provider_is_told() {
        let (a, mut b, mut c) = (session("a", "Revoked"), session("b", "Revoked"), session("c", "Revoked"));
        b.status.as_mut().unwrap().revocation.as_mut().unwrap().effective_by = "2026-01-01T00:45:00Z".into();
        c.status.as_mut().unwrap().revocation = None;
        c.spec.request.provider_ref.name = "in-cluster".into();
        let summary = of(&[a, b, c], &[("d".into(), "forbidden".into())], "2026-01-01T00:30:00Z".parse().unwrap());
        assert_eq!(summary.providers["aws-prod"].effective_by.as_deref(), Some("2026-01-01T00:45:00Z"));
        assert_eq!(
            words(&summary),
            "3 sessions revoked, 1 FAILED\n  aws-prod: 2 sessions; ExpiryOnly: access ends by 2026-01-01T00:45:00Z (in 15m at the latest)\n  \
             in-cluster: 1 sessions; no credential was handed out\n  not revoked: d: forbidden\n"
        );
    }

    #[test]
    fn a_plan_is_bounded_and_says_where_there_is_nothing() {
        assert_eq!(plan(&[], false), "no open session matches\n");
        let one = session("a", "Active");
        let text = plan(&[&one; 25], true);
        assert!(
            text.starts_with("25 open sessions match, and new ones would be held off:\n  agents/a  pod a-pod"),
            "{text}"
        );
        assert!(text.ends_with("… and 5 more\n"));
    }
}
