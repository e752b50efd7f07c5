//! Whether a pod is to run or to end, and why. A fate only ever moves from running to stopping, and a stop only ever
//! gets stricter: a later request may shorten the grace, never lengthen it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::{backoff::after, spec};

/// Why a pod ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The API object carries a deletion time.
    Deleted,
    /// The object is gone from its source (force deletion, removed manifest) or the runtime held a pod of no object.
    Removed,
    /// Every container ended and none starts again, or the API says the phase is final.
    Completed,
    /// The kubelet ends it: phase Failed with this reason and message (deadline, admission).
    Failed { reason: String, message: String },
    /// As `Failed`, for the sake of the node: the pod gets the condition DisruptionTarget.
    Evicted { reason: String, message: String },
}

/// The pod is to end, with `grace_period_seconds` counted from `since`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    pub why: Why,
    pub since: Timestamp,
    pub grace_period_seconds: i64,
}

impl Stop {
    pub fn deadline(&self) -> Timestamp {
        after(self.since, Duration::from_secs(u64::try_from(self.grace_period_seconds).unwrap_or(0)))
    }

    /// The stricter of two: the new reason where the old one was milder, the earlier deadline.
    pub fn tightened(self, other: Stop) -> Stop {
        let why = if rank(&other.why) > rank(&self.why) { other.why.clone() } else { self.why.clone() };
        let earlier = if other.deadline() < self.deadline() { other } else { self };
        Stop { why, ..earlier }
    }
}

/// A pod that is ended by the kubelet has failed for that reason also when it is deleted meanwhile; but only a removal
/// ends the duty to report.
fn rank(why: &Why) -> u8 {
    match why {
        Why::Completed => 0,
        Why::Deleted => 1,
        Why::Failed { .. } | Why::Evicted { .. } => 2,
        Why::Removed => 3,
    }
}

/// What the object itself says: a deletion time, a final phase, or a deadline that has passed.
pub fn of_object(pod: &Pod, now: Timestamp) -> Option<Stop> {
    if pod.metadata.deletion_timestamp.is_some() && !spec::is_static(pod) {
        let grace = pod.metadata.deletion_grace_period_seconds;
        let grace_period_seconds = grace.unwrap_or_else(|| spec::termination_grace_period_seconds(pod));
        return Some(Stop { why: Why::Deleted, since: now, grace_period_seconds });
    }
    let status = pod.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) && !spec::is_static(pod) {
        return Some(Stop {
            why: Why::Completed,
            since: now,
            grace_period_seconds: spec::termination_grace_period_seconds(pod),
        });
    }
    (active_deadline(pod)? <= now).then(|| Stop {
        why: Why::Failed {
            reason: "DeadlineExceeded".into(),
            message: "Pod was active on the node longer than the specified deadline".into(),
        },
        since: now,
        grace_period_seconds: spec::termination_grace_period_seconds(pod),
    })
}

/// When `activeDeadlineSeconds` runs out, counted from `status.startTime`.
pub fn active_deadline(pod: &Pod) -> Option<Timestamp> {
    let seconds = u64::try_from(spec::spec(pod).active_deadline_seconds?).ok()?;
    let started = pod.status.as_ref()?.start_time.as_ref()?.0;
    Some(after(started, Duration::from_secs(seconds)))
}
