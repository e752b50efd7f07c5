//! The DaemonSet controller's core: which nodes get a pod, and which pods go.
//!
//! Enter by [`plan`]. It knows no API, no cache and no clock; `rolling` has the part that replaces old pods.

use std::sync::Arc;
use std::time::Duration;

use component::recorder::Type;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

use super::facts::{self, ByNode};
use super::node::{Fit, fit};
use super::rolling;
use crate::common::history::REVISION_LABEL;
use crate::common::pod::Pod;
use crate::common::{map, pods};

/// What is: the DaemonSet, the nodes, and the pods it has.
pub(super) struct World<'a> {
    pub(super) ds: &'a DaemonSet,
    pub(super) nodes: &'a [Arc<Node>],
    pub(super) pods: ByNode,
    /// The value of the current revision's label.
    pub(super) hash: &'a str,
    pub(super) now: Timestamp,
}

/// What to do. Creations and deletions are independent of each other.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Names of nodes that get a pod.
    pub(super) create: Vec<String>,
    /// Names of pods that go.
    pub(super) delete: Vec<String>,
    /// Told about the DaemonSet.
    pub(super) events: Vec<(Type, &'static str, String)>,
    /// Nodes where a failed pod goes now: the next one that fails there has to wait longer.
    pub(super) failed_on: Vec<String>,
    /// When a failed pod that has to wait may go.
    pub(super) recheck: Option<Duration>,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.create.is_empty() && self.delete.is_empty()
    }
}

/// Decides one step. `held_back` tells how long a failed pod of a node still has to stay, if it has to.
pub(super) fn plan(world: &World, held_back: impl Fn(&str) -> Option<Duration>) -> Plan {
    let mut plan = Plan::default();
    for node in world.nodes {
        let name = node.name_any();
        let on_node = world.pods.get(&name);
        match (fit(world.ds, node), on_node) {
            (Fit::Run, None) => plan.create.push(name),
            (Fit::Keep | Fit::Not, None) => {}
            (Fit::Not, Some(pods)) => plan.delete.extend(pods.iter().filter(|p| !is_going(p)).map(|p| p.name_any())),
            (fit, Some(pods)) => on_fitting_node(world, &mut plan, &name, pods, fit, &held_back),
        }
    }
    plan.delete.extend(lost(world));
    if plan.is_empty() && facts::is_rolling(world.ds) {
        let step = rolling::step(world);
        return Plan { create: step.create, delete: step.delete, ..plan };
    }
    plan
}

pub(super) fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Ended pods go, and so do those beyond what the node may hold.
fn on_fitting_node(
    world: &World,
    plan: &mut Plan,
    node: &str,
    all: &[Arc<Pod>],
    fit: Fit,
    held_back: impl Fn(&str) -> Option<Duration>,
) {
    let mut running = Vec::new();
    for pod in all.iter().filter(|p| !is_going(p)) {
        let found = |outcome: &str, verb: &str| {
            let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
            format!("Found {outcome} daemon pod {namespace}/{name} on node {node}, will try to {verb} it")
        };
        match pods::phase(pod) {
            // The kubelet may refuse each pod at once: without a pause the two would fight as fast as they can.
            "Failed" => match held_back(node) {
                Some(wait) => plan.recheck = Some(plan.recheck.map_or(wait, |r| r.min(wait))),
                None => {
                    plan.events.push((Type::Warning, "FailedDaemonPod", found("failed", "kill")));
                    plan.failed_on.push(node.to_owned());
                    plan.delete.push(pod.name_any());
                }
            },
            "Succeeded" => {
                plan.events.push((Type::Normal, "SucceededDaemonPod", found("succeeded", "delete")));
                plan.delete.push(pod.name_any());
            }
            _ => running.push(&**pod),
        }
    }
    if !facts::allows_surge(world.ds) {
        plan.delete.extend(running.iter().skip(1).map(|p| p.name_any()));
    } else if running.is_empty() && fit == Fit::Run {
        plan.create.push(node.to_owned());
    } else if running.len() > 1 {
        plan.delete.extend(beyond_surge(world, &running));
    }
}

/// Two pods may share a node while the old one is ready and the new one not yet available. `running` is oldest first.
fn beyond_surge(world: &World, running: &[&Pod]) -> Vec<String> {
    let is_new = |pod: &Pod| map(&pod.metadata.labels).get(REVISION_LABEL).is_some_and(|h| h == world.hash);
    let new = running.iter().find(|p| is_new(p));
    let old = running.iter().find(|p| !is_new(p));
    let kept = [new, old].map(|p| p.map(|p| p.name_any()));
    let mut surplus: Vec<String> =
        running.iter().map(|p| p.name_any()).filter(|n| !kept.contains(&Some(n.clone()))).collect();
    if let (Some(new), Some(old)) = (new, old) {
        let served = pods::is_available(new, facts::min_ready_seconds(world.ds), world.now);
        if !pods::is_ready(old) || served {
            surplus.push(old.name_any());
        }
    }
    surplus
}

/// Pods for nodes that are gone and that were never placed: the pod garbage collector does not see them.
fn lost<'a>(world: &'a World) -> impl Iterator<Item = String> + 'a {
    let exists = |name: &str| world.nodes.iter().any(|n| n.metadata.name.as_deref() == Some(name));
    let gone = world.pods.iter().filter(move |(node, _)| !exists(node));
    gone.flat_map(|(_, pods)| pods).filter(|p| pods::node_name(p).is_empty()).map(|p| p.name_any())
}
