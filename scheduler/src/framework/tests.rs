//! One decision: filters, scores, reasons.

use std::sync::Arc;

use rand::SeedableRng;
use serde_json::{Value, json};

use super::*;
use crate::objects::Node;
use crate::testkit::{all, asks, node, on, pod};

fn world(nodes: &[Arc<Node>], placed: &[Arc<Pod>]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    nodes.iter().for_each(|node| snapshot.set_node(node.clone()));
    placed.iter().for_each(|pod| snapshot.set_pod(pod.clone()));
    snapshot
}

fn try_with(pod: &Pod, snapshot: &mut Snapshot, nominated: &Nominated) -> Result<String, String> {
    let profile = Profile::default_named("default-scheduler");
    let mut random = SmallRng::seed_from_u64(1);
    schedule(&profile, pod, snapshot, nominated, &mut Walk::default(), &mut random)
        .map(|placement| snapshot.node(placement.slot).name().to_owned())
        .map_err(|diagnosis| diagnosis.message())
}

fn message(pod: &Pod, nodes: &[Arc<Node>], placed: &[Arc<Pod>]) -> String {
    try_with(pod, &mut world(nodes, placed), &Nominated::new()).unwrap_err()
}

fn tainted(name: &str) -> Arc<Node> {
    node(name, json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}))
}

#[test]
fn reasons_are_counted_and_those_of_most_nodes_come_first() {
    let small = |name: &str| node(name, json!({"status": {"allocatable": {"memory": "1Gi"}}}));
    let nodes = [tainted("a"), tainted("b"), small("c")];
    assert_eq!(
        message(&pod("p", asks("1", "2Gi")), &nodes, &[]),
        "0/3 nodes are available: 2 node(s) had untolerated taint(s), 1 Insufficient memory."
    );
    let many: Vec<_> =
        (0..10).map(|i| tainted(&format!("t{i}"))).chain((0..2).map(|i| small(&format!("s{i}")))).collect();
    assert_eq!(
        message(&pod("p", asks("1", "2Gi")), &many, &[]),
        "0/12 nodes are available: 10 node(s) had untolerated taint(s), 2 Insufficient memory."
    );
    let many: Vec<_> = (0..11).map(|i| small(&format!("s{i}"))).chain([tainted("t")]).collect();
    assert_eq!(
        message(&pod("p", asks("1", "2Gi")), &many, &[]),
        "0/12 nodes are available: 11 Insufficient memory, 1 node(s) had untolerated taint(s)."
    );
    let both = node("n", json!({"status": {"allocatable": {"cpu": "1", "memory": "1Gi"}}}));
    assert_eq!(
        message(&pod("p", asks("2", "2Gi")), &[both], &[]),
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."
    );
}

#[test]
fn a_pod_pinned_to_a_node_names_the_plugin_that_hides_the_others() {
    let pin = |name: &str| {
        let term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]});
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}});
        pod("p", json!({"spec": {"affinity": {"nodeAffinity": required}}}))
    };
    let nodes = [tainted("a"), node("b", json!({})), node("c", json!({}))];
    assert_eq!(
        message(&pin("a"), &nodes, &[]),
        "0/3 nodes are available: 2 node(s) didn't satisfy plugin(s) [NodeAffinity], 1 node(s) had untolerated taint(s)."
    );
    assert_eq!(
        message(&pin("gone"), &nodes, &[]),
        "0/3 nodes are available: 3 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    );
    assert_eq!(try_with(&pin("b"), &mut world(&nodes, &[]), &Nominated::new()), Ok("b".into()));
}

#[test]
fn the_emptier_node_is_better() {
    let nodes = [node("a", json!({})), node("b", json!({})), node("c", json!({}))];
    let placed = [pod("x", all([asks("1", "2Gi"), on("a")])), pod("y", all([asks("2", "4Gi"), on("c")]))];
    assert_eq!(try_with(&pod("p", asks("1", "1Gi")), &mut world(&nodes, &placed), &Nominated::new()), Ok("b".into()));
}

