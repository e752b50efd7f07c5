//! The cluster as scheduling sees it: nodes with what their pods take, kept up to date event by event.
//!
//! Enter at [`Snapshot`]. Nodes live in slots that never move, so that derived tables ([`counts`], [`columns`]) are plain
//! vectors by slot. It knows no queue, no plugin and no API.

mod columns;
mod counts;
mod devices;
mod images;
mod node_info;
mod order;
mod spread_owners;
mod terms;
#[cfg(test)]
mod tests;
mod volumes;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use component::clock::Clock;
use machinery::selector::Selector;

pub use columns::{Column, NO_VALUE};
pub use counts::PodMatcher;
pub use devices::{DevicePlan, Devices};
pub use node_info::NodeInfo;
pub(crate) use node_info::ports_conflict;
pub use spread_owners::SpreadOwners;
pub use terms::TermKind;
pub use volumes::{VolumePlan, Volumes};

use crate::objects::NamespaceLabels;
use crate::objects::{AffinityTerm, Node, Pod};

/// Where a node stands in the snapshot; stays the same for as long as the node exists or pods name it.
pub type Slot = usize;

/// Where a pod stands, and whether that is told by the API or only decided here.
#[derive(Debug)]
struct Placed {
    slot: Slot,
    pod: Arc<Pod>,
    assumed: bool,
}

#[derive(Debug, Default)]
pub struct Snapshot {
    nodes: Vec<NodeInfo>,
    slots: HashMap<Box<str>, Slot>,
    free: Vec<Slot>,
    /// Made when first asked for: nodes come by the thousand at start.
    order: OnceCell<Vec<Slot>>,
    pods: HashMap<Box<str>, Placed>,
    counts: counts::Counts,
    columns: columns::Columns,
    terms: terms::Terms,
    images: images::Images,
    namespaces: NamespaceLabels,
    pub owners: SpreadOwners,
    pub volumes: Volumes,
    pub devices: Devices,
    /// Ends searches that take too long.
    pub clock: Clock,
}

impl Snapshot {
    /// Of a cluster without anything.
    pub fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    /// How many nodes can be scheduled to.
    pub fn len(&self) -> usize {
        self.order().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nodes in the order in which scheduling walks them: zone after zone in turn.
    pub fn order(&self) -> &[Slot] {
        self.order.get_or_init(|| order::of(&self.nodes))
    }

    pub fn node(&self, slot: Slot) -> &NodeInfo {
        &self.nodes[slot]
    }

    /// The slot of a node that exists.
    pub fn slot(&self, name: &str) -> Option<Slot> {
        self.slots.get(name).copied().filter(|slot| self.nodes[*slot].exists())
    }

    pub fn namespaces(&self) -> &NamespaceLabels {
        &self.namespaces
    }

    /// All placed pods, in no order.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values().map(|placed| &placed.pod)
    }

