//! Which nodes a DaemonSet's pods run on, and the pod made for a node.
//!
//! Pure. Concepts: "DaemonSet", "How Daemon Pods are scheduled" and "Taints and tolerations".

use component::scheduling::{node_affinity, taints};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration,
};
use kube::ResourceExt;

use super::facts::{self, GENERATION_LABEL};
use crate::common::history::REVISION_LABEL;
use crate::common::nodes;
use crate::common::owner::controller_ref;
use crate::common::template::pod_from;

/// What a DaemonSet does on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// A pod is to run there.
    Run,
    /// No new pod goes there; one that runs stays.
    Keep,
    /// No pod belongs there.
    Not,
}

/// Trouble of the node that does not drive daemons away.
const TOLERATED: [(&str, &str); 6] = [
    (nodes::NOT_READY, nodes::NO_EXECUTE),
    (nodes::UNREACHABLE, nodes::NO_EXECUTE),
    ("node.kubernetes.io/disk-pressure", nodes::NO_SCHEDULE),
    ("node.kubernetes.io/memory-pressure", nodes::NO_SCHEDULE),
    ("node.kubernetes.io/pid-pressure", nodes::NO_SCHEDULE),
    (nodes::UNSCHEDULABLE, nodes::NO_SCHEDULE),
];

/// A pod on the host's network does not wait for the pod network.
const TOLERATED_BY_HOST_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", nodes::NO_SCHEDULE);

pub(super) fn fit(ds: &DaemonSet, node: &Node) -> Fit {
    let Some(spec) = facts::template(ds).and_then(|t| t.spec.as_ref()) else { return Fit::Not };
    let named = spec.node_name.as_deref().is_none_or(|name| name.is_empty() || name == node.name_any());
    if !named || !node_affinity::matches(spec, node) {
        return Fit::Not;
    }
    let tolerations = tolerations(spec);
    let tolerates = |effects: &[&str]| taints::all_tolerated(nodes::taints(node), &tolerations, effects);
    match (tolerates(&[nodes::NO_EXECUTE, nodes::NO_SCHEDULE]), tolerates(&[nodes::NO_EXECUTE])) {
        (true, _) => Fit::Run,
        (false, true) => Fit::Keep,
        (false, false) => Fit::Not,
    }
}

fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut tolerations = spec.tolerations.clone().unwrap_or_default();
    let on_host = spec.host_network == Some(true);
    for (key, effect) in TOLERATED.into_iter().chain(on_host.then_some(TOLERATED_BY_HOST_NETWORK)) {
        let toleration = Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Default::default()
        };
        taints::add_or_update(&mut tolerations, toleration);
    }
    tolerations
}

/// The pod for a node: the scheduler puts it there by its affinity to the node's name.
pub(super) fn pod_for(ds: &DaemonSet, hash: &str, node: &str) -> Pod {
    let template = facts::template(ds).cloned().unwrap_or_default();
    let mut pod = pod_from(&template, controller_ref(ds));
    let labels = pod.metadata.labels.get_or_insert_default();
    if let Some(generation) = facts::template_generation(ds) {
        labels.insert(GENERATION_LABEL.into(), generation.to_string());
    }
    if !hash.is_empty() {
        labels.insert(REVISION_LABEL.into(), hash.into());
    }
    let spec = pod.spec.get_or_insert_default();
    spec.tolerations = Some(tolerations(spec));
    pin(spec, node);
    pod
}

/// Puts the node's name in the place of the required terms, which the node meets already.
fn pin(spec: &mut PodSpec, node: &str) {
    let name =
        NodeSelectorRequirement { key: "metadata.name".into(), operator: "In".into(), values: Some(vec![node.into()]) };
    let term = NodeSelectorTerm { match_fields: Some(vec![name]), match_expressions: None };
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
}
