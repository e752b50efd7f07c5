//! Which endpoints a port's traffic goes to, by traffic policy, topology hints and termination. Pure.
//!
//! Rules: "Traffic policies", "Topology aware routing" and "ProxyTerminatingEndpoints" in the Kubernetes documentation.

use super::{Endpoint, NodeView, ServicePort};

/// The endpoints of one port, by the policy that uses them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Categories<'a> {
    /// For policy `Cluster`.
    pub(crate) cluster: Vec<&'a Endpoint>,
    /// For policy `Local`.
    pub(crate) local: Vec<&'a Endpoint>,
    /// Whether any node has a usable endpoint: without one traffic is rejected, not dropped.
    pub(crate) has_any: bool,
}

impl<'a> Categories<'a> {
    /// Every endpoint that needs a chain on this node, each once.
    pub(crate) fn reachable(&self) -> Vec<&'a Endpoint> {
        let mut all = self.cluster.clone();
        all.extend(self.local.iter().filter(|endpoint| !self.cluster.contains(endpoint)));
        all
    }
}

/// Sorts endpoints by policy. Terminating ones that still serve count only when nothing else is left.
pub(crate) fn categorize<'a>(port: &ServicePort, endpoints: &'a [Endpoint], node: &NodeView) -> Categories<'a> {
    let mut categories = Categories::default();
    let is_last_resort = |endpoint: &&Endpoint| endpoint.is_serving && endpoint.is_terminating;
    if port.uses_cluster_endpoints() {
        let topology = topology(endpoints, node);
        let ready = endpoints.iter().filter(|endpoint| endpoint.is_ready);
        categories.cluster = ready.filter(|endpoint| topology.takes(endpoint, node)).collect();
        if categories.cluster.is_empty() {
            categories.cluster = endpoints.iter().filter(is_last_resort).collect();
        }
        categories.has_any = !categories.cluster.is_empty();
    }
    if port.uses_local_endpoints() {
        let local = || endpoints.iter().filter(|endpoint| endpoint.is_local);
        categories.local = local().filter(|endpoint| endpoint.is_ready).collect();
        if categories.local.is_empty() {
            categories.local = local().filter(is_last_resort).collect();
        }
        categories.has_any |= endpoints.iter().any(|endpoint| endpoint.is_ready || is_last_resort(&endpoint));
    }
    categories
}

/// How hints narrow the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topology {
    Everywhere,
    SameNode,
    SameZone,
}

impl Topology {
    fn takes(self, endpoint: &Endpoint, node: &NodeView) -> bool {
        match self {
            Topology::Everywhere => true,
            Topology::SameNode => endpoint.node_hints.contains(&node.name),
            Topology::SameZone => endpoint.zone_hints.contains(&node.zone),
        }
    }
}

/// Hints hold only when every ready endpoint has them and one is for us; anything else would overload or starve.
fn topology(endpoints: &[Endpoint], node: &NodeView) -> Topology {
    let ready: Vec<&Endpoint> = endpoints.iter().filter(|endpoint| endpoint.is_ready).collect();
    let holds = |topology: Topology, hints: fn(&Endpoint) -> usize| {
        ready.iter().all(|endpoint| hints(endpoint) > 0) && ready.iter().any(|endpoint| topology.takes(endpoint, node))
    };
    if holds(Topology::SameNode, |endpoint| endpoint.node_hints.len()) {
        Topology::SameNode
    } else if holds(Topology::SameZone, |endpoint| endpoint.zone_hints.len()) {
        Topology::SameZone
    } else {
        Topology::Everywhere
    }
}

#[cfg(test)]
mod tests;
