//! The order in which nodes are tried: one of each zone in turn, so that a sample of nodes is spread over zones.

use std::collections::{BTreeMap, VecDeque};

use super::{NodeInfo, Slot};
use crate::objects::Node;

#[derive(Debug, Default)]
pub(super) struct Order(Vec<Slot>);

impl Order {
    pub(super) fn slots(&self) -> &[Slot] {
        &self.0
    }

    pub(super) fn rebuild(&mut self, nodes: &[NodeInfo]) {
        let mut zones: BTreeMap<(&str, &str), VecDeque<Slot>> = BTreeMap::new();
        for (slot, info) in nodes.iter().enumerate() {
            if let Some(node) = info.node() {
                zones.entry(zone(node)).or_default().push_back(slot);
            }
        }
        self.0.clear();
        while !zones.is_empty() {
            self.0.extend(zones.values_mut().filter_map(VecDeque::pop_front));
            zones.retain(|_, slots| !slots.is_empty());
        }
    }
}

fn zone(node: &Node) -> (&str, &str) {
    let label = |name| node.label(name).unwrap_or_default();
    (label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}
