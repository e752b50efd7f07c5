//! The annotations by which a Deployment and its ReplicaSets keep the rollout's history and sizes.
//!
//! Pure. `kubectl rollout history` and `undo` read them; they are part of the interface.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::facts;
use crate::common::map;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// What a ReplicaSet does not inherit from its Deployment.
const NOT_INHERITED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    ROLLBACK_TO,
];

/// The revision history annotation grows to about a hundred numbers.
const HISTORY_MAX_CHARS: usize = 2000;

/// Copies the Deployment's annotations and records the revision that this ReplicaSet now has.
pub(super) fn set_for_new(d: &Deployment, rs: &mut ReplicaSet, new_revision: i64) {
    let annotations = rs.metadata.annotations.get_or_insert_default();
    for (key, value) in map(&d.metadata.annotations) {
        if !NOT_INHERITED.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let old = annotations.get(REVISION).cloned();
    let old_number = match old.as_deref() {
        None | Some("") => 0,
        Some(text) => match text.parse::<i64>() {
            Ok(number) => number,
            // Somebody else's number: leave the history alone.
            Err(_) => return,
        },
    };
    if old_number < new_revision {
        annotations.insert(REVISION.into(), new_revision.to_string());
        if let Some(old) = old {
            append_history(annotations, &old);
        }
    }
}

/// After a rollback the Deployment has the annotations that it had at that revision, its own bookkeeping aside.
pub(super) fn take_back(d: &mut Deployment, rs: &ReplicaSet) {
    let inherited = |key: &String| !NOT_INHERITED.contains(&key.as_str());
    let annotations = d.metadata.annotations.get_or_insert_default();
    annotations.retain(|key, _| !inherited(key));
    let of_set = map(&rs.metadata.annotations).iter().filter(|(key, _)| inherited(key));
    annotations.extend(of_set.map(|(key, value)| (key.clone(), value.clone())));
}

fn append_history(annotations: &mut BTreeMap<String, String>, old: &str) {
    let history = annotations.get(REVISION_HISTORY).cloned().unwrap_or_default();
    let mut revisions: Vec<&str> = history.split(',').filter(|r| !r.is_empty()).collect();
    revisions.push(old);
    let length = |revisions: &[&str]| revisions.iter().map(|r| r.len() + 1).sum::<usize>().saturating_sub(1);
    let start = (0..revisions.len()).find(|n| length(&revisions[*n..]) <= HISTORY_MAX_CHARS).unwrap_or(revisions.len());
    annotations.insert(REVISION_HISTORY.into(), revisions[start..].join(","));
}

/// Records the size that the Deployment asks for: a later sync sees by it that the size was changed.
pub(super) fn set_sizes(d: &Deployment, rs: &mut ReplicaSet) {
    let annotations = rs.metadata.annotations.get_or_insert_default();
    let desired = facts::desired(d);
    annotations.insert(DESIRED_REPLICAS.into(), desired.to_string());
    annotations.insert(MAX_REPLICAS.into(), (desired + facts::max_surge(d)).to_string());
}

/// A size annotation; None when it is missing or no number from zero up.
pub(super) fn size(rs: &ReplicaSet, key: &str) -> Option<i32> {
    let number: i32 = map(&rs.metadata.annotations).get(key)?.parse().ok()?;
    (number >= 0).then_some(number)
}
