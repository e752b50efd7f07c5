//! All objects of a list at one revision.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdSet;

use super::item::{ByKey, Item};
use crate::store::Revision;

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
        let end = past(&self.prefix);
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.items.range::<_, str>((start, end)).map(|ByKey(item)| item)
    }
}

/// The first key behind all that begin with `prefix`; none where all keys do, or none lies behind them.
fn past(prefix: &str) -> Option<String> {
    let mut before = prefix.chars();
    match (before.next_back()?..=char::MAX).nth(1) {
        Some(next) => Some(format!("{}{next}", before.as_str())),
        None => past(before.as_str()),
    }
}

#[test]
fn what_lies_past_a_prefix() {
    for (prefix, end) in [
        ("", None),
        ("/registry/pods/", Some("/registry/pods0")),
        ("a\u{d7ff}", Some("a\u{e000}")),
        ("a\u{10ffff}", Some("b")),
        ("\u{10ffff}", None),
    ] {
        assert_eq!(past(prefix).as_deref(), end, "{prefix}");
    }
}
