//! The core for both kinds: how many pods to make, which to delete, what the status is.
//!
//! Pure. Concepts: "ReplicaSet".

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};

use super::kind::ReplicaKind;
use crate::common::pod::Pod;
use crate::common::ranking::pods_to_delete;
use crate::common::{map, nonzero, pods, time};

/// At most so many pods are made or deleted in one sync; the next one goes on.
pub(super) const BURST: usize = 500;

#[derive(Debug, PartialEq)]
pub(super) enum Change {
    None,
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

/// `active` are the pods that the ReplicaSet owns; `related` finds those of all ReplicaSets of its
/// Deployment.
pub(super) fn change(
    rs: &impl ReplicaKind,
    active: &[Arc<Pod>],
    related: impl FnOnce() -> Vec<Arc<Pod>>,
    now: Timestamp,
) -> Change {
    let want = usize::try_from(rs.replicas()).unwrap_or(0);
    if active.len() < want {
        Change::Create((want - active.len()).min(BURST))
    } else if active.len() > want {
        let count = (active.len() - want).min(BURST);
        Change::Delete(pods_to_delete(active.to_vec(), &related(), count, now))
    } else {
        Change::None
    }
}

/// The status over these pods. `failure` is why pods could not be made or deleted; the condition stays
/// with its first message until all goes well again.
pub(super) fn status(
    rs: &impl ReplicaKind,
    active: &[Arc<Pod>],
    terminating: usize,
    failure: Option<String>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let old = rs.status();
    let template_labels = rs.template().and_then(|t| t.metadata.as_ref());
    let labelled = |pod: &Pod| {
        let labels = map(&pod.metadata.labels);
        template_labels.is_none_or(|t| map(&t.labels).iter().all(|(k, v)| labels.get(k) == Some(v)))
    };
    let count = |is: &dyn Fn(&Pod) -> bool| nonzero(active.iter().filter(|p| is(p)).count() as i32);
    ReplicaSetStatus {
        replicas: active.len() as i32,
        fully_labeled_replicas: count(&labelled),
        ready_replicas: count(&pods::is_ready),
        available_replicas: count(&|p| pods::is_available(p, rs.min_ready_seconds(), now)),
        terminating_replicas: Some(terminating as i32),
        observed_generation: rs.meta().generation,
        conditions: conditions(old.conditions, rs.replicas(), active.len(), failure, now),
    }
}

fn conditions(
    old: Option<Vec<ReplicaSetCondition>>,
    want: i32,
    have: usize,
    failure: Option<String>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = old.unwrap_or_default();
    let failed_before = conditions.iter().any(|c| c.type_ == "ReplicaFailure");
    match failure {
        None => conditions.retain(|c| c.type_ != "ReplicaFailure"),
        Some(message) if !failed_before => conditions.push(ReplicaSetCondition {
            type_: "ReplicaFailure".into(),
            status: "True".into(),
            reason: Some(if (have as i64) < i64::from(want) { "FailedCreate" } else { "FailedDelete" }.into()),
            message: Some(message),
            last_transition_time: Some(time(now)),
        }),
        Some(_) => {}
    }
    (!conditions.is_empty()).then_some(conditions)
}

/// When the next ready pod becomes available; None when none is on its way.
pub(super) fn next_check(rs: &impl ReplicaKind, active: &[Arc<Pod>], now: Timestamp) -> Option<Duration> {
    active.iter().filter_map(|p| pods::available_in(p, rs.min_ready_seconds(), now)).min()
}
