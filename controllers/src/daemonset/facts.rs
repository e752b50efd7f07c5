//! Numbers and names read off DaemonSets and their pods.
//!
//! Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::ResourceExt;

use crate::common::history::REVISION_LABEL;
use crate::common::pod::Pod;
use crate::common::scaled::scaled;
use crate::common::{map, pods};

/// Older pods are told by the number of the template, which the API still counts in an annotation.
const GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";
pub(super) const GENERATION_LABEL: &str = "pod-template-generation";

pub(super) fn template(ds: &DaemonSet) -> Option<&PodTemplateSpec> {
    ds.spec.as_ref().map(|s| &s.template)
}

pub(super) fn min_ready_seconds(ds: &DaemonSet) -> i32 {
    ds.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
}

pub(super) fn history_limit(ds: &DaemonSet) -> i32 {
    ds.spec.as_ref().and_then(|s| s.revision_history_limit).unwrap_or(10)
}

pub(super) fn is_rolling(ds: &DaemonSet) -> bool {
    let strategy = ds.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    strategy.and_then(|s| s.type_.as_deref()) == Some("RollingUpdate")
}

fn rolling(ds: &DaemonSet) -> Option<&RollingUpdateDaemonSet> {
    ds.spec.as_ref()?.update_strategy.as_ref()?.rolling_update.as_ref().filter(|_| is_rolling(ds))
}

pub(super) fn max_surge(ds: &DaemonSet, desired: i32) -> i32 {
    rolling(ds).and_then(|r| r.max_surge.as_ref()).map_or(0, |v| scaled(v, desired, true))
}

/// At least one of surge and unavailability is allowed, or nothing could move.
pub(super) fn max_unavailable(ds: &DaemonSet, desired: i32) -> i32 {
    let asked = rolling(ds).and_then(|r| r.max_unavailable.as_ref()).map_or(0, |v| scaled(v, desired, true));
    if desired > 0 && asked == 0 && max_surge(ds, desired) == 0 { 1 } else { asked }
}

/// Whether a node may hold two of the pods for a while.
pub(super) fn allows_surge(ds: &DaemonSet) -> bool {
    max_surge(ds, 1) > 0
}

pub(super) fn template_generation(ds: &DaemonSet) -> Option<i64> {
    map(&ds.metadata.annotations).get(GENERATION_ANNOTATION)?.parse().ok()
}

/// Whether the pod is of the current template.
pub(super) fn is_updated(ds: &DaemonSet, pod: &Pod, hash: &str) -> bool {
    let labels = map(&pod.metadata.labels);
    let by_hash = !hash.is_empty() && labels.get(REVISION_LABEL).is_some_and(|h| h == hash);
    let generation = template_generation(ds).map(|g| g.to_string());
    by_hash || (generation.is_some() && labels.get(GENERATION_LABEL) == generation.as_ref())
}

/// The node that a pod is on, or that its affinity pins it to; None for a pod that no DaemonSet has made.
pub(super) fn target_node(pod: &Pod) -> Option<String> {
    let assigned = pods::node_name(pod);
    if !assigned.is_empty() {
        return Some(assigned.to_owned());
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let mut fields = terms.iter().flat_map(|t| t.match_fields.iter().flatten());
    let pin = fields.find(|f| f.key == "metadata.name" && f.operator == "In")?;
    match pin.values.as_deref() {
        Some([node]) => Some(node.clone()),
        _ => None,
    }
}

pub(super) type ByNode = BTreeMap<String, Vec<Arc<Pod>>>;

/// Pods by the node that they are for, on each the placed ones first, then by age. An ended pod that is being deleted
/// is nobody's business any more.
pub(super) fn by_node(pods: &[Arc<Pod>]) -> ByNode {
    let mut nodes = ByNode::new();
    for pod in pods.iter().filter(|p| !(pods::is_terminal(p) && p.metadata.deletion_timestamp.is_some())) {
        if let Some(node) = target_node(pod) {
            nodes.entry(node).or_default().push(pod.clone());
        }
    }
    for pods in nodes.values_mut() {
        pods.sort_by_key(|p| {
            let created = p.metadata.creation_timestamp.as_ref().map(|t| t.0);
            (Reverse(!pods::node_name(p).is_empty()), created, p.name_any())
        });
    }
    nodes
}
