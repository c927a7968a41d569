//! What was told since the last write, and how it joins what a policy's status says. Pure.

use crate::v1alpha1::{Suggested, SuggestedAction};
use crate::{condition, text};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Most actions that are kept for one policy.
pub const MAX_ACTIONS: usize = 128;
/// Longest action and longest resource that is kept, bytes.
pub const MAX_TEXT: usize = 256;
/// Most workloads that are named.
const MAX_WORKLOADS: usize = 16;
/// Longest name of a workload, bytes.
const MAX_WORKLOAD: usize = 320;

/// One action, and what it was used on where that is seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Use {
    /// As a policy writes it.
    pub action: String,
    /// On what.
    pub resource: Option<String>,
}

/// What one pod told of one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Calls.
    pub calls: u32,
    /// Those of them that were refused for want of rights.
    pub denied: u32,
    /// Whether its pod tells of it for the first time.
    pub first: bool,
    /// Whether it is only assumed that the calls need this action.
    pub unsure: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    calls: i64,
    denied: i64,
    pods: i32,
    unsure: bool,
    seen: Option<Timestamp>,
}

/// What was told since the last write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    since: Option<Timestamp>,
    seen: Option<Timestamp>,
    sessions: i64,
    workloads: BTreeSet<String>,
    uses: BTreeMap<Use, Tally>,
    omitted: i64,
}

impl Delta {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// A session told something at `now`.
    pub fn session(&mut self, workload: &str, first: bool, now: Timestamp) {
        self.since = Some(self.since.map_or(now, |since| since.min(now)));
        self.seen = Some(self.seen.map_or(now, |seen| seen.max(now)));
        self.sessions = self.sessions.saturating_add(i64::from(first));
        if self.workloads.len() < MAX_WORKLOADS {
            self.workloads.insert(text::cut(&text::sanitize(workload), MAX_WORKLOAD).to_owned());
        }
    }

    /// It used this. What has no place is counted as left out.
    pub fn used(&mut self, what: Use, told: Told, now: Timestamp) {
        let long = what.action.len() > MAX_TEXT || what.resource.as_ref().is_some_and(|r| r.len() > MAX_TEXT);
        if long || (self.uses.len() >= MAX_ACTIONS && !self.uses.contains_key(&what)) {
            self.omit(u64::from(told.calls));
            return;
        }
        let tally = self.uses.entry(what).or_default();
        tally.calls = tally.calls.saturating_add(i64::from(told.calls));
        tally.denied = tally.denied.saturating_add(i64::from(told.denied.min(told.calls)));
        tally.pods = tally.pods.saturating_add(i32::from(told.first));
        tally.unsure |= told.unsure;
        tally.seen = tally.seen.max(Some(now));
    }

    /// So many calls could not be kept.
    pub fn omit(&mut self, calls: u64) {
        self.omitted = self.omitted.saturating_add(i64::try_from(calls).unwrap_or(i64::MAX));
    }

    /// Takes what was told later, where a write has failed.
    pub fn join(&mut self, later: Self) {
        self.since = self.since.into_iter().chain(later.since).min();
        self.seen = self.seen.max(later.seen);
        self.sessions = self.sessions.saturating_add(later.sessions);
        self.omitted = self.omitted.saturating_add(later.omitted);
        for workload in later.workloads {
            if self.workloads.len() < MAX_WORKLOADS {
                self.workloads.insert(workload);
            }
        }
        for (what, told) in later.uses {
            if self.uses.len() >= MAX_ACTIONS && !self.uses.contains_key(&what) {
                self.omitted = self.omitted.saturating_add(told.calls);
                continue;
            }
            let tally = self.uses.entry(what).or_default();
            *tally = tally.with(told);
        }
    }

    /// What the status says with it. What was used at another provider or by another identity is left behind.
    pub fn onto(&self, old: Option<&Suggested>, provider: &str, principal: &str) -> Suggested {
        let old = old.filter(|old| old.provider == provider && old.principal == principal).cloned().unwrap_or_default();
        let written = |at: Option<Timestamp>| at.map(|at| condition::whole_seconds(at).to_string()).unwrap_or_default();
        let mut omitted = old.omitted.saturating_add(self.omitted);
        let mut uses: BTreeMap<Use, Tally> = old.actions.iter().map(read).collect();
        for (what, told) in &self.uses {
            if uses.len() >= MAX_ACTIONS && !uses.contains_key(what) {
                omitted = omitted.saturating_add(told.calls);
                continue;
            }
            let tally = uses.entry(what.clone()).or_default();
            *tally = tally.with(*told);
        }
        let mut workloads = old.workloads;
        for workload in &self.workloads {
            if workloads.len() < MAX_WORKLOADS && !workloads.contains(workload) {
                workloads.push(workload.clone());
            }
        }
        let since = if old.since.is_empty() { written(self.since) } else { old.since };
        let last_seen = if self.seen.is_some() { written(self.seen) } else { old.last_seen };
        Suggested {
            provider: provider.to_owned(),
            principal: principal.to_owned(),
            since,
            last_seen,
            sessions: old.sessions.saturating_add(self.sessions),
            workloads,
            actions: uses.into_iter().map(|(what, tally)| tally.shown(what, &written)).collect(),
            omitted,
        }
    }
}

