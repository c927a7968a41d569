//! What a revocation came to, provider by provider. Pure.

use super::ledger::Ledger;
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
    /// Those of them that have not ended yet, as far as was waited for.
    pub not_ended: usize,
    /// Sessions that a revocation had ended before, and whose access may last.
    pub revoked_before: usize,
    /// Those that are not revoked, with the reason.
    pub failed: Vec<(String, String)>,
    /// How many were not tried, by namespace, since those before them failed for one and the same reason.
    pub not_tried: BTreeMap<String, usize>,
    /// How access ends at each provider, of all that are revoked.
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
pub fn of(ledger: &Ledger, now: Timestamp) -> Summary {
    let mut providers: BTreeMap<String, Ending> = BTreeMap::new();
    for session in ledger.revoked.values().chain(&ledger.before) {
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
    Summary {
        revoked: ledger.revoked.len(),
        not_ended: ledger.unended(),
        revoked_before: ledger.before.len(),
        failed: ledger.failed.clone(),
        not_tried: ledger.untried.clone(),
        providers,
        now,
    }
}

/// For people.
pub fn words(summary: &Summary) -> String {
    let mut text = format!("{} sessions revoked", summary.revoked);
    if summary.revoked_before > 0 {
        let _ = write!(text, ", {} more had ended so before", summary.revoked_before);
    }
    if summary.not_ended > 0 {
        let _ = write!(text, ", {} have not ended yet", summary.not_ended);
    }
    if !summary.failed.is_empty() {
        let _ = write!(text, ", {} FAILED", summary.failed.len());
    }
    if !summary.not_tried.is_empty() {
        let _ = write!(text, ", {} NOT TRIED", summary.not_tried.values().sum::<usize>());
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
    for (namespace, count) in &summary.not_tried {
        let _ = writeln!(text, "  not tried: {count} more in namespace {}", strip_hidden(namespace));
    }
    text
}

/// What would be revoked, for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Nothing was done.
    pub dry_run: bool,
    /// Whether new sessions would be held off.
    pub deny_new: bool,
    /// All that would be revoked.
    pub sessions: Vec<Planned>,
}

/// One session that would be revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "names alone")]
pub struct Planned {
    pub namespace: String,
    pub name: String,
    pub pod: String,
    pub policy: String,
    pub provider: String,
}

/// The whole plan.
pub fn planned(open: &[&CredentialSession], deny_new: bool) -> Plan {
    let one = |session: &&CredentialSession| {
        let request = &session.spec.request;
        Planned {
            namespace: session.namespace().unwrap_or_default(),
            name: session.name_any(),
            pod: request.agent.pod.name.clone(),
            policy: request.policy_ref.name.clone(),
            provider: request.provider_ref.name.clone(),
        }
    };
    Plan { dry_run: true, deny_new, sessions: open.iter().map(one).collect() }
}

/// What would be revoked, for people.
pub fn plan(open: &[&CredentialSession], about: &str, deny_new: bool) -> String {
    const SHOWN: usize = 20;
    let new = if deny_new { ", and new ones would be held off" } else { "" };
    if open.is_empty() {
        return format!("no open session matches{about}{new}\n");
    }
    let mut text = format!("{} open sessions match{about}{new}:\n", open.len());
    for one in planned(&open[..open.len().min(SHOWN)], deny_new).sessions {
        let Planned { namespace, name, pod, policy, provider } = one;
        let line = format!("{namespace}/{name}  pod {pod}, policy {policy}, provider {provider}");
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
        let mut ledger = Ledger::default();
        [a, b, c].into_iter().for_each(|session| ledger.revoked(session));
        ledger.failed.push(("d".into(), "forbidden".into()));
        let now = "2026-01-01T00:30:00Z".parse().unwrap();
        let summary = of(&ledger, now);
        assert_eq!(summary.providers["aws-prod"].effective_by.as_deref(), Some("2026-01-01T00:45:00Z"));
        assert_eq!(
            words(&summary),
            "3 sessions revoked, 1 FAILED\n  aws-prod: 2 sessions; ExpiryOnly: access ends by 2026-01-01T00:45:00Z (in 15m at the latest)\n  \
             in-cluster: 1 sessions; no credential was handed out\n  not revoked: d: forbidden\n"
        );
        let mut later = session("e", "Revoked");
        later.status.as_mut().unwrap().revocation.as_mut().unwrap().effective_by = "2026-01-01T00:50:00Z".into();
        ledger = Ledger::new(&[later], now);
        ledger.not_tried("agents");
        let text = words(&of(&ledger, now));
        assert_eq!(
            text,
            "0 sessions revoked, 1 more had ended so before, 1 NOT TRIED\n  aws-prod: 1 sessions; ExpiryOnly: access ends by \
             2026-01-01T00:50:00Z (in 20m at the latest)\n  not tried: 1 more in namespace agents\n"
        );
    }

    #[test]
    fn a_plan_is_bounded_and_says_where_there_is_nothing() {
        let about = " in namespace agents";
        assert_eq!(plan(&[], about, false), "no open session matches in namespace agents\n");
        let one = session("a", "Active");
        let text = plan(&[&one; 25], about, true);
        assert!(
            text.starts_with(
                "25 open sessions match in namespace agents, and new ones would be held off:\n  agents/a  pod a-pod"
            ),
            "{text}"
        );
        assert!(text.ends_with("… and 5 more\n"));
        assert_eq!(planned(&[&one; 25], true).sessions.len(), 25, "programs are told all");
    }
}
