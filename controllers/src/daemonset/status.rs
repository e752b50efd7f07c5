//! A DaemonSet's status: its numbers over all nodes.
//!
//! Pure.

use k8s_openapi::api::apps::v1::DaemonSetStatus;
use kube::ResourceExt;

use super::facts;
use super::node::{Fit, fit};
use super::plan::World;
use crate::common::{nonzero, pods};

/// The status over these pods; None when it is written already. Of a node's pods the first counts. `acted` says whether
/// this generation was worked on, and not only looked at.
pub(super) fn status(world: &World, acted: bool) -> Option<DaemonSetStatus> {
    let old = world.ds.status.clone().unwrap_or_default();
    let generation = world.ds.metadata.generation.unwrap_or(0);
    let (mut new, mut available, mut updated) = (DaemonSetStatus { ..old.clone() }, 0, 0);
    (new.desired_number_scheduled, new.current_number_scheduled) = (0, 0);
    (new.number_misscheduled, new.number_ready) = (0, 0);
    for node in world.nodes {
        let pod = world.pods.get(&node.name_any()).and_then(|pods| pods.first());
        if fit(world.ds, node) != Fit::Run {
            new.number_misscheduled += i32::from(pod.is_some());
            continue;
        }
        new.desired_number_scheduled += 1;
        let Some(pod) = pod else { continue };
        new.current_number_scheduled += 1;
        new.number_ready += i32::from(pods::is_ready(pod));
        available += i32::from(pods::is_available(pod, facts::min_ready_seconds(world.ds), world.now));
        updated += i32::from(facts::is_updated(world.ds, pod, world.hash));
    }
    new.updated_number_scheduled = nonzero(updated);
    new.number_available = nonzero(available);
    new.number_unavailable = nonzero(new.desired_number_scheduled - available);
    if acted {
        new.observed_generation = Some(generation);
    }
    let behind = old.observed_generation.unwrap_or(0) < generation;
    (new != old || behind).then_some(new)
}
