//! Does a pod fit the node, beside the pods that are there: resources, node affinity, name, ports, taints
//! (`AdmissionCheck` of upstream's scheduler, which its kubelet asks as well). Pure.

use std::{collections::BTreeMap, sync::Arc};

use component::scheduling::{node_affinity, taints};
use k8s_openapi::api::core::v1::{Container, ContainerPort, Node, Pod};
use machinery::{quantity::Quantity, quota};

use super::{Refusal, preemption::Need};
use crate::pod::{
    configs::{
        NodeFacts,
        resources::{self, in_unit},
    },
    spec,
};

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
    let mut found = shortages(pod, others, &allocatable(node, facts));
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

/// What is short for a pod, in upstream's words; for a resize, which only ever asks for more CPU and memory.
pub fn lacks_resources(pod: &Pod, others: &[Arc<Pod>], facts: &NodeFacts) -> Option<String> {
    let short = shortages(pod, others, &allocatable(&Node::default(), facts));
    short.first().map(|it| it.refusal().message)
}

/// The kubelet's own amounts over those that the API has: of its own the kubelet knows best.
fn allocatable(node: &Node, facts: &NodeFacts) -> BTreeMap<String, Quantity> {
    let told = node.status.as_ref().and_then(|it| it.allocatable.as_ref());
    let told = told.into_iter().flatten().filter_map(|(name, amount)| Some((name.clone(), spec::quantity(amount)?)));
    told.chain(facts.allocatable.clone()).collect()
}

fn shortages(pod: &Pod, others: &[Arc<Pod>], allocatable: &BTreeMap<String, Quantity>) -> Vec<Misfit> {
    const FIRST: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
    let others = holding(pod, others);
    let capacity = |name: &str| allocatable.get(name).map_or(0, |amount| in_unit(name, amount));
    let mut found = Vec::new();
    let (count, pods_max) = (i64::try_from(others.len()).unwrap_or(i64::MAX), capacity("pods"));
    if count.saturating_add(1) > pods_max {
        found.push(Misfit::Lacks { resource: "pods".into(), requested: 1, used: count, capacity: pods_max });
    }
    let wanted = resources::requests(pod);
    let is_asked = |name: &str| match FIRST.contains(&name) {
        true => true,
        // A resource that the node does not have at all is the cluster's, not the node's.
        false if quota::is_extended_resource(name) => allocatable.contains_key(name),
        false => name.starts_with("hugepages-") || name.contains("kubernetes.io/"),
    };
    let rest = wanted.keys().map(String::as_str).filter(|name| !FIRST.contains(name) && is_asked(name));
    for name in FIRST.into_iter().chain(rest) {
        let requested = wanted.get(name).copied().unwrap_or(0);
        if requested <= 0 {
            continue;
        }
        let used = others.iter().map(|it| resources::request(it, name)).fold(0, i64::saturating_add);
        let capacity = capacity(name);
        if requested > capacity.saturating_sub(used) {
            found.push(Misfit::Lacks { resource: name.to_owned(), requested, used, capacity });
        }
    }
    found
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
