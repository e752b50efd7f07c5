//! Numbers read off Deployments and ReplicaSets: replicas, surge, unavailability, revision, age.
//!
//! Pure.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};

use super::annotations::REVISION;
use crate::common::map;
use crate::common::scaled::scaled;

pub(super) fn desired(d: &Deployment) -> i32 {
    spec(d).and_then(|s| s.replicas).unwrap_or(1)
}

pub(super) fn spec(d: &Deployment) -> Option<&DeploymentSpec> {
    d.spec.as_ref()
}

pub(super) fn min_ready_seconds(d: &Deployment) -> i32 {
    spec(d).and_then(|s| s.min_ready_seconds).unwrap_or(0)
}

pub(super) fn is_recreate(d: &Deployment) -> bool {
    spec(d).and_then(|s| s.strategy.as_ref()).and_then(|s| s.type_.as_deref()) == Some("Recreate")
}

/// None also for the largest number, which upstream takes as "no deadline".
pub(super) fn progress_deadline_seconds(d: &Deployment) -> Option<i32> {
    spec(d)?.progress_deadline_seconds.filter(|s| *s != i32::MAX)
}

pub(super) fn history_limit(d: &Deployment) -> Option<usize> {
    let limit = spec(d)?.revision_history_limit.filter(|s| *s != i32::MAX)?;
    usize::try_from(limit).ok()
}

/// How many pods above the desired number may exist, and how many below it may be missing, in a
/// rolling update: percentages round up and down, and not both may be zero, or nothing could move.
pub(super) fn fenceposts(d: &Deployment) -> (i32, i32) {
    if is_recreate(d) {
        return (0, 0);
    }
    let rolling = spec(d).and_then(|s| s.strategy.as_ref()).and_then(|s| s.rolling_update.as_ref());
    let total = desired(d);
    let surge = rolling.and_then(|r| r.max_surge.as_ref()).map_or(0, |v| scaled(v, total, true));
    let unavailable = rolling.and_then(|r| r.max_unavailable.as_ref()).map_or(0, |v| scaled(v, total, false));
    if (surge, unavailable) == (0, 0) { (0, 1) } else { (surge, unavailable) }
}

pub(super) fn max_surge(d: &Deployment) -> i32 {
    fenceposts(d).0
}

pub(super) fn max_unavailable(d: &Deployment) -> i32 {
    if desired(d) == 0 { 0 } else { fenceposts(d).1.min(desired(d)) }
}

pub(super) fn replicas(rs: &ReplicaSet) -> i32 {
    rs.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

pub(super) fn actual(rs: &ReplicaSet) -> i32 {
    rs.status.as_ref().map_or(0, |s| s.replicas)
}

pub(super) fn ready(rs: &ReplicaSet) -> i32 {
    rs.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or(0)
}

pub(super) fn available(rs: &ReplicaSet) -> i32 {
    rs.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0)
}

/// Whether the status is of the size that is asked for now.
pub(super) fn is_status_current(rs: &ReplicaSet) -> bool {
    let observed = rs.status.as_ref().and_then(|s| s.observed_generation).unwrap_or(0);
    rs.metadata.generation.unwrap_or(0) <= observed
}

/// The ReplicaSet's place in the history; 0 when it has none yet, None when it is no number.
pub(super) fn revision(rs: &ReplicaSet) -> Option<i64> {
    map(&rs.metadata.annotations).get(REVISION).map_or(Some(0), |text| text.parse().ok())
}

/// Sorts oldest first, by name within a second; not yet created is the youngest.
pub(super) fn age_key(rs: &ReplicaSet) -> (Timestamp, String) {
    let created = rs.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |t| t.0);
    (created, rs.metadata.name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fenceposts_round_as_promised() {
        let rows = [
            (json!("25%"), json!("25%"), 1, (1, 0)),
            (json!("25%"), json!("25%"), 3, (1, 0)),
            (json!("25%"), json!("25%"), 10, (3, 2)),
            (json!("1%"), json!("99%"), 10, (1, 9)),
            (json!(0), json!("1%"), 10, (0, 1)),
            (json!(0), json!(0), 10, (0, 1)),
            (json!("100%"), json!(3), 7, (7, 3)),
        ];
        for (surge, unavailable, replicas, want) in rows {
            let d: Deployment = serde_json::from_value(json!({"spec": {"replicas": replicas, "selector": {}, "template": {},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}}))
            .unwrap();
            assert_eq!(fenceposts(&d), want, "{surge} {unavailable} of {replicas}");
        }
    }
}
