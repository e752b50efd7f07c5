//! Does a pod fit the node, beside the pods that are there: resources, node affinity, name, ports, taints
//! (`AdmissionCheck` of upstream's scheduler, which its kubelet asks as well). Pure.

use std::sync::Arc;

use component::scheduling::{node_affinity, taints};
use k8s_openapi::api::core::v1::{Container, ContainerPort, Node, Pod};

use super::{Refusal, preemption::Need, room::Room};
use crate::pod::{configs::NodeFacts, spec};

/// One thing that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// Amounts in the resource's unit: thousandths of a CPU, bytes, or a number.
    Lacks { resource: String, requested: i64, used: i64, capacity: i64 },
    /// The plug-in's name, and its words.
    Predicate(&'static str, &'static str),
}

impl Misfit {
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Lacks { resource, requested, used, capacity } => Refusal::new(
                format!("OutOf{resource}"),
                format!(
                    "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: \
                     {capacity}"
                ),
            ),
            Self::Predicate(name, why) => Refusal::new(*name, format!("Predicate {name} failed: {why}")),
        }
    }

    /// How much would have to be freed.
    pub fn lacking(&self) -> Option<Need> {
        match self {
            Self::Lacks { resource, requested, used, capacity } => {
                Some(Need { resource: resource.clone(), amount: requested - (capacity - used) })
            }
            Self::Predicate(..) => None,
        }
    }
}

/// Everything that does not fit; what is short first. `node` tells what only the API knows: labels, taints, and the
/// amounts that others set.
pub fn misfits(pod: &Pod, others: &[Arc<Pod>], node: &Node, facts: &NodeFacts) -> Vec<Misfit> {
    let mut found = Room::new(others, node, facts).shortages(pod);
    if !node_affinity::matches(spec::spec(pod), node) {
        found.push(Misfit::Predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"));
    }
    if spec::spec(pod).node_name.as_ref().is_some_and(|name| !name.is_empty() && *name != facts.node_name) {
        found.push(Misfit::Predicate("NodeName", "node(s) didn't match the requested node name"));
    }
    if lacks_ports(pod, others) {
        found.push(Misfit::Predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports"));
    }
    let on_node = node.spec.as_ref().and_then(|it| it.taints.as_deref()).unwrap_or_default();
    let tolerations = spec::spec(pod).tolerations.as_deref().unwrap_or_default();
    // NoSchedule is the scheduler's business: who names the node passes it by.
    if !spec::is_static(pod) && !taints::all_tolerated(on_node, tolerations, &["NoExecute"]) {
        found.push(Misfit::Predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate"));
    }
    found
}

/// The pods that hold something of the node besides this one.
pub fn holding(pod: &Pod, others: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    let holds = |it: &&Arc<Pod>| !spec::is_over(it) && spec::uid(it) != spec::uid(pod);
    others.iter().filter(holds).cloned().collect()
}

/// Two pods cannot have one port of the node; the later one would take it from the first.
fn lacks_ports(pod: &Pod, others: &[Arc<Pod>]) -> bool {
    let is_any = |ip: &str| matches!(ip, "" | "0.0.0.0");
    let wanted = host_ports(pod);
    if wanted.is_empty() {
        return false;
    }
    let others = holding(pod, others);
    wanted.iter().any(|(ip, protocol, port)| {
        let clashes = |held: &(&str, &str, i32)| {
            (held.1, held.2) == (*protocol, *port) && (held.0 == *ip || is_any(held.0) || is_any(ip))
        };
        others.iter().any(|other| host_ports(other).iter().any(clashes))
    })
}

/// Address, protocol and number of the node's ports that lead to a pod, of all containers that stay.
fn host_ports(pod: &Pod) -> Vec<(&str, &str, i32)> {
    let sidecars = spec::init_containers(pod).iter().filter(|container| spec::is_sidecar(container));
    let containers = spec::spec(pod).containers.iter().chain(sidecars);
    let ports = containers.flat_map(|container: &Container| container.ports.iter().flatten());
    let of = |port: &ContainerPort| port.host_port.filter(|number| *number > 0);
    ports
        .filter_map(|port| {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            Some((port.host_ip.as_deref().unwrap_or_default(), protocol, of(port)?))
        })
        .collect()
}
