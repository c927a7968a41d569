//! Readiness as latches: a process is ready when every part that asked to be waited for has said so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The latches of one process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    parts: BTreeMap<u64, String>,
}

impl Readiness {
    /// No latches: ready at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds readiness back until the latch is released or dropped. `part` is what `/readyz` names meanwhile.
    #[must_use = "dropping the latch at once releases it"]
    pub fn latch(&self, part: impl Into<String>) -> Latch {
        let mut waiting = self.lock();
        let id = waiting.next;
        waiting.next += 1;
        waiting.parts.insert(id, part.into());
        Latch { id, readiness: self.clone() }
    }

    /// Whether no latch is held.
    pub fn is_ready(&self) -> bool {
        self.lock().parts.is_empty()
    }

    /// The names of the parts that are not ready, oldest first.
    pub fn waiting_for(&self) -> Vec<String> {
        self.lock().parts.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds readiness back while it lives.
#[derive(Debug)]
pub struct Latch {
    id: u64,
    readiness: Readiness,
}

impl Latch {
    /// Says that the part is ready. The same as dropping the latch, by a name that says why.
    pub fn release(self) {}
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.readiness.lock().parts.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_latch_is_released_or_dropped() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let cache = readiness.latch("cache");
        let certificate = readiness.latch("certificate");
        assert!(!readiness.is_ready());
        assert_eq!(readiness.waiting_for(), ["cache", "certificate"]);
        cache.release();
        assert_eq!(readiness.waiting_for(), ["certificate"]);
        drop(certificate);
        assert!(readiness.is_ready());
    }

    #[test]
    fn two_parts_of_one_name_are_both_waited_for_and_a_part_may_fall_back() {
        let readiness = Readiness::new();
        let one = readiness.latch("cache");
        let two = readiness.latch("cache");
        one.release();
        assert_eq!(readiness.waiting_for(), ["cache"]);
        two.release();
        let _again = readiness.latch("cache");
        assert!(!readiness.is_ready());
    }
}
