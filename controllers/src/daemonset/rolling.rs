//! One step of a rolling update: old pods that go, and nodes that get a second pod first.
//!
//! Pure. Runs when every node has the pods it should have, whatever their revision; it keeps within `maxUnavailable`
//! or `maxSurge`. Tasks: "Perform a Rolling Update on a DaemonSet".

use std::sync::Arc;

use kube::ResourceExt;

use super::facts;
use super::node::{Fit, fit};
use super::plan::{World, is_going};
use crate::common::pod::Pod;
use crate::common::pods;

#[derive(Debug, Default, PartialEq)]
pub(super) struct Step {
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<String>,
}

/// What a node holds of the two templates.
enum Node<'a> {
    /// More than one of a kind: the next sync thins them out.
    Crowded,
    Holds {
        new: Option<&'a Pod>,
        old: Option<&'a Pod>,
    },
}

pub(super) fn step(world: &World) -> Step {
    let runs = |node: &&Arc<_>| fit(world.ds, node) == Fit::Run;
    let desired = world.nodes.iter().filter(runs).count() as i32;
    match facts::max_surge(world.ds, desired) {
        0 => replace(world, facts::max_unavailable(world.ds, desired)),
        max_surge => surge(world, max_surge, desired),
    }
}

fn on_node<'a>(world: &World, pods: &'a [Arc<Pod>]) -> Node<'a> {
    let (mut new, mut old) = (None, None);
    for pod in pods.iter().filter(|p| !is_going(p)) {
        let slot = if facts::is_updated(world.ds, pod, world.hash) { &mut new } else { &mut old };
        if slot.replace(&**pod).is_some() {
            return Node::Crowded;
        }
    }
    Node::Holds { new, old }
}

fn is_available(world: &World, pod: &Pod) -> bool {
    pods::is_available(pod, facts::min_ready_seconds(world.ds), world.now)
}

/// Deletes just enough old pods; the next syncs fill their places. Old pods that do not serve go at once.
fn replace(world: &World, max_unavailable: i32) -> Step {
    let (mut unavailable, mut broken, mut candidates) = (0, Vec::new(), Vec::new());
    for pods in world.pods.values() {
        match on_node(world, pods) {
            Node::Holds { new: None, old: Some(old) } if is_available(world, old) => candidates.push(old.name_any()),
            Node::Holds { new: None, old: Some(old) } => {
                broken.push(old.name_any());
                unavailable += 1;
            }
            Node::Holds { new: Some(new), old: None } if is_available(world, new) => {}
            _ => unavailable += 1,
        }
    }
    // A node that should have a pod and has none is one that does not serve.
    let empty = |n: &&Arc<_>| fit(world.ds, n) == Fit::Run && !world.pods.contains_key(&n.name_any());
    unavailable += world.nodes.iter().filter(empty).count() as i32;
    let room = usize::try_from(max_unavailable - unavailable).unwrap_or(0);
    candidates.truncate(room);
    broken.extend(candidates);
    Step { create: Vec::new(), delete: broken }
}

/// Puts new pods beside old ones, and lets the old ones go when the new ones serve.
fn surge(world: &World, max_surge: i32, desired: i32) -> Step {
    let (mut surging, mut available) = (0, 0);
    let (mut step, mut candidates, mut misplaced) = (Step::default(), Vec::new(), Vec::new());
    for (node, pods) in &world.pods {
        let Node::Holds { new, old } = on_node(world, pods) else {
            surging += 1;
            continue;
        };
        available += i32::from(old.or(new).is_some_and(|pod| is_available(world, pod)));
        let Some(old) = old else { continue };
        let belongs = world.nodes.iter().any(|n| n.name_any() == *node && fit(world.ds, n) == Fit::Run);
        match new {
            Some(new) if is_available(world, new) => step.delete.push(old.name_any()),
            Some(_) => surging += 1,
            None if is_available(world, old) && !belongs => misplaced.push(old.name_any()),
            None if is_available(world, old) => candidates.push(node.clone()),
            None if !belongs => step.delete.push(old.name_any()),
            None => step.create.push(node.clone()),
        }
    }
    // Where daemons are only tolerated they go when enough serve elsewhere.
    misplaced.truncate(usize::try_from(available - desired).unwrap_or(0));
    candidates.truncate(usize::try_from(max_surge - surging).unwrap_or(0));
    step.delete.extend(misplaced);
    step.create.extend(candidates);
    step
}
