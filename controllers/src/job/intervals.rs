//! Sets of completion indexes as ordered intervals, and their text (`1,3-5,7`) in a Job's status.
//!
//! Pure. Concepts: "Jobs", "Completion mode". The text is part of the API: two neighbours are written as `3,4`, more as
//! `3-5`.

use std::collections::BTreeSet;
use std::fmt;

/// Inclusive bounds, ascending, never touching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Intervals(Vec<(i32, i32)>);

impl Intervals {
    /// Reads the text as far as `completions` goes. What is no number is passed over: a status that somebody edited must
    /// not stop its Job.
    pub(super) fn parse(text: &str, completions: i32) -> Self {
        let mut found: Vec<(i32, i32)> = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) else { continue };
            if first >= completions {
                break;
            }
            found.push((first, last.min(completions - 1)));
        }
        Self::default().merge(&Intervals(found))
    }

    pub(super) fn with(&self, indexes: &BTreeSet<i32>) -> Self {
        self.merge(&Intervals(indexes.iter().map(|i| (*i, *i)).collect()))
    }

    pub(super) fn merge(&self, other: &Self) -> Self {
        let mut all: Vec<_> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_unstable();
        let mut merged: Vec<(i32, i32)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Intervals(merged)
    }

    pub(super) fn total(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many indexes both have.
    pub(super) fn overlap(&self, other: &Self) -> i32 {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut shared = 0;
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            shared += (x.1.min(y.1) - x.0.max(y.0) + 1).max(0);
            if x.1 < y.1 {
                a.next();
            } else {
                b.next();
            }
        }
        shared
    }

    /// The lowest `count` indexes below `completions` that are not in the set.
    pub(super) fn missing(&self, count: usize, completions: i32) -> Vec<i32> {
        let mut found = Vec::with_capacity(count.min(1024));
        let mut candidate = 0;
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            while candidate < first.min(completions) && found.len() < count {
                found.push(candidate);
                candidate += 1;
            }
            candidate = candidate.max(last.saturating_add(1));
        }
        found
    }
}

impl fmt::Display for Intervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_cut_and_written() {
        let rows = [
            ("", 10, "", 0),
            ("0", 10, "0", 1),
            ("0,1", 10, "0,1", 2),
            ("0-2", 10, "0-2", 3),
            ("0,1,2", 10, "0-2", 3),
            ("1,3-5,7", 10, "1,3-5,7", 5),
            ("1,3-5,7", 5, "1,3,4", 3),
            ("1,3-5,7", 3, "1", 1),
            ("x,2", 10, "2", 1),
            ("1-y,2", 10, "2", 1),
            ("5-9,10", 100, "5-10", 6),
            ("9", 9, "", 0),
        ];
        for (text, completions, want, total) in rows {
            let got = Intervals::parse(text, completions);
            assert_eq!((got.to_string().as_str(), got.total()), (want, total), "{text:?} below {completions}");
            for index in 0..completions {
                let listed = Intervals::parse(want, completions).missing(usize::MAX, completions);
                assert_eq!(got.has(index), !listed.contains(&index), "{index} in {text:?}");
            }
        }
    }

    #[test]
    fn sets_grow_and_show_their_gaps() {
        let rows = [
            ("", vec![], "", vec![0, 1, 2]),
            ("", vec![1], "1", vec![0, 2, 3]),
            ("0-3", vec![4], "0-4", vec![5, 6, 7]),
            ("0,2", vec![1], "0-2", vec![3, 4, 5]),
            ("2-4,8", vec![0, 5, 6], "0,2-6,8", vec![1, 7, 9]),
            ("0-9", vec![], "0-9", vec![]),
            ("0-6,8,9", vec![], "0-6,8,9", vec![7]),
        ];
        for (text, more, want, missing) in rows {
            let got = Intervals::parse(text, 10).with(&more.into_iter().collect());
            assert_eq!(got.to_string(), want);
            assert_eq!(got.missing(3, 10), missing, "{want}");
        }
    }

    #[test]
    fn overlaps_are_counted() {
        let rows =
            [("", "0-9", 0), ("0-9", "0-9", 10), ("0-4", "3-7", 2), ("0,2,4,6", "1-5", 2), ("0-9", "1,3,5-7", 5)];
        for (a, b, want) in rows {
            let (a, b) = (Intervals::parse(a, 100), Intervals::parse(b, 100));
            assert_eq!((a.overlap(&b), b.overlap(&a)), (want, want), "{a} {b}");
        }
    }
}
