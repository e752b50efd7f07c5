//! How long a Job waits before it makes another pod after failures: 10 s, doubled with each, at most 10 minutes.
//!
//! Pure. Failures are counted since the last success. The record lives in memory only: after a restart of the controller
//! a Job may try again sooner.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::facts::{failures_before, finished_at};
use crate::common::pod::Pod;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// Failures of a Job's pods since the last that succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Record {
    pub(super) failures: u32,
    pub(super) last: Option<Timestamp>,
}

impl Record {
    /// The record after more pods have ended.
    pub(super) fn after(self, succeeded: &[Arc<Pod>], failed: &[Arc<Pod>]) -> Self {
        let last_success = succeeded.iter().map(|p| finished_at(p)).max();
        let before = if last_success.is_some() { Record::default() } else { self };
        let later = failed.iter().map(|p| finished_at(p)).filter(|end| last_success.is_none_or(|s| *end > s));
        let (count, last) = later.fold((0, None), |(n, last), end| (n + 1, last.max(Some(end))));
        Record { failures: before.failures + count, last: last.or(before.last) }
    }

    pub(super) fn wait(self, now: Timestamp) -> Duration {
        self.last.map_or(Duration::ZERO, |last| wait(self.failures, last, now))
    }
}

/// How long an index waits whose pod failed as the last of several.
pub(super) fn wait_for_index(failed: &Pod, now: Timestamp) -> Duration {
    let (counted, ignored) = failures_before(failed);
    wait(u32::try_from(counted.saturating_add(ignored)).unwrap_or(0).saturating_add(1), finished_at(failed), now)
}

fn wait(failures: u32, last: Timestamp, now: Timestamp) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    let whole = FIRST.saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(LONGEST);
    let elapsed = now.duration_since(last);
    match Duration::try_from(elapsed) {
        Ok(elapsed) => whole.saturating_sub(elapsed),
        // It ended in the future, by another machine's clock.
        Err(_) => whole + elapsed.unsigned_abs(),
    }
}
