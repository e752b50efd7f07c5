//! Events in, decisions out.

use component::informer::Event as Change;
use serde_json::json;

use super::*;
use crate::objects::Node;
use crate::testkit::{all, asks, node, on, pod};

/// A core with a clock that only the test moves.
struct World {
    core: Core,
    now: Timestamp,
}

impl World {
    fn new(nodes: &[Arc<Node>]) -> Self {
        let core = Core::new(vec![Profile::default_named("default-scheduler")], Backoff::default(), Clock::system(), 7);
        let mut world = Self { core, now: "2026-01-01T00:00:00Z".parse().unwrap() };
        nodes.iter().for_each(|node| world.node(Change::Added(node.clone())));
        world
    }

    fn node(&mut self, change: Change<Node>) {
        self.core.on_node(&change, self.now);
    }

    fn pod(&mut self, change: Change<Pod>) {
        self.core.on_pod(&change, self.now);
    }

    fn add(&mut self, pod: Arc<Pod>) {
        self.pod(Change::Added(pod));
    }

    fn after(&mut self, seconds: i64) {
        self.now = self.now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
    }

    /// What the next step is, in short: `pod -> node`, `pod: message` or `idle`.
    fn step(&mut self) -> String {
        match self.core.step(self.now) {
            Step::Bind { pod, node, .. } => format!("{} -> {node}", pod.name()),
            Step::Unschedulable { pod, message, .. } => format!("{}: {message}", pod.name()),
            Step::Consult(consultation) => format!("{}?", consultation.pod.name()),
            Step::Idle(_) => "idle".to_owned(),
        }
    }
}

#[test]
fn pods_go_by_priority_and_count_at_once() {
    let mut world = World::new(&[node("n", json!({}))]);
    world.add(pod("low", asks("3", "1Gi")));
    world.add(pod("high", all([asks("3", "1Gi"), json!({"spec": {"priority": 10, "preemptionPolicy": "Never"}})])));
    assert_eq!(world.step(), "high -> n");
    assert_eq!(
        world.step(),
        "low: 0/1 nodes are available: 1 Insufficient cpu. The nearest node, n, lacks 2 cpu. preemption: 0/1 nodes are \
         available: 1 No preemption victims found for incoming pod."
    );
    assert_eq!(world.step(), "idle");
}

#[test]
fn a_pod_without_any_node_waits_for_one() {
    let mut world = World::new(&[]);
    world.add(pod("p", json!({})));
    assert_eq!(world.step(), "p: no nodes available to schedule pods");
    world.node(Change::Added(node("n", json!({}))));
    assert_eq!(world.step(), "p -> n");
}

#[test]
fn only_events_that_help_wake_a_pod() {
    let small = node("small", json!({"status": {"allocatable": {"cpu": "1"}}}));
    let mut world = World::new(std::slice::from_ref(&small));
    world.add(pod("p", asks("2", "1Gi")));
    assert!(world.step().starts_with("p: 0/1 nodes are available: 1 Insufficient cpu."));
    let labelled = node("small", json!({"metadata": {"labels": {"a": "b"}}, "status": {"allocatable": {"cpu": "1"}}}));
    world.node(Change::Updated { old: small, new: labelled.clone() });
    world.node(Change::Added(node("also-small", json!({"status": {"allocatable": {"cpu": "1"}}}))));
    world.add(pod("other", all([asks("1", "1Gi"), on("also-small")])));
    assert_eq!(world.step(), "idle");
    world.node(Change::Updated { old: labelled, new: node("small", json!({})) });
    assert_eq!(world.step(), "p -> small");
}

#[test]
fn room_that_was_promised_is_free_when_the_pod_goes() {
    let mut world = World::new(&[node("n", json!({}))]);
    let promised = json!({"spec": {"priority": 100, "schedulingGates": [{"name": "example.com/wait"}]},
        "status": {"nominatedNodeName": "n"}});
    let big = pod("big", all([asks("4", "1Gi"), promised]));
    world.add(big.clone());
    world.add(pod("other", asks("4", "1Gi")));
    assert!(world.step().starts_with("other: 0/1 nodes are available: 1 Insufficient cpu."));
    assert_eq!(world.step(), "idle");
    world.pod(Change::Deleted(big));
    assert_eq!(world.step(), "other -> n");
}

