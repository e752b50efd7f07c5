//! Pods and nodes: who has a place keeps it, and no node has more pods than it takes.
//!
//! A binding of which no answer has come may have been done: the scheduler may give such a place to another pod before it
//! is told, as upstream's may, and the kubelet then refuses one. So a pod whose binding is stored and was never answered
//! takes no room on its node, and on no other.

use std::collections::BTreeMap;

use super::{World, is_terminal, text};
use crate::doubts::Bindings;
use crate::user::{NODES, PODS_PER_NODE};

#[derive(Default)]
pub(super) struct Places {
    /// The node of each pod that has one, by UID.
    given: BTreeMap<String, String>,
    /// Pods of each node, when it was looked at last.
    held: BTreeMap<String, Held>,
}

#[derive(Default)]
struct Held {
    pods: usize,
    /// Those of them of which the scheduler may not know.
    doubtful: usize,
}

impl Places {
    pub(super) fn check(&mut self, world: &World, bindings: &Bindings) -> Result<(), String> {
        let mut held: BTreeMap<String, Held> = BTreeMap::new();
        for (name, pod) in &world.pods {
            let (uid, node) = (text(pod, "/metadata/uid").to_owned(), text(pod, "/spec/nodeName").to_owned());
            if let Some(given) = self.given.get(&uid).filter(|given| **given != node) {
                return Err(format!("pod {name} was on {given} and is on {node:?}"));
            }
            if node.is_empty() {
                continue;
            }
            if !NODES.contains(&node.as_str()) {
                return Err(format!("pod {name} is on {node}, and there is no such node"));
            }
            if !is_terminal(pod) {
                let held = held.entry(node.clone()).or_default();
                held.pods += 1;
                held.doubtful += usize::from(bindings.are_doubtful_of(&uid));
            }
            self.given.insert(uid, node);
        }
        for (node, Held { pods, doubtful }) in &held {
            let before = self.held.get(node).map_or(0, |held| held.pods);
            if *pods > before && *pods > PODS_PER_NODE + doubtful {
                return Err(format!("{node} has {pods} pods, {PODS_PER_NODE} (and {doubtful} in doubt) have room"));
            }
        }
        self.held = held;
        Ok(())
    }
}

/// Pods that wait for a place.
pub(super) fn unsettled(world: &World) -> Vec<String> {
    let waiting = world.pods.iter().filter(|(_, pod)| text(pod, "/spec/nodeName").is_empty());
    waiting.map(|(name, _)| format!("pod {name} has no node")).collect()
}
