//! A seeded world of coming and going: whatever the order of events, no pod is lost and no node is overbooked.

use std::collections::BTreeMap;

use component::informer::Event as Change;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::*;
use crate::objects::Node;
use crate::testkit::{all, asks, node, on, pod};

/// The API as the test plays it: what exists, and which bindings are on their way.
struct World {
    core: Core,
    random: SmallRng,
    now: Timestamp,
    nodes: BTreeMap<String, Arc<Node>>,
    pods: BTreeMap<String, Arc<Pod>>,
    bindings: Vec<(Arc<Pod>, Box<str>)>,
    made: usize,
}

const CPUS: [&str; 4] = ["500m", "1", "1500m", "2"];

fn make_pod(name: &str, kind: usize, node: Option<&str>) -> Arc<Pod> {
    let apart = json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "lonely"}}}]}}}});
    let lonely = if kind.is_multiple_of(5) { apart } else { json!({}) };
    let labels = json!({"metadata": {"labels": {"app": if kind.is_multiple_of(5) { "lonely" } else { "web" }}}});
    let priority = json!({"spec": {"priority": kind % 3, "preemptionPolicy": "Never"}});
    let place = node.map_or(json!({}), on);
    pod(name, all([asks(CPUS[kind % CPUS.len()], "128Mi"), labels, priority, lonely, place]))
}

fn kind_of(name: &str) -> usize {
    name.trim_start_matches('p').parse().unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            core: Core::new(
                vec![Profile::default_named("default-scheduler")],
                Backoff::default(),
                Clock::system(),
                seed,
            ),
            random: SmallRng::seed_from_u64(seed),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            bindings: Vec::new(),
            made: 0,
        }
    }

    fn after(&mut self, seconds: i64) {
        self.now = self.now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
    }

    fn pick<T>(random: &mut SmallRng, map: &BTreeMap<String, T>) -> Option<String> {
        (!map.is_empty()).then(|| map.keys().nth(random.random_range(0..map.len())).cloned())?
    }

    fn add_node(&mut self, name: &str, cpu: &str) {
        let new = node(name, json!({"status": {"allocatable": {"cpu": cpu}}}));
        let change = match self.nodes.insert(name.to_owned(), new.clone()) {
            Some(old) => Change::Updated { old, new },
            None => Change::Added(new),
        };
        self.core.on_node(&change, self.now);
    }

    fn add_pod(&mut self) {
        let name = format!("p{}", self.made);
        self.made += 1;
        let made = make_pod(&name, kind_of(&name), None);
        self.pods.insert(name, made.clone());
        self.core.on_pod(&Change::Added(made), self.now);
    }

    fn remove_pod(&mut self) {
        let Some(name) = Self::pick(&mut self.random, &self.pods) else { return };
        if let Some(gone) = self.pods.remove(&name) {
            self.core.on_pod(&Change::Deleted(gone), self.now);
        }
    }

    fn decide(&mut self) -> bool {
        match self.core.step(self.now) {
            Step::Bind { pod, node, .. } => self.bindings.push((pod, node)),
            Step::Unschedulable { .. } | Step::Consult(_) => {}
            Step::Idle(_) => return false,
        }
        self.check_nodes();
        true
    }

    /// Lets one binding arrive, or fail, with its answer before or after the pod's event.
    fn answer_binding(&mut self, may_fail: bool) {
        if self.bindings.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.bindings.len());
        let (pod, node) = self.bindings.swap_remove(index);
        let fails = may_fail && self.random.random_range(0..4) == 0;
        let Some(old) = self.pods.get(pod.name()).cloned().filter(|_| !fails) else {
            return self.core.binding_failed(&pod, self.now);
        };
        let new = make_pod(pod.name(), kind_of(pod.name()), Some(&node));
        self.pods.insert(pod.name().to_owned(), new.clone());
        let event = Change::Updated { old, new };
        // The answer may get lost on its way although the binding was taken.
        let lost = may_fail && self.random.random_range(0..8) == 0;
        if self.random.random() {
            self.core.on_pod(&event, self.now);
            if lost { self.core.binding_failed(&pod, self.now) } else { self.core.bound(&pod) }
        } else {
            self.core.bound(&pod);
            self.core.on_pod(&event, self.now);
        }
    }

    fn check_nodes(&self) {
        for name in self.nodes.keys() {
            let info = self.core.snapshot.node(self.core.snapshot.slot(name).unwrap());
            let lonely = info.pods().iter().filter(|pod| pod.label("app") == Some("lonely")).count();
            assert!(lonely <= 1, "{lonely} on {name}");
            assert!(info.requested.milli_cpu <= 4000, "{name}: {}", info.requested.milli_cpu);
        }
    }
}

#[test]
fn no_pod_is_lost_and_no_node_overbooked() {
    for seed in 0..30 {
        let mut world = World::new(seed);
        for _ in 0..600 {
            match world.random.random_range(0..10) {
                // Nodes grow and never shrink, so that what fits once always does.
                0 => {
                    let name = format!("n{}", world.random.random_range(0..5));
                    if !world.nodes.contains_key(&name) {
                        world.add_node(&name, "4");
                    }
                }
                1..4 => world.add_pod(),
                4 => world.remove_pod(),
                5..7 => drop(world.decide()),
                7 | 8 => world.answer_binding(true),
                _ => world.after(1),
            }
        }
        // Room for everybody, a node each for the lonely ones, and all the time in the world.
        (0..world.made).for_each(|index| world.add_node(&format!("spare{index}"), "4"));
        for _ in 0..50 {
            while world.decide() {}
            while !world.bindings.is_empty() {
                world.answer_binding(false);
            }
            world.after(11);
        }
        let waiting: Vec<_> = world.pods.values().filter(|pod| !pod.is_assigned()).map(|pod| pod.name()).collect();
        assert!(waiting.is_empty(), "seed {seed}: {waiting:?} were lost");
        assert_eq!(world.core.queue.lengths(), Default::default(), "seed {seed}");
        assert_eq!(world.core.snapshot.pods().count(), world.pods.len(), "seed {seed}");
    }
}
