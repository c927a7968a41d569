//! What is known of watched objects without a walk over all of them.

mod approvals;
mod queue;
mod sessions;

pub(super) use queue::Queue;
pub(super) use sessions::Sessions;

use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use std::collections::HashMap;

/// An object.
pub(super) type Key<K> = ObjectRef<K>;

/// What an index says of the objects of one kind.
pub(super) trait View: Default {
    /// The kind.
    type Object: Resource<DynamicType = ()>;
    /// What counts of an object.
    type Known;

    /// Reads what counts.
    fn known(object: &Self::Object) -> Self::Known;
    /// Takes in an object that it does not hold.
    fn put(&mut self, key: &Key<Self::Object>, known: &Self::Known);
    /// Forgets an object that it holds.
    fn remove(&mut self, key: &Key<Self::Object>, known: &Self::Known);
}

/// Follows the watch of one kind.
pub(super) struct Index<V: View> {
    view: V,
    known: HashMap<Key<V::Object>, V::Known>,
    /// What a list that is not whole yet has brought.
    listed: HashMap<Key<V::Object>, V::Known>,
}

impl<V: View> Default for Index<V> {
    fn default() -> Self {
        Self { view: V::default(), known: HashMap::new(), listed: HashMap::new() }
    }
}

impl<V: View> Index<V> {
    /// Takes in what the watch says. A fresh list takes the place of all that was known once it is whole, as in the store.
    pub(super) fn follow(&mut self, event: &Event<V::Object>) {
        match event {
            Event::Apply(object) => self.put(ObjectRef::from_obj(object), V::known(object)),
            Event::Delete(object) => self.remove(&ObjectRef::from_obj(object)),
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => drop(self.listed.insert(ObjectRef::from_obj(object), V::known(object))),
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                *self = Self::default();
                listed.into_iter().for_each(|(key, known)| self.put(key, known));
            }
        }
    }

    /// What it says.
    pub(super) fn view(&self) -> &V {
        &self.view
    }

    /// Whether the watch has told of an object that is there.
    pub(super) fn has(&self, key: &Key<V::Object>) -> bool {
        self.known.contains_key(key)
    }

    fn put(&mut self, key: Key<V::Object>, known: V::Known) {
        self.remove(&key);
        self.view.put(&key, &known);
        self.known.insert(key, known);
    }

    fn remove(&mut self, key: &Key<V::Object>) {
        if let Some(known) = self.known.remove(key) {
            self.view.remove(key, &known);
        }
    }
}

/// Changes an entry, and drops it where `empties` says that nothing is left.
fn change<K, V>(map: &mut HashMap<K, V>, key: &K, empties: impl FnOnce(&mut V) -> bool)
where
    K: Eq + std::hash::Hash,
{
    if map.get_mut(key).is_some_and(empties) {
        map.remove(key);
    }
}
