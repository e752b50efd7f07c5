//! PrioritySort: pods of higher priority first, then those that wait longest.

use std::cmp::Reverse;

use jiff::Timestamp;

/// What the active queue is ordered by: smaller comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    priority: Reverse<i32>,
    since: Timestamp,
    /// Keeps the order of arrival among pods of the same instant.
    sequence: u64,
}

impl Rank {
    pub fn new(priority: i32, since: Timestamp, sequence: u64) -> Self {
        Self { priority: Reverse(priority), since, sequence }
    }
}
