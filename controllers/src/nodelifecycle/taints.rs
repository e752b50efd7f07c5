//! Which taints a node's conditions call for.
//!
//! Pure. Concepts: "Taints and Tolerations", "Taint Nodes by Condition".

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};

use crate::common::nodes::{NO_EXECUTE, NO_SCHEDULE, NOT_READY, UNREACHABLE, UNSCHEDULABLE, condition, taint, taints};

/// Condition, its status, and the taint that goes with it.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// What is to become of the taints that evict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evicting {
    /// Neither of the two.
    Clear,
    /// As they are: it is not yet this node's turn.
    Leave,
    /// This one of the two.
    Set(&'static str),
}

/// The evicting taint that the node's Ready condition calls for.
pub(super) fn evicting_key(node: &Node) -> Option<&'static str> {
    match condition(node, "Ready").map(|c| c.status.as_str()) {
        Some("False") => Some(NOT_READY),
        Some("Unknown") => Some(UNREACHABLE),
        _ => None,
    }
}

/// Whether the node has one of the two taints that evict.
pub(super) fn has_evicting(node: &Node) -> bool {
    taints(node).iter().any(is_evicting)
}

fn is_evicting(taint: &Taint) -> bool {
    taint.effect == NO_EXECUTE && (taint.key == NOT_READY || taint.key == UNREACHABLE)
}

/// The taints to write, or None when they are right. Those of others stay as they are.
pub(super) fn wanted(node: &Node, evicting: Evicting, now: Timestamp) -> Option<Vec<Taint>> {
    let old = taints(node);
    let scheduling = no_schedule_keys(node);
    let ours =
        |t: &Taint| t.effect == NO_SCHEDULE && (t.key == UNSCHEDULABLE || BY_CONDITION.iter().any(|c| c.2 == t.key));
    let mut new: Vec<Taint> = old
        .iter()
        .filter(|t| !ours(t) || scheduling.contains(&t.key.as_str()))
        .filter(|t| match evicting {
            Evicting::Leave => true,
            Evicting::Clear => !is_evicting(t),
            Evicting::Set(key) => !is_evicting(t) || t.key == key,
        })
        .cloned()
        .collect();
    let evict = if let Evicting::Set(key) = evicting { Some((key, NO_EXECUTE)) } else { None };
    for (key, effect) in scheduling.into_iter().map(|key| (key, NO_SCHEDULE)).chain(evict) {
        if !new.iter().any(|t| t.key == key && t.effect == effect) {
            new.push(taint(key, effect, now));
        }
    }
    (new != old).then_some(new)
}

fn no_schedule_keys(node: &Node) -> Vec<&'static str> {
    let unschedulable = node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false);
    let has = |kind: &str, status: &str| condition(node, kind).is_some_and(|c| c.status == status);
    let by_condition = BY_CONDITION.iter().filter(|(kind, status, _)| has(kind, status)).map(|(_, _, key)| *key);
    by_condition.chain(unschedulable.then_some(UNSCHEDULABLE)).collect()
}
