//! The order in which nodes are tried: one of each zone in turn, so that a sample of nodes is spread over zones.

use std::collections::{BTreeMap, VecDeque};

use super::{NodeInfo, Slot};
use crate::objects::Node;

pub(super) fn of(nodes: &[NodeInfo]) -> Vec<Slot> {
    let mut zones: BTreeMap<(&str, &str), VecDeque<Slot>> = BTreeMap::new();
    for (slot, info) in nodes.iter().enumerate() {
        if let Some(node) = info.node() {
            zones.entry(zone(node)).or_default().push_back(slot);
        }
    }
    let mut order = Vec::with_capacity(nodes.len());
    while !zones.is_empty() {
        order.extend(zones.values_mut().filter_map(VecDeque::pop_front));
        zones.retain(|_, slots| !slots.is_empty());
    }
    order
}

/// What the order depends on, of a node.
pub(super) fn zone(node: &Node) -> (&str, &str) {
    let label = |name| node.label(name).unwrap_or_default();
    (label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}
