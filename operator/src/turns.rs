//! Whose turn it is. A namespace has few of the turns that there are: a thousand sessions of one that end at once, or a storm of its requests,
//! hold up nobody else's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns for one kind of work. Whoever waits gets his in the order of coming.
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    of_namespace: usize,
    namespaces: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// One turn, until it is dropped.
pub(crate) struct Turn {
    _of_namespace: Option<OwnedSemaphorePermit>,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// `all` at once, `of_namespace` of one namespace among them; at least one of each.
    pub(crate) fn new(all: usize, of_namespace: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all.max(1))),
            of_namespace: of_namespace.max(1),
            namespaces: Mutex::default(),
        }
    }

    /// Waits for a turn. A namespace's own comes first: who waits for it takes nothing from the others.
    pub(crate) async fn take(&self, namespace: &str) -> Turn {
        // They are never closed.
        let of_namespace = self.of(namespace).acquire_owned().await.ok();
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        Turn { _of_namespace: of_namespace, _of_all: of_all }
    }

    fn of(&self, namespace: &str) -> Arc<Semaphore> {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = namespaces.get(namespace).and_then(Weak::upgrade) {
            return turns;
        }
        namespaces.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Semaphore::new(self.of_namespace));
        namespaces.insert(namespace.to_owned(), Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::future::BoxFuture;

    fn waiting<'a>(turns: &'a Turns, namespace: &'static str, count: usize) -> Vec<BoxFuture<'a, Turn>> {
        (0..count).map(|_| turns.take(namespace).boxed()).collect()
    }

    /// Those that have got their turn; the others wait on.
    fn got(waiting: &mut Vec<BoxFuture<'_, Turn>>) -> Vec<Turn> {
        let mut got = Vec::new();
        waiting.retain_mut(|turn| turn.now_or_never().map(|turn| got.push(turn)).is_none());
        got
    }

    #[test]
    fn a_crowd_of_one_namespace_leaves_half_of_the_turns_to_the_others() {
        let turns = Turns::new(8, 4);
        let mut crowd = waiting(&turns, "noisy", 1000);
        let mut taken = got(&mut crowd);
        assert_eq!(taken.len(), 4);
        let mut quiet = waiting(&turns, "quiet", 1);
        assert_eq!(got(&mut quiet).len(), 1, "it comes last and need not wait");
        assert!(got(&mut crowd).is_empty(), "its own turns are taken");
        taken.pop();
        assert_eq!(got(&mut crowd).len(), 1);
    }

    #[test]
    fn there_are_no_more_turns_than_said_however_many_namespaces_ask() {
        let turns = Turns::new(8, 4);
        let mut all: Vec<_> = ["a", "b", "c", "d"].into_iter().flat_map(|n| waiting(&turns, n, 100)).collect();
        let mut taken = got(&mut all);
        assert_eq!(taken.len(), 8);
        let mut late = waiting(&turns, "late", 1);
        assert!(got(&mut late).is_empty());
        // Whoever came before has a few of each namespace in front, not the whole of a crowd.
        for freed in 0..=8 {
            taken.pop();
            taken.extend(got(&mut all));
            if !got(&mut late).is_empty() {
                assert!(freed > 0);
                return;
            }
        }
        panic!("a crowd is in front");
    }

    #[test]
    fn a_single_turn_serves_everybody_and_nothing_is_kept_of_who_left() {
        let turns = Turns::new(0, 0);
        for namespace in ["", "a", "b"] {
            assert_eq!(got(&mut waiting(&turns, namespace, 3)).len(), 1);
        }
        turns.of("c");
        assert!(turns.namespaces.lock().unwrap().len() <= 1);
    }
}