#[test]
fn a_failed_binding_frees_the_room_and_is_tried_later() {
    let mut world = World::new(&[node("n", json!({}))]);
    let first = pod("p", asks("4", "1Gi"));
    world.add(first.clone());
    assert_eq!(world.step(), "p -> n");
    world.core.binding_failed(&first, world.now);
    assert_eq!(world.step(), "idle");
    world.after(1);
    assert_eq!(world.step(), "p -> n");
    world.core.bound(&first);
    world.pod(Change::Updated { old: first, new: pod("p", all([asks("4", "1Gi"), on("n")])) });
    assert_eq!(world.core.snapshot().node(0).requested.milli_cpu, 4000);
    assert_eq!(world.step(), "idle");
}

#[test]
fn a_binding_that_was_taken_after_all_stays() {
    let mut world = World::new(&[node("n", json!({}))]);
    let waiting = pod("p", asks("1", "1Gi"));
    world.add(waiting.clone());
    assert_eq!(world.step(), "p -> n");
    world.pod(Change::Updated { old: waiting.clone(), new: pod("p", all([asks("1", "1Gi"), on("n")])) });
    world.core.binding_failed(&waiting, world.now);
    assert_eq!(world.core.snapshot().node(0).pods().len(), 1);
    world.after(600);
    assert_eq!(world.step(), "idle");
}

#[test]
fn a_pod_that_goes_while_it_is_bound_leaves_its_room_at_once() {
    let mut world = World::new(&[node("n", json!({}))]);
    let first = pod("first", asks("4", "1Gi"));
    world.add(first.clone());
    assert_eq!(world.step(), "first -> n");
    world.add(pod("second", asks("4", "1Gi")));
    assert!(world.step().starts_with("second: 0/1 nodes are available: 1 Insufficient cpu."));
    let going =
        pod("first", all([asks("4", "1Gi"), json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})]));
    world.pod(Change::Updated { old: first, new: going.clone() });
    assert_eq!(world.step(), "second -> n");
    world.core.binding_failed(&going, world.now);
    world.after(600);
    assert_eq!(world.step(), "idle");
}

#[test]
fn gates_hold_a_pod_back() {
    let mut world = World::new(&[node("n", json!({}))]);
    let gated = pod("p", json!({"spec": {"schedulingGates": [{"name": "example.com/wait"}]}}));
    world.add(gated.clone());
    assert_eq!(world.step(), "idle");
    world.pod(Change::Updated { old: gated, new: pod("p", json!({})) });
    assert_eq!(world.step(), "p -> n");
}

#[test]
fn others_pods_are_left_alone() {
    let mut world = World::new(&[node("n", json!({}))]);
    world.add(pod("p", json!({"spec": {"schedulerName": "other"}})));
    assert_eq!(world.step(), "idle");
}

#[test]
fn a_pod_that_is_going_is_not_scheduled() {
    let mut world = World::new(&[node("n", json!({}))]);
    world.add(pod("p", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})));
    assert_eq!(world.step(), "idle");
}

#[test]
fn a_pod_that_wants_company_goes_when_it_is_bound() {
    let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}});
    let near = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    let mut world = World::new(&[node("n", json!({})), node("m", json!({}))]);
    world.add(pod("web", json!({"spec": {"affinity": near}})));
    assert!(world.step().starts_with("web: 0/2 nodes are available: 2 node(s) didn't match pod affinity rules."));
    let db = |fields| pod("db", all([json!({"metadata": {"labels": {"app": "db"}}}), fields]));
    let waiting = db(json!({}));
    world.add(waiting.clone());
    let bound = world.step();
    let host = bound.strip_prefix("db -> ").expect("a binding").to_owned();
    assert_eq!(world.step(), "idle");
    world.core.bound(&waiting);
    world.pod(Change::Updated { old: waiting, new: db(on(&host)) });
    assert_eq!(world.step(), format!("web -> {host}"));
}