impl Tally {
    fn with(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            denied: self.denied.saturating_add(other.denied),
            pods: self.pods.saturating_add(other.pods),
            unsure: self.unsure || other.unsure,
            seen: self.seen.max(other.seen),
        }
    }

    fn shown(self, what: Use, written: &impl Fn(Option<Timestamp>) -> String) -> SuggestedAction {
        SuggestedAction {
            action: what.action,
            resource: what.resource,
            calls: self.calls,
            denied: self.denied,
            pods: self.pods,
            last_seen: written(self.seen),
            unsure: self.unsure,
        }
    }
}

fn read(old: &SuggestedAction) -> (Use, Tally) {
    let tally = Tally {
        calls: old.calls,
        denied: old.denied,
        pods: old.pods,
        unsure: old.unsure,
        seen: old.last_seen.parse().ok(),
    };
    (Use { action: old.action.clone(), resource: old.resource.clone() }, tally)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONCE: Told = Told { calls: 1, denied: 0, first: true, unsure: false };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    fn of(action: &str) -> Use {
        Use { action: action.into(), resource: None }
    }

    #[test]
    fn what_is_told_adds_up_and_another_identity_begins_anew() {
        let mut delta = Delta::default();
        assert!(delta.is_empty());
        delta.session("Deployment/reports", true, at(0));
        delta.used(of("s3:GetObject"), Told { calls: 3, denied: 1, ..ONCE }, at(0));
        let first = delta.onto(None, "aws", "role");
        let again = delta.onto(Some(&first), "aws", "role");
        assert_eq!((again.sessions, again.workloads.len(), again.since.as_str()), (2, 1, "2026-01-01T00:00:00Z"));
        let [one] = again.actions.as_slice() else { panic!("{again:?}") };
        assert_eq!((one.calls, one.denied, one.pods), (6, 2, 2));
        assert_eq!(delta.onto(Some(&first), "aws", "other").actions[0].calls, 3);
    }

    #[test]
    fn a_flood_of_names_is_counted_and_not_kept() {
        let mut delta = Delta::default();
        for i in 0..1000 {
            delta.used(of(&format!("s3:Made{i}")), ONCE, at(i));
            delta.session(&format!("Pod/p-{i}"), true, at(i));
        }
        delta.used(of(&"x".repeat(MAX_TEXT + 1)), ONCE, at(0));
        let told = delta.onto(None, "aws", "role");
        assert_eq!((told.actions.len(), told.workloads.len()), (MAX_ACTIONS, MAX_WORKLOADS));
        assert_eq!(told.omitted, 1001 - i64::try_from(MAX_ACTIONS).unwrap());
        assert!(serde_json::to_string(&told).unwrap().len() < 64 * 1024);
    }

    proptest! {
        /// No call is lost or counted twice, whether writes pass one by one, all at once, or fail and are joined.
        #[test]
        fn the_way_of_writing_changes_nothing(told in prop::collection::vec((0_u8..200, 1_u32..9, any::<bool>()), 0..300), cut in 0_usize..300) {
            let cut = cut.min(told.len());
            let gather = |told: &[(u8, u32, bool)]| {
                let mut delta = Delta::default();
                for (name, calls, denied) in told {
                    let told = Told { calls: *calls, denied: if *denied { *calls } else { 0 }, first: false, unsure: false };
                    delta.session("Job/j", false, at(i64::from(*name)));
                    delta.used(of(&format!("s3:A{name}")), told, at(i64::from(*name)));
                }
                delta
            };
            let once = gather(&told).onto(None, "p", "r");
            let (mut early, late) = (gather(&told[..cut]), gather(&told[cut..]));
            let stepwise = late.onto(Some(&early.onto(None, "p", "r")), "p", "r");
            early.join(late);
            let joined = early.onto(None, "p", "r");
            let calls = |s: &Suggested| s.actions.iter().map(|a| a.calls).sum::<i64>() + s.omitted;
            let all: i64 = told.iter().map(|(_, calls, _)| i64::from(*calls)).sum();
            prop_assert_eq!([calls(&once), calls(&stepwise), calls(&joined)], [all; 3]);
            // Beyond the bound it counts who came first.
            prop_assert!(once.omitted > 0 || once.actions == joined.actions);
            prop_assert!(once.actions.iter().all(|a| a.denied <= a.calls));
        }
    }
}
