//! Whether a node has been silent for too long, and what its conditions then say.
//!
//! Pure. A sign of life is a status that was posted anew or a Lease that was renewed. When it came is told by our own
//! clock, never by the node's. Concepts: "Nodes", "Heartbeats".

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::common::nodes::condition;
use crate::common::time;

/// What is remembered of a node.
#[derive(Clone, Debug)]
pub(super) struct Health {
    /// The last sign of life.
    pub(super) probe: Timestamp,
    /// The heartbeat of the Ready condition as last seen; None while there is no such condition.
    heartbeat: Option<Option<Time>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Grace {
    /// For a node that posts its status.
    pub(super) monitor: Duration,
    /// For a node that never has.
    pub(super) startup: Duration,
}

/// Takes note of the node as it is; returns the record and when the node will be overdue.
pub(super) fn observe(known: Option<Health>, node: &Node, grace: Grace, now: Timestamp) -> (Health, Timestamp) {
    let heartbeat = condition(node, "Ready").map(|c| c.last_heartbeat_time.clone());
    let health = match known {
        Some(known) if known.heartbeat == heartbeat => known,
        None if heartbeat.is_none() => {
            Health { probe: node.metadata.creation_timestamp.as_ref().map_or(now, |t| t.0), heartbeat }
        }
        _ => Health { probe: now, heartbeat },
    };
    let grace = if health.heartbeat.is_some() { grace.monitor } else { grace.startup };
    let due = SignedDuration::try_from(grace).ok().and_then(|grace| health.probe.checked_add(grace).ok());
    (health, due.unwrap_or(Timestamp::MAX))
}

/// The conditions of a node that is overdue: what the kubelet said is no longer known. None when they say that already.
pub(super) fn unknown(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let old = node.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let mut conditions = old.clone();
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        match conditions.iter_mut().find(|c| c.type_ == kind) {
            None => conditions.push(NodeCondition {
                type_: kind.into(),
                status: "Unknown".into(),
                reason: Some("NodeStatusNeverUpdated".into()),
                message: Some("Kubelet never posted node status.".into()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(time(now)),
            }),
            Some(condition) if condition.status != "Unknown" => {
                condition.status = "Unknown".into();
                condition.reason = Some("NodeStatusUnknown".into());
                condition.message = Some("Kubelet stopped posting node status.".into());
                condition.last_transition_time = Some(time(now));
            }
            Some(_) => {}
        }
    }
    (conditions != old).then_some(conditions)
}
