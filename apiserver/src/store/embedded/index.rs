//! Which versions of which keys exist, and where their values lie. In memory; values are not. Pure.

use std::collections::BTreeMap;
use std::ops::Bound;

/// One write of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) modified: u64,
    /// 0 for a deletion.
    pub(super) created: u64,
    /// Saturates; no one counts that far.
    pub(super) version: u32,
    pub(super) place: Place,
}

/// Where a value lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
}

impl Version {
    pub(super) fn is_deletion(&self) -> bool {
        self.created == 0
    }
}

#[derive(Debug)]
struct History {
    latest: Version,
    /// Ascending; empty for most keys most of the time.
    older: Vec<Version>,
}

impl History {
    fn at(&self, revision: u64) -> Option<&Version> {
        if self.latest.modified <= revision {
            return Some(&self.latest);
        }
        self.older.iter().rev().find(|version| version.modified <= revision)
    }
}

#[derive(Debug, Default)]
pub(super) struct Index {
    keys: BTreeMap<Box<str>, History>,
}

/// A version that a compaction has forgotten.
pub(super) struct Forgotten {
    pub(super) place: Place,
    pub(super) key_length: usize,
}

impl Index {
    /// The newest version, unless that is a deletion.
    pub(super) fn current(&self, key: &str) -> Option<&Version> {
        self.keys.get(key).map(|history| &history.latest).filter(|version| !version.is_deletion())
    }

    /// The version that was newest at `revision`, unless that is a deletion.
    pub(super) fn at(&self, key: &str, revision: u64) -> Option<&Version> {
        self.keys.get(key)?.at(revision).filter(|version| !version.is_deletion())
    }

    /// Whether this very version is known, deletions too.
    pub(super) fn holds(&self, key: &str, modified: u64) -> bool {
        self.keys.get(key).is_some_and(|history| {
            history.latest.modified == modified || history.older.iter().any(|version| version.modified == modified)
        })
    }

    /// All keys from `start` to before `end` that existed at `revision`.
    pub(super) fn range<'a>(
        &'a self,
        start: &'a str,
        end: Option<&'a str>,
        revision: u64,
    ) -> impl Iterator<Item = (&'a str, &'a Version)> {
        // A BTreeMap panics on a range that ends before it begins.
        let empty = end.is_some_and(|end| end <= start);
        let bounds = (Bound::Included(start), end.filter(|_| !empty).map_or(Bound::Unbounded, Bound::Excluded));
        let keys = if empty { None } else { Some(self.keys.range::<str, _>(bounds)) };
        keys.into_iter().flatten().filter_map(move |(key, history)| {
            let version = history.at(revision).filter(|version| !version.is_deletion())?;
            Some((&**key, version))
        })
    }

    /// Adds a version, newer than all of its key.
    pub(super) fn push(&mut self, key: &str, version: Version) {
        match self.keys.get_mut(key) {
            Some(history) => {
                let older = std::mem::replace(&mut history.latest, version);
                history.older.push(older);
            }
            None => {
                self.keys.insert(key.into(), History { latest: version, older: Vec::new() });
            }
        }
    }

    /// Forgets all that a read at `revision` or later cannot find, and tells each version forgotten.
    pub(super) fn compact(&mut self, revision: u64, mut forgotten: impl FnMut(Forgotten)) {
        self.keys.retain(|key, history| {
            let mut forget = |version: &Version| forgotten(Forgotten { place: version.place, key_length: key.len() });
            let superseded = |next: &Version| next.modified <= revision;
            let count = history.older.len();
            let keep_from = (0..count)
                .find(|&at| !superseded(history.older.get(at + 1).unwrap_or(&history.latest)))
                .unwrap_or(count);
            history.older.drain(..keep_from).for_each(|version| forget(&version));
            if history.older.first().is_some_and(|first| first.is_deletion() && first.modified <= revision) {
                forget(&history.older.remove(0));
            }
            if history.older.is_empty() {
                history.older = Vec::new();
            }
            let gone = history.older.is_empty() && history.latest.is_deletion() && history.latest.modified <= revision;
            if gone {
                forget(&history.latest);
            }
            !gone
        });
    }

    /// The value of this version now lies elsewhere.
    pub(super) fn relocate(&mut self, key: &str, modified: u64, place: Place) {
        let Some(history) = self.keys.get_mut(key) else { return };
        if history.latest.modified == modified {
            history.latest.place = place;
        } else if let Some(version) = history.older.iter_mut().find(|version| version.modified == modified) {
            version.place = place;
        }
    }

    /// Keys known, deleted ones that are not compacted yet too.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(modified: u64, created: u64) -> Version {
        Version { modified, created, version: 1, place: Place { segment: 1, offset: modified as u32, length: 1 } }
    }

    fn deletion(modified: u64) -> Version {
        Version { modified, created: 0, version: 0, place: Place::default() }
    }

    fn sample() -> Index {
        let mut index = Index::default();
        for (key, version) in [
            ("/a", put(2, 2)),
            ("/b", put(3, 3)),
            ("/a", put(4, 2)),
            ("/b", deletion(5)),
            ("/c", put(6, 6)),
            ("/b", put(7, 7)),
            ("/c", deletion(8)),
        ] {
            index.push(key, version);
        }
        index
    }

    fn keys(index: &Index, revision: u64) -> Vec<(String, u64)> {
        index.range("", None, revision).map(|(key, version)| (key.to_owned(), version.modified)).collect()
    }

    fn named(keys: &[(&str, u64)]) -> Vec<(String, u64)> {
        keys.iter().map(|(key, revision)| ((*key).to_owned(), *revision)).collect()
    }

    #[test]
    fn ranges_at_every_revision_before_and_after_compaction() {
        let truth: [(u64, &[(&str, u64)]); 8] = [
            (1, &[]),
            (2, &[("/a", 2)]),
            (3, &[("/a", 2), ("/b", 3)]),
            (4, &[("/a", 4), ("/b", 3)]),
            (5, &[("/a", 4)]),
            (6, &[("/a", 4), ("/c", 6)]),
            (7, &[("/a", 4), ("/b", 7), ("/c", 6)]),
            (8, &[("/a", 4), ("/b", 7)]),
        ];
        for compacted in 0..=8 {
            let mut index = sample();
            index.compact(compacted, |_| {});
            for (revision, want) in &truth {
                if *revision >= compacted {
                    assert_eq!(keys(&index, *revision), named(want), "at {revision}, compacted at {compacted}");
                }
            }
        }
    }

    #[test]
    fn compaction_tells_what_it_forgets() {
        for (compacted, want) in [(2, 0), (4, 1), (5, 3), (7, 3), (8, 5)] {
            let (mut index, mut count) = (sample(), 0);
            index.compact(compacted, |_| count += 1);
            assert_eq!(count, want, "compacted at {compacted}");
        }
        let mut index = sample();
        index.compact(8, |_| {});
        assert_eq!(index.len(), 2);
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_empty() {
        assert_eq!(sample().range("/b", Some("/a"), 8).count(), 0);
        assert_eq!(sample().range("/a", Some("/a"), 8).count(), 0);
        assert_eq!(sample().range("/a", Some("/b"), 8).count(), 1);
    }
}
