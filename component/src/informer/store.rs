//! The objects of one kind with their indexes, and what each change means. Pure: no tasks, no network.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use kube::Resource;

use crate::key::Key;

/// A change of the local copy, after the fact.
#[derive(Debug)]
pub enum Event<K> {
    Added(Arc<K>),
    /// A relist that finds an object unchanged tells nothing.
    Updated {
        old: Arc<K>,
        new: Arc<K>,
    },
    /// With the last state that the server told.
    Deleted(Arc<K>),
}

impl<K> Event<K> {
    /// The object as it is now, or as it was last.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Deleted(object) | Self::Updated { new: object, .. } => object,
        }
    }

    /// The object before the change, where there was one that still is.
    pub fn old(&self) -> Option<&Arc<K>> {
        match self {
            Self::Updated { old, .. } => Some(old),
            Self::Added(_) | Self::Deleted(_) => None,
        }
    }
}

type Namespaces<K> = BTreeMap<String, BTreeMap<String, Arc<K>>>;

struct Index<K> {
    values: fn(&K) -> Vec<String>,
    keys: HashMap<String, BTreeSet<Key>>,
}

pub(super) struct Store<K> {
    objects: Namespaces<K>,
    indexes: HashMap<&'static str, Index<K>>,
    len: usize,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), indexes: HashMap::new(), len: 0 }
    }
}

impl<K: Resource<DynamicType = ()>> Store<K> {
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.objects.get(namespace)?.get(name).cloned()
    }

    pub(super) fn list(&self) -> Vec<Arc<K>> {
        self.objects.values().flat_map(BTreeMap::values).cloned().collect()
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.objects.get(namespace).map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn index(&mut self, name: &'static str, values: fn(&K) -> Vec<String>) {
        if self.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { values, keys: HashMap::new() };
        for object in self.objects.values().flat_map(BTreeMap::values) {
            index.insert(object);
        }
        self.indexes.insert(name, index);
    }

    pub(super) fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let keys = self.indexes.get(name).and_then(|index| index.keys.get(value));
        keys.into_iter().flatten().filter_map(|key| self.get(&key.namespace, &key.name)).collect()
    }

    /// Takes an object as the server told it. `None` when nothing changed.
    pub(super) fn apply(&mut self, object: Arc<K>) -> Option<Event<K>> {
        let key = key_of(&*object);
        let old = self.objects.entry(key.namespace).or_default().insert(key.name, object.clone());
        for index in self.indexes.values_mut() {
            if let Some(old) = &old {
                index.remove(old);
            }
            index.insert(&object);
        }
        let Some(old) = old else {
            self.len += 1;
            return Some(Event::Added(object));
        };
        // An object deleted and made again while the watch was away is told as an update, as upstream's informers do;
        // whoever cares compares the UIDs.
        (!same_version(&*old, &*object)).then_some(Event::Updated { old, new: object })
    }

    /// Forgets an object. The event carries `object`, the server's last word, or what was stored.
    pub(super) fn delete(&mut self, object: Arc<K>) -> Option<Event<K>> {
        let key = key_of(&*object);
        self.forget(&key)?;
        Some(Event::Deleted(object))
    }

    /// Makes the store hold just `objects`; tells each difference. Deletions come last, as upstream's relist does it.
    pub(super) fn replace(&mut self, objects: Vec<Arc<K>>) -> Vec<Event<K>> {
        let kept: BTreeSet<Key> = objects.iter().map(|object| key_of(&**object)).collect();
        let mut events: Vec<_> = objects.into_iter().filter_map(|object| self.apply(object)).collect();
        let gone: Vec<Key> = self.list().iter().map(|object| key_of(&**object)).filter(|k| !kept.contains(k)).collect();
        events.extend(gone.iter().filter_map(|key| self.forget(key)).map(Event::Deleted));
        events
    }

    fn forget(&mut self, key: &Key) -> Option<Arc<K>> {
        let namespace = self.objects.get_mut(&key.namespace)?;
        let old = namespace.remove(&key.name)?;
        if namespace.is_empty() {
            self.objects.remove(&key.namespace);
        }
        self.len -= 1;
        for index in self.indexes.values_mut() {
            index.remove(&old);
        }
        Some(old)
    }
}

impl<K: Resource<DynamicType = ()>> Index<K> {
    fn insert(&mut self, object: &K) {
        for value in (self.values)(object) {
            self.keys.entry(value).or_default().insert(key_of(object));
        }
    }

    fn remove(&mut self, object: &K) {
        let key = key_of(object);
        for value in (self.values)(object) {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
    }
}

fn key_of<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    Key::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn same_version<K: Resource>(a: &K, b: &K) -> bool {
    let (a, b) = (a.meta(), b.meta());
    a.resource_version.is_some() && a.resource_version == b.resource_version && a.uid == b.uid
}
