//! Rollouts in a world where ReplicaSets are slow, tell old numbers, and templates change in the middle.
//!
//! Deterministic for a seed. The plans are the controller's own; ReplicaSets and their pods are numbers here. Whatever
//! happens, there are never more pods asked for than the surge allows, and never fewer available than promised because of
//! what the controller took away.

use component::random::Random;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use serde_json::json;

use super::facts;
use super::plan::{RunningPods, Write, plan};

struct World {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    random: Random,
    now: Timestamp,
    made: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let random = Random::seeded(seed);
        let amount = |most: u64| {
            if random.below(2) == 0 { json!(random.below(most)) } else { json!(format!("{}%", random.below(60))) }
        };
        let rolling = json!({"maxSurge": amount(4), "maxUnavailable": amount(4)});
        let deployment = json!({"metadata": {"name": "d", "namespace": "n", "uid": "d", "generation": 1},
            "spec": {"replicas": 10, "selector": {"matchLabels": {"a": "b"}}, "revisionHistoryLimit": 2, "progressDeadlineSeconds": 600,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "0"}]}}}});
        let deployment = serde_json::from_value(deployment).unwrap();
        World { deployment, sets: Vec::new(), random, now: "2026-01-01T00:00:00Z".parse().unwrap(), made: 0 }
    }

    /// One look of the controller, of whose writes only the first few may get through.
    fn sync(&mut self, writes: usize) {
        let running = RunningPods { replica_sets: Vec::new() };
        let plan = plan(&self.deployment, &self.sets, &running, self.now);
        let all = plan.writes.len();
        for write in plan.writes.into_iter().take(writes) {
            match write {
                Write::Create(mut rs) => {
                    self.made += 1;
                    rs.metadata.uid = Some(format!("rs{}", self.made));
                    rs.metadata.generation = Some(1);
                    rs.metadata.creation_timestamp = Some(crate::common::time(self.now));
                    assert!(self.sets.iter().all(|known| known.metadata.name != rs.metadata.name));
                    self.sets.push(rs);
                }
                Write::Update { replica_set: mut rs, .. } => {
                    rs.metadata.generation = rs.metadata.generation.map(|g| g + 1);
                    let place = self.sets.iter_mut().find(|known| known.metadata.uid == rs.metadata.uid).unwrap();
                    *place = rs;
                }
                Write::Delete(rs) => {
                    assert_eq!((facts::replicas(&rs), facts::actual(&rs)), (0, 0));
                    self.sets.retain(|known| known.metadata.uid != rs.metadata.uid);
                }
            }
        }
        if let Some(d) = plan.status.filter(|_| writes > all) {
            self.deployment.status = d.status;
            self.deployment.metadata.annotations = d.metadata.annotations;
        }
    }

    /// Some ReplicaSet does a part of what it is asked for. Those of a broken image never get ready.
    fn work(&mut self) {
        if self.sets.is_empty() {
            return;
        }
        let at = usize::try_from(self.random.below(self.sets.len() as u64)).unwrap();
        let step = i32::try_from(1 + self.random.below(3)).unwrap();
        let rs = &mut self.sets[at];
        let (want, generation) = (facts::replicas(rs), rs.metadata.generation);
        let broken = serde_json::to_string(&rs.spec).unwrap().contains("broken");
        let status = rs.status.get_or_insert_default();
        status.observed_generation = generation;
        if status.replicas != want {
            let change = (want - status.replicas).clamp(-step, step);
            status.replicas += change;
        } else if !broken {
            let ready = status.ready_replicas.unwrap_or(0);
            status.ready_replicas = Some((ready + step).min(status.replicas));
        }
        // Pods that are not ready go first.
        let ready = status.ready_replicas.unwrap_or(0).min(status.replicas);
        (status.ready_replicas, status.available_replicas) = (Some(ready), Some(ready));
    }

    fn set_image(&mut self, image: &str) {
        let spec = self.deployment.spec.as_mut().unwrap();
        spec.template.spec.as_mut().unwrap().containers[0].image = Some(image.into());
        self.deployment.metadata.generation = self.deployment.metadata.generation.map(|g| g + 1);
    }

    fn asked(&self) -> i32 {
        self.sets.iter().map(facts::replicas).sum()
    }

    /// Available pods that nobody has asked away.
    fn kept_available(&self) -> i32 {
        self.sets.iter().map(|rs| facts::available(rs).min(facts::replicas(rs))).sum()
    }

    fn sync_and_check(&mut self, writes: usize) {
        let (asked, available) = (self.asked(), self.kept_available());
        self.sync(writes);
        let desired = facts::desired(&self.deployment);
        let most = desired + facts::max_surge(&self.deployment);
        let least = desired - facts::max_unavailable(&self.deployment);
        assert!(self.asked() <= most.max(asked), "{} of {most} after {asked}", self.asked());
        let kept = self.kept_available();
        assert!(kept >= least.min(available), "{kept} are left of {available}, {least} must be");
    }

    fn settle(&mut self) {
        self.set_image("last");
        for _ in 0..2_000 {
            self.sync_and_check(usize::MAX);
            self.work();
            self.now += SignedDuration::from_secs(1);
        }
        let status = self.deployment.status.clone().unwrap_or_default();
        assert_eq!(
            (status.updated_replicas, status.available_replicas, status.replicas),
            (Some(10), Some(10), Some(10))
        );
        assert_eq!(self.asked(), 10);
        assert!(self.sets.len() <= 3, "{} are kept of 2 and the new one", self.sets.len());
    }
}

#[test]
fn rollouts_keep_their_promises() {
    for seed in 0..40 {
        let mut world = World::new(seed);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for step in 0..300 {
                match world.random.below(20) {
                    0 => world.set_image(&format!("image{}", step % 7)),
                    1 => world.set_image("broken"),
                    2..=4 => world.sync_and_check(usize::try_from(world.random.below(3)).unwrap()),
                    5..=9 => world.sync_and_check(usize::MAX),
                    _ => world.work(),
                }
                world.now += SignedDuration::from_secs(1);
            }
            world.settle();
        }));
        assert!(checked.is_ok(), "seed {seed}: {:?}", world.deployment.spec.unwrap().strategy);
    }
}