#[test]
fn a_promised_node_is_taken_though_others_are_emptier() {
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let placed = [pod("x", all([asks("1", "1Gi"), on("a")]))];
    let promised = |name: &str| pod("p", json!({"status": {"nominatedNodeName": name}}));
    let snapshot = &mut world(&nodes, &placed);
    assert_eq!(try_with(&promised("a"), snapshot, &Nominated::new()), Ok("a".into()));
    assert_eq!(try_with(&promised("gone"), snapshot, &Nominated::new()), Ok("b".into()));
}

#[test]
fn room_promised_to_important_pods_is_left_to_them() {
    let snapshot = &mut world(&[node("n", json!({}))], &[]);
    let promise = |priority: i32| {
        let promised = pod("promised", all([asks("3", "1Gi"), on("n"), json!({"spec": {"priority": priority}})]));
        Nominated::from([(0, vec![promised])])
    };
    let waiting = pod("p", asks("2", "1Gi"));
    let short = "0/1 nodes are available: 1 Insufficient cpu.";
    assert_eq!(try_with(&waiting, snapshot, &promise(5)), Err(short.into()));
    assert_eq!(try_with(&waiting, snapshot, &promise(-5)), Ok("n".into()));
    assert_eq!(snapshot.node(0).pods().len(), 0, "trying out leaves no trace");
}

#[test]
fn the_same_seed_gives_the_same_placements_and_others_spread() {
    let nodes: Vec<_> = (0..20).map(|i| node(&format!("n{i}"), json!({}))).collect();
    let place = |seed: u64| {
        let (mut snapshot, mut walk) = (world(&nodes, &[]), Walk::default());
        let (profile, mut random) = (Profile::default_named("default-scheduler"), SmallRng::seed_from_u64(seed));
        let mut place = |i: usize| {
            let pod = pod(&format!("p{i}"), asks("100m", "100Mi"));
            let placed = schedule(&profile, &pod, &mut snapshot, &Nominated::new(), &mut walk, &mut random).unwrap();
            snapshot.assume(placed.slot, pod);
            placed.slot
        };
        (0..20).map(&mut place).collect::<Vec<Slot>>()
    };
    assert_eq!(place(7), place(7));
    assert_ne!(place(7), place(8));
    let mut once: Vec<Slot> = place(7);
    once.sort_unstable();
    assert_eq!(once, (0..20).collect::<Vec<_>>(), "each node gets one");
}

#[test]
fn large_clusters_are_sampled_and_walked_in_turn() {
    let nodes: Vec<_> = (0..1000).map(|i| node(&format!("n{i}"), json!({}))).collect();
    let (mut snapshot, mut walk) = (world(&nodes, &[]), Walk::default());
    let profile = Profile::default_named("default-scheduler");
    let mut random = SmallRng::seed_from_u64(1);
    let mut evaluate = |fields: Value| {
        schedule(&profile, &pod("p", fields), &mut snapshot, &Nominated::new(), &mut walk, &mut random).unwrap()
    };
    let (first, second, third) = (evaluate(json!({})), evaluate(json!({})), evaluate(json!({})));
    assert_eq!((first.evaluated, first.feasible), (420, 420));
    assert!(first.slot < 420 && (420..840).contains(&second.slot));
    assert!(third.slot >= 840 || third.slot < 260);
}

#[test]
fn what_the_nearest_node_lacks_is_never_cut_off() {
    use crate::plugins::Shortfall;
    let lacking = Shortfall { resource: "memory".into(), lacking: 1 << 20, wanted: 2 << 20 };
    let told = |reasons: usize, bytes_max: usize| {
        let mut diagnosis = Diagnosis::new(reasons);
        diagnosis.preemption = Some("preemption: no".to_owned());
        (0..reasons).for_each(|i| diagnosis.reject_extended(i, format!("node {i} is not green"), false));
        diagnosis.to_tell(Some(("n", &lacking))).cut_to(bytes_max)
    };
    let nearest = "The nearest node, n, lacks 1Mi memory.";
    let whole = format!("0/1 nodes are available: 1 node 0 is not green. {nearest} preemption: no");
    assert_eq!(told(1, 1024), whole);
    assert_eq!(
        told(1, whole.len() - 1),
        format!("0/1 nodes are available: 1 node 0 is not green. {nearest} preemptio ...")
    );
    let long = told(200, 1024);
    assert!(long.len() == 1024 && long.ends_with(&format!(" ... {nearest}")), "{long}");
}
