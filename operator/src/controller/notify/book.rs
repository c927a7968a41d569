//! What this leader has told. The approvals' own condition says it to the next leader; between a message and that record, and while
//! the watch is behind, this does. Pure.

use super::args::EventKind;
use super::due::{Notice, due, on_record};
use exeat_crds::Approval;
use jiff::Timestamp;
use kube::ResourceExt;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// One approval, and what is told of it.
pub type Told = (Arc<Approval>, Notice);

/// What was told since this replica leads, by the approval's UID.
#[derive(Default)]
pub struct Book {
    told: HashMap<String, &'static str>,
    unrecorded: HashMap<String, Told>,
}

impl Book {
    /// What to tell now, what is nearest to its deadline first. Approvals that are gone are forgotten.
    pub fn due(&mut self, approvals: &[Arc<Approval>], events: &[EventKind], now: Timestamp) -> Vec<Told> {
        let alive: HashSet<_> = approvals.iter().filter_map(|a| a.uid()).collect();
        self.told.retain(|uid, _| alive.contains(uid));
        self.unrecorded.retain(|uid, _| alive.contains(uid));
        let notice = |approval: &Arc<Approval>| {
            let told = self.told.get(approval.metadata.uid.as_deref()?).copied().or(on_record(approval));
            due(approval, told, events, now).map(|notice| (Arc::clone(approval), notice))
        };
        let mut all: Vec<_> = approvals.iter().filter_map(notice).collect();
        all.sort_by_cached_key(|(a, _)| (a.spec.request.deadline.clone(), a.namespace(), a.name_any()));
        all
    }

    /// These were told.
    pub fn told(&mut self, told: impl IntoIterator<Item = Told>) {
        for (approval, notice) in told {
            let uid = approval.uid().unwrap_or_default();
            self.told.insert(uid.clone(), notice.reason());
            self.unrecorded.insert(uid, (approval, notice));
        }
    }

    /// What was told and is not on record yet.
    pub fn unrecorded(&self) -> Vec<Told> {
        self.unrecorded.values().cloned().collect()
    }

    /// It is on record.
    pub fn recorded(&mut self, approval: &Approval) {
        self.unrecorded.remove(approval.metadata.uid.as_deref().unwrap_or_default());
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