    pub fn is_assumed(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|placed| placed.assumed)
    }

    pub fn is_placed(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// The pod as placed, with its slot.
    pub fn placed(&self, uid: &str) -> Option<(Slot, &Arc<Pod>)> {
        self.pods.get(uid).map(|placed| (placed.slot, &placed.pod))
    }

    pub fn set_namespace(&mut self, name: &str, labels: Option<std::collections::BTreeMap<String, String>>) {
        match labels {
            Some(labels) if self.namespaces.get(name) == Some(&labels) => return,
            Some(labels) => drop(self.namespaces.insert(name.to_owned(), labels)),
            None => drop(self.namespaces.remove(name)),
        }
        self.counts.forget_terms();
    }

    /// Adds a node or takes its new state.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let slot = self.slot_for(node.name());
        let old = self.nodes[slot].node().cloned();
        self.images.replace(slot, old.as_deref(), Some(&node));
        self.nodes[slot].set_node(Some(node.clone()));
        match old {
            None => self.topology_changed(),
            Some(old) if old.metadata.labels != node.metadata.labels => {
                self.columns.clear_changed(&old, &node);
                if order::zone(&old) != order::zone(&node) {
                    self.order.take();
                }
            }
            Some(_) => {}
        }
    }

    /// Forgets a node. Its slot stays while pods still name it.
    pub fn remove_node(&mut self, name: &str) {
        let Some(slot) = self.slots.get(name).copied() else { return };
        let old = self.nodes[slot].node().cloned();
        self.images.replace(slot, old.as_deref(), None);
        self.nodes[slot].set_node(None);
        self.release(slot);
        self.topology_changed();
    }

    /// Takes a placed pod as the API tells it; this confirms an assumed one.
    pub fn set_pod(&mut self, pod: Arc<Pod>) {
        let slot = self.slot_for(&pod.node_name);
        self.place(slot, pod, false);
    }

    /// Places a pod before the API knows it. `set_pod` confirms, `remove_pod` takes it back.
    pub fn assume(&mut self, slot: Slot, pod: Arc<Pod>) {
        self.place(slot, pod, true);
    }

    /// Forgets a pod; returns it with its slot, if it was placed.
    pub fn remove_pod(&mut self, uid: &str) -> Option<(Slot, Arc<Pod>)> {
        let placed = self.pods.remove(uid)?;
        self.nodes[placed.slot].remove_pod(uid);
        self.account(placed.slot, &placed.pod, false);
        self.release(placed.slot);
        Some((placed.slot, placed.pod))
    }

    fn place(&mut self, slot: Slot, pod: Arc<Pod>, assumed: bool) {
        self.remove_pod(pod.uid());
        // Taking the pod out may have freed the very slot it goes back to.
        let slot = if self.nodes[slot].is_free() { self.slot_for(&pod.node_name) } else { slot };
        self.nodes[slot].add_pod(pod.clone());
        self.account(slot, &pod, true);
        self.pods.insert(pod.uid().into(), Placed { slot, pod, assumed });
    }

    fn account(&mut self, slot: Slot, pod: &Pod, add: bool) {
        self.counts.account(slot, pod, &self.namespaces, add);
        self.terms.account(slot, pod, add);
    }

    fn slot_for(&mut self, name: &str) -> Slot {
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(NodeInfo::default());
            self.nodes.len() - 1
        });
        self.nodes[slot] = NodeInfo::named(name);
        self.slots.insert(name.into(), slot);
        slot
    }

    fn release(&mut self, slot: Slot) {
        if !self.nodes[slot].exists() && self.nodes[slot].pods().is_empty() && !self.nodes[slot].is_free() {
            self.slots.remove(self.nodes[slot].name());
            self.nodes[slot] = NodeInfo::default();
            self.free.push(slot);
        }
    }

    fn topology_changed(&mut self) {
        self.columns.clear();
        self.order.take();
    }

    /// How many pods of each node match, by slot. Kept up to date from the first question on.
    pub fn counts(&self, matcher: &PodMatcher) -> Arc<Vec<u32>> {
        self.counts.of(matcher, &self.nodes, &self.namespaces)
    }

    /// How many pods match in each domain of a node label, by its number in [`Snapshot::column`]. Kept up to date likewise.
    pub fn sums(&self, matcher: &PodMatcher, label: &str) -> Arc<Vec<i64>> {
        self.counts.sums(matcher, (label, &self.column(label)), &self.nodes, &self.namespaces)
    }

    /// The value of a node label of each node, by slot, as small numbers.
    pub fn column(&self, label: &str) -> Arc<Column> {
        self.columns.of(label, &self.nodes)
    }

    /// The terms of this kind that placed pods have, with the slots of these pods.
    pub fn terms(&self, kind: TermKind) -> impl Iterator<Item = (&AffinityTerm, i64, &HashMap<Slot, u32>)> {
        self.terms.of(kind)
    }

    /// The nodes that hold an image, with its size in bytes there.
    pub fn image(&self, name: &str) -> Option<&HashMap<Slot, i64>> {
        self.images.holders(name)
    }

    /// Whom the pods of `pod`'s Services and controller are: what default spreading spreads.
    pub fn default_selector(&self, pod: &Pod) -> Option<Selector> {
        self.owners.selector_for(pod)
    }
}
