//! All objects of a list at one revision.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdSet;

use super::item::{ByKey, Item};
use crate::store::{Revision, prefix_end};

/// Objects under one prefix, in key order, at one revision. It shares the cache's memory: making one costs nothing, and
/// keeping one costs what has changed since.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) items: OrdSet<ByKey>,
    pub(super) prefix: Box<str>,
    pub(super) revision: Revision,
}

impl Snapshot {
    /// The list's `resourceVersion`: it holds exactly what existed at this revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Item>> {
        self.from(Bound::Included(&self.prefix))
    }

    /// Those whose key is greater than `key`: the rest of a list that was answered up to `key`.
    pub fn iter_after<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Arc<Item>> {
        let start = if key < &*self.prefix { Bound::Included(&*self.prefix) } else { Bound::Excluded(key) };
        self.from(start)
    }

    pub fn get(&self, key: &str) -> Option<&Arc<Item>> {
        if !key.starts_with(&*self.prefix) {
            return None;
        }
        self.items.get(key).map(|ByKey(item)| item)
    }

    fn from<'a>(&'a self, start: Bound<&'a str>) -> impl Iterator<Item = &'a Arc<Item>> {
        let end = prefix_end(&self.prefix);
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.items.range::<_, str>((start, end)).map(|ByKey(item)| item)
    }
}
