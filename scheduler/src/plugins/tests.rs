//! Tables for each plugin: a pod, nodes and placed pods go in; verdicts, scores and hints come out.

mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_resources;
mod pod_topology_spread;
mod simple;
mod volume_limits;
mod volumes;

use std::sync::Arc;

use super::{Candidate, Filter, Plugin, Score};
use crate::objects::{Node, Pod};
use crate::snapshot::{Slot, Snapshot};

fn world(nodes: &[Arc<Node>], placed: &[Arc<Pod>]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    nodes.iter().for_each(|node| snapshot.set_node(node.clone()));
    placed.iter().for_each(|pod| snapshot.set_pod(pod.clone()));
    snapshot
}

fn candidate(snapshot: &Snapshot, slot: Slot) -> Candidate<'_> {
    let info = snapshot.node(slot);
    Candidate { slot, info, node: info.node().expect("a node") }
}

/// The first reason that each node gives, in the order of `nodes`; empty where the pod fits. Nodes that were not worth
/// a look say so.
fn verdicts(plugin: &impl Plugin, pod: &Pod, nodes: &[Arc<Node>], placed: &[Arc<Pod>]) -> Vec<String> {
    verdicts_in(plugin, pod, nodes, &world(nodes, placed))
}

fn verdicts_in(plugin: &impl Plugin, pod: &Pod, nodes: &[Arc<Node>], snapshot: &Snapshot) -> Vec<String> {
    let slots: Vec<Slot> = nodes.iter().map(|node| snapshot.slot(node.name()).expect("a slot")).collect();
    let (among, check) = match plugin.filter(pod, snapshot) {
        Filter::Skip => return vec![String::new(); nodes.len()],
        Filter::Refuse(rejection) => return vec![rejection.text(); nodes.len()],
        Filter::Check(check) => (slots.clone(), check),
        Filter::Among(among, check) => (among, check),
    };
    let verdict = |slot: &Slot| match among.contains(slot) {
        false => "not looked at".to_owned(),
        true => check(candidate(snapshot, *slot)).err().map(|r| r.text()).unwrap_or_default(),
    };
    slots.iter().map(verdict).collect()
}

/// Normalized scores in the order of `nodes`; none when the plugin skips the pod.
fn scores(plugin: &impl Plugin, pod: &Pod, nodes: &[Arc<Node>], placed: &[Arc<Pod>]) -> Vec<i64> {
    scores_in(plugin, pod, nodes, &world(nodes, placed))
}

fn scores_in(plugin: &impl Plugin, pod: &Pod, nodes: &[Arc<Node>], snapshot: &Snapshot) -> Vec<i64> {
    let slots: Vec<Slot> = nodes.iter().map(|node| snapshot.slot(node.name()).expect("a slot")).collect();
    let Score::Run { score, normalize } = plugin.score(pod, snapshot, &slots) else { return Vec::new() };
    let mut scores: Vec<i64> = slots.iter().map(|slot| score(candidate(snapshot, *slot))).collect();
    normalize.apply(&mut scores);
    scores
}
