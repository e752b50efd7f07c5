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

/// Objects ordered by namespace and name. A pointer each: there can be a hundred thousand, in several indexes.
struct Sorted<K>(Vec<Arc<K>>);

struct Index<K> {
    values: fn(&K) -> Vec<String>,
    objects: HashMap<String, Sorted<K>>,
}

pub(super) struct Store<K> {
    namespaces: BTreeMap<String, Sorted<K>>,
    indexes: HashMap<&'static str, Index<K>>,
    len: usize,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self { namespaces: BTreeMap::new(), indexes: HashMap::new(), len: 0 }
    }
}

impl<K> Default for Sorted<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Resource<DynamicType = ()>> Sorted<K> {
    fn find(&self, namespace: &str, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|object| coordinates(&**object).cmp(&(namespace, name)))
    }

    fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.find(namespace, name).ok().map(|at| &self.0[at])
    }

    /// Returns what was there under the same name.
    fn insert(&mut self, object: Arc<K>) -> Option<Arc<K>> {
        let (namespace, name) = coordinates(&*object);
        match self.find(namespace, name) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at], object)),
            Err(at) => {
                self.0.insert(at, object);
                None
            }
        }
    }

    fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let removed = self.find(namespace, name).ok().map(|at| self.0.remove(at));
        // What a large Deployment left behind is given back.
        if self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(self.0.len() * 2);
        }
        removed
    }
}

impl<K: Resource<DynamicType = ()>> Store<K> {
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.namespaces.get(namespace)?.get(namespace, name).cloned()
    }

    pub(super) fn list(&self) -> Vec<Arc<K>> {
        self.namespaces.values().flat_map(|objects| &objects.0).cloned().collect()
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.namespaces.get(namespace).map(|objects| objects.0.clone()).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn index(&mut self, name: &'static str, values: fn(&K) -> Vec<String>) {
        if self.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { values, objects: HashMap::new() };
        for object in self.namespaces.values().flat_map(|objects| &objects.0) {
            index.insert(object);
        }
        self.indexes.insert(name, index);
    }

    pub(super) fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let objects = self.indexes.get(name).and_then(|index| index.objects.get(value));
        objects.map(|objects| objects.0.clone()).unwrap_or_default()
    }

    /// Takes an object as the server told it. `None` when nothing changed.
    pub(super) fn apply(&mut self, object: Arc<K>) -> Option<Event<K>> {
        let (namespace, _) = coordinates(&*object);
        let old = match self.namespaces.get_mut(namespace) {
            Some(objects) => objects.insert(object.clone()),
            None => self.namespaces.entry(namespace.to_owned()).or_default().insert(object.clone()),
        };
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
        self.forget(&object)?;
        Some(Event::Deleted(object))
    }

    /// Makes the store hold just `objects`; tells each difference. Deletions come last, as upstream's relist does it.
    pub(super) fn replace(&mut self, objects: Vec<Arc<K>>) -> Vec<Event<K>> {
        let kept: BTreeSet<Key> = objects.iter().map(|object| key_of(&**object)).collect();
        let mut events: Vec<_> = objects.into_iter().filter_map(|object| self.apply(object)).collect();
        let gone: Vec<Arc<K>> = self.list().into_iter().filter(|object| !kept.contains(&key_of(&**object))).collect();
        events.extend(gone.iter().filter_map(|object| self.forget(object)).map(Event::Deleted));
        events
    }

    /// Forgets what has the name of `object`.
    fn forget(&mut self, object: &K) -> Option<Arc<K>> {
        let (namespace, name) = coordinates(object);
        let objects = self.namespaces.get_mut(namespace)?;
        let old = objects.remove(namespace, name)?;
        if objects.0.is_empty() {
            self.namespaces.remove(namespace);
        }
        self.len -= 1;
        for index in self.indexes.values_mut() {
            index.remove(&old);
        }
        Some(old)
    }
}

impl<K: Resource<DynamicType = ()>> Index<K> {
    fn insert(&mut self, object: &Arc<K>) {
        for value in (self.values)(object) {
            self.objects.entry(value).or_default().insert(object.clone());
        }
    }

    fn remove(&mut self, object: &K) {
        let (namespace, name) = coordinates(object);
        for value in (self.values)(object) {
            if let Some(objects) = self.objects.get_mut(&value) {
                objects.remove(namespace, name);
                if objects.0.is_empty() {
                    self.objects.remove(&value);
                }
            }
        }
    }
}

/// Namespace, empty for cluster-scoped kinds, and name.
fn coordinates<K: Resource>(object: &K) -> (&str, &str) {
    let meta = object.meta();
    (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

fn key_of<K: Resource>(object: &K) -> Key {
    let (namespace, name) = coordinates(object);
    Key::new(namespace.to_owned(), name.to_owned())
}

fn same_version<K: Resource>(a: &K, b: &K) -> bool {
    let (a, b) = (a.meta(), b.meta());
    a.resource_version.is_some() && a.resource_version == b.resource_version && a.uid == b.uid
}
