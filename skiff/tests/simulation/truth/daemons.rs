//! DaemonSets: one pod on each node, and during an update never more nodes without one, nor with two, than allowed.
//!
//! The bounds hold from the moment on at which the controller tells that every node has its pod.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{World, is_acknowledged, is_going, is_ready, is_terminal, node_of, number, text};
use crate::doubts::Pods;
use crate::user::NODES;

/// Whether each set has been on every node.
#[derive(Default)]
pub(super) struct Daemons(BTreeMap<String, bool>);

/// Of one node.
#[derive(Default)]
struct Count {
    live: usize,
    ready: usize,
}

impl Daemons {
    pub(super) fn check(&mut self, world: &World, doubts: &Pods) -> Result<(), String> {
        for (name, set) in &world.daemon_sets {
            let uid = text(set, "/metadata/uid");
            let (held, doubts) = (self.0.entry(uid.to_owned()).or_default(), doubts.of(uid) as usize);
            let counts = counts(world, set);
            let rolling = |field: &str| number(set, &format!("/spec/updateStrategy/rollingUpdate/{field}")) as usize;
            let without = NODES.len() - counts.values().filter(|count| count.ready > 0).count();
            let twice: usize = counts.values().map(|count| count.live.saturating_sub(1)).sum();
            if *held && without > rolling("maxUnavailable") {
                let allowed = rolling("maxUnavailable");
                return Err(format!("DaemonSet {name}: {without} nodes are without a pod that serves, of {allowed}"));
            }
            if twice > rolling("maxSurge") + doubts {
                let allowed = rolling("maxSurge");
                return Err(format!("DaemonSet {name}: {twice} pods are second ones, of {allowed} (and {doubts})"));
            }
            *held |= without == 0 && is_settled(world, set);
        }
        Ok(())
    }

    pub(super) fn unsettled(&self, world: &World) -> Vec<String> {
        let open = world.daemon_sets.values().filter(|set| !is_settled(world, set));
        open.map(|set| format!("DaemonSet {}: {}", set["metadata"]["name"], set["status"])).collect()
    }
}

fn counts<'w>(world: &'w World, set: &Value) -> BTreeMap<&'w str, Count> {
    let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
    for pod in world.pods_of(text(set, "/metadata/uid")).filter(|pod| !is_going(pod) && !is_terminal(pod)) {
        let count = counts.entry(node_of(pod)).or_default();
        count.live += 1;
        count.ready += usize::from(is_ready(pod));
    }
    counts
}

/// Whether the set is as asked for, and its controller says so.
pub(super) fn is_settled(world: &World, set: &Value) -> bool {
    let told = ["desiredNumberScheduled", "numberAvailable", "updatedNumberScheduled", "currentNumberScheduled"];
    let counts = counts(world, set);
    is_acknowledged(set)
        && told.iter().all(|count| number(set, &format!("/status/{count}")) == NODES.len() as i64)
        && counts.len() == NODES.len()
        && counts.values().all(|count| (count.live, count.ready) == (1, 1))
}
