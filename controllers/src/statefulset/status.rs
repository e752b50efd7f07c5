//! A StatefulSet's status: its pods counted, and its revisions.
//!
//! Pure.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};

use super::identity;
use super::plan::World;
use crate::common::pod::Pod;
use crate::common::{nonzero, pods};

pub(super) fn min_ready_seconds(set: &StatefulSet) -> i32 {
    identity::spec(set).and_then(|s| s.min_ready_seconds).unwrap_or(0)
}

pub(super) fn count(world: &World) -> StatefulSetStatus {
    let min_ready = min_ready_seconds(world.set);
    let ready = |p: &Pod| pods::phase(p) == "Running" && pods::is_ready(p);
    let of = |p: &Pod, name: &str| p.metadata.deletion_timestamp.is_none() && identity::revision_of(p) == name;
    let number = |is: &dyn Fn(&Pod) -> bool| {
        let all = world.pods.iter().filter(|p| identity::ordinal(p).is_some());
        all.filter(|p| is(p)).count() as i32
    };
    StatefulSetStatus {
        observed_generation: world.set.metadata.generation,
        replicas: number(&|_| true),
        ready_replicas: nonzero(number(&ready)),
        available_replicas: Some(number(&|p| ready(p) && pods::is_available(p, min_ready, world.now))),
        current_replicas: nonzero(number(&|p| of(p, &world.current.name))),
        updated_replicas: nonzero(number(&|p| of(p, &world.update.name))),
        current_revision: Some(world.current.name.clone()),
        update_revision: Some(world.update.name.clone()),
        collision_count: Some(world.collision_count),
        conditions: world.set.status.as_ref().and_then(|s| s.conditions.clone()),
    }
}

/// When all pods are of the new revision and serve, it becomes the current one.
pub(super) fn complete(set: &StatefulSet, status: &mut StatefulSetStatus) {
    status.current_replicas = status.current_replicas.filter(|n| *n != 0);
    let strategy = identity::spec(set).and_then(|s| s.update_strategy.as_ref());
    let rolling = strategy.and_then(|s| s.type_.as_deref()) == Some("RollingUpdate");
    let all = identity::replicas(set);
    let (updated, ready) = (status.updated_replicas.unwrap_or(0), status.ready_replicas.unwrap_or(0));
    if rolling && (updated, ready, status.replicas) == (all, all, all) {
        status.current_replicas = status.updated_replicas;
        status.current_revision = status.update_revision.clone();
    }
}

/// Whether the status has to be written. The count of collisions alone is no reason.
pub(super) fn differs(old: Option<&StatefulSetStatus>, new: &StatefulSetStatus) -> bool {
    let Some(old) = old else { return true };
    let numbers = |s: &StatefulSetStatus| {
        let optional = [s.ready_replicas, s.available_replicas, s.current_replicas, s.updated_replicas];
        (s.replicas, optional.map(|n| n.unwrap_or(0)))
    };
    let revisions = |s: &StatefulSetStatus| (s.current_revision.clone(), s.update_revision.clone());
    new.observed_generation > old.observed_generation
        || numbers(new) != numbers(old)
        || revisions(new) != revisions(old)
}
