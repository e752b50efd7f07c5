//! One node with the sums of its pods.

use std::sync::Arc;

use crate::objects::{HostPort, Node, Pod, Resources, ScoredRequests};

/// A node and what is placed on it. A node that pods name before it exists has sums but no object.
#[derive(Debug, Default)]
pub struct NodeInfo {
    name: Box<str>,
    node: Option<Arc<Node>>,
    pods: Vec<Arc<Pod>>,
    /// What the pods request; `pods` counts them.
    pub requested: Resources,
    pub scored: ScoredRequests,
    ports: Vec<HostPort>,
}

impl NodeInfo {
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// True for a slot that holds nothing.
    pub(super) fn is_free(&self) -> bool {
        self.name.is_empty()
    }

    pub(super) fn set_node(&mut self, node: Option<Arc<Node>>) {
        self.node = node;
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn exists(&self) -> bool {
        self.node.is_some()
    }

    pub fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    pub fn pods(&self) -> &[Arc<Pod>] {
        &self.pods
    }

    /// Whether a pod that wants `wanted` would share a port: same protocol and number, on the same address or on all.
    pub fn port_taken(&self, wanted: &HostPort) -> bool {
        self.ports.iter().any(|taken| ports_conflict(taken, wanted))
    }

    pub(super) fn add_pod(&mut self, pod: Arc<Pod>) {
        self.requested.add(&pod.requests);
        self.requested.pods += 1;
        self.scored.milli_cpu += pod.scored_requests.milli_cpu;
        self.scored.memory += pod.scored_requests.memory;
        self.ports.extend(pod.host_ports.iter().cloned());
        self.pods.push(pod);
    }

    pub(super) fn remove_pod(&mut self, uid: &str) {
        let Some(index) = self.pods.iter().position(|pod| pod.uid() == uid) else { return };
        let pod = self.pods.swap_remove(index);
        self.requested.sub(&pod.requests);
        self.requested.pods -= 1;
        self.scored.milli_cpu -= pod.scored_requests.milli_cpu;
        self.scored.memory -= pod.scored_requests.memory;
        for port in &pod.host_ports {
            if let Some(index) = self.ports.iter().position(|taken| taken == port) {
                self.ports.swap_remove(index);
            }
        }
    }
}

pub(crate) fn ports_conflict(a: &HostPort, b: &HostPort) -> bool {
    let all = |port: &HostPort| &*port.ip == "0.0.0.0";
    a.port == b.port && a.protocol == b.protocol && (all(a) || all(b) || a.ip == b.ip)
}
