//! Deployments: never more pods asked for than `maxSurge` allows, never fewer available than `maxUnavailable` allows. And
//! ReplicaSets: never a pod more than was ever asked for since the controller said what it had seen.
//!
//! A Deployment's bounds hold from the moment on at which its controller tells that it has seen the size and that enough
//! is available: before, it may still act on the old size, and a pod that has just become ready is not known to be.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{World, controller, is_acknowledged, is_going, is_ready, is_terminal, number, text};
use crate::doubts::Pods;

#[derive(Default)]
pub(super) struct Rollouts {
    deployments: BTreeMap<String, Bounds>,
    sets: BTreeMap<String, Sizes>,
}

#[derive(Default)]
struct Bounds {
    replicas: i64,
    /// Whether the sum of the sizes, and the number of available pods, has been within its bound.
    most_held: bool,
    least_held: bool,
}

#[derive(Default)]
struct Sizes {
    /// The size by generation, from the one on that the status tells of.
    asked: BTreeMap<i64, i64>,
    live: i64,
}

impl Rollouts {
    pub(super) fn check(&mut self, world: &World, doubts: &Pods) -> Result<(), String> {
        for (name, deployment) in &world.deployments {
            let bounds = self.deployments.entry(text(deployment, "/metadata/uid").to_owned()).or_default();
            bounds.check(world, deployment).map_err(|broken| format!("Deployment {name}: {broken}"))?;
        }
        for (name, set) in &world.replica_sets {
            let uid = text(set, "/metadata/uid");
            let sizes = self.sets.entry(uid.to_owned()).or_default();
            sizes.check(world, set, doubts.of(uid) as i64).map_err(|broken| format!("ReplicaSet {name}: {broken}"))?;
        }
        Ok(())
    }

    pub(super) fn unsettled(&self, world: &World) -> Vec<String> {
        let undone = world.deployments.values().filter(|deployment| {
            let replicas = number(deployment, "/spec/replicas");
            let counts = ["replicas", "updatedReplicas", "availableReplicas"];
            !is_acknowledged(deployment)
                || counts.iter().any(|count| number(deployment, &format!("/status/{count}")) != replicas)
        });
        undone.map(|d| format!("Deployment {}: {}", d["metadata"]["name"], d["status"])).collect()
    }
}

impl Bounds {
    fn check(&mut self, world: &World, deployment: &Value) -> Result<(), String> {
        let replicas = number(deployment, "/spec/replicas");
        if self.replicas != replicas {
            *self = Bounds { replicas, ..Bounds::default() };
        }
        let uid = text(deployment, "/metadata/uid");
        let (mut asked, mut available, mut staying) = (0, 0, 0);
        for set in world.replica_sets.values().filter(|set| controller(set) == uid) {
            let size = number(set, "/spec/replicas");
            let ready = live_pods(world, set).filter(|pod| is_ready(pod)).count() as i64;
            asked += size;
            available += ready;
            staying += ready.min(size);
        }
        let most = replicas + number(deployment, "/spec/strategy/rollingUpdate/maxSurge");
        let least = replicas - number(deployment, "/spec/strategy/rollingUpdate/maxUnavailable");
        if self.most_held && asked > most {
            return Err(format!("its ReplicaSets ask for {asked} pods, {most} are allowed"));
        }
        if self.least_held && available < least {
            return Err(format!("{available} pods are available, {least} must be"));
        }
        let knows = is_acknowledged(deployment);
        self.most_held |= knows && asked <= most;
        self.least_held |= knows && staying >= least && number(deployment, "/status/availableReplicas") >= least;
        Ok(())
    }
}

impl Sizes {
    fn check(&mut self, world: &World, set: &Value, doubts: i64) -> Result<(), String> {
        self.asked.insert(number(set, "/metadata/generation"), number(set, "/spec/replicas"));
        let seen = number(set, "/status/observedGeneration");
        self.asked.retain(|generation, _| *generation >= seen);
        let live = live_pods(world, set).count() as i64;
        let most = self.asked.values().max().copied().unwrap_or_default();
        if live > self.live && live > most + doubts {
            return Err(format!("one more pod makes {live}, {most} (and {doubts} in doubt) were asked for"));
        }
        self.live = live;
        Ok(())
    }
}

fn live_pods<'w>(world: &'w World, set: &Value) -> impl Iterator<Item = &'w Value> {
    let uid = text(set, "/metadata/uid").to_owned();
    let pods = world.pods.values().filter(move |pod| controller(pod) == uid);
    pods.filter(|pod| !is_going(pod) && !is_terminal(pod))
}
