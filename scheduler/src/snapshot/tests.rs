//! The cluster as the scheduler sees it after events.

use machinery::selector::Selector;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::*;
use crate::testkit::{all, asks, node, on, pod};

const ZONE: &str = "topology.kubernetes.io/zone";

fn zoned(name: &str, zone: &str) -> Arc<Node> {
    node(name, json!({"metadata": {"labels": {ZONE: zone}}}))
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.order().iter().map(|slot| snapshot.node(*slot).name()).collect()
}

#[test]
fn nodes_are_walked_zone_by_zone() {
    let mut snapshot = Snapshot::default();
    for (name, zone) in [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c"), ("c2", "c")] {
        snapshot.set_node(zoned(name, zone));
    }
    assert_eq!(names(&snapshot), ["a1", "b1", "c1", "a2", "c2", "a3"]);
    snapshot.remove_node("b1");
    assert_eq!(names(&snapshot), ["a1", "c1", "a2", "c2", "a3"]);
    snapshot.set_node(zoned("a2", "b"));
    assert_eq!(names(&snapshot), ["a1", "a2", "c1", "a3", "c2"]);
}

#[test]
fn a_label_that_changes_is_told_of_that_node_and_that_label() {
    let mut snapshot = Snapshot::default();
    ["n", "m"].into_iter().for_each(|name| snapshot.set_node(zoned(name, "a")));
    let (zones, hosts) = (snapshot.column(ZONE), snapshot.column("kubernetes.io/hostname"));
    assert_eq!((zones.len, hosts.len), (1, 2));
    snapshot.set_node(zoned("n", "b"));
    assert_eq!((snapshot.column(ZONE).len, snapshot.column("rack").is_complete), (2, false));
    assert!(Arc::ptr_eq(&hosts, &snapshot.column("kubernetes.io/hostname")));
    ["n", "m"]
        .into_iter()
        .for_each(|name| snapshot.set_node(node(name, json!({"metadata": {"labels": {"rack": "r"}}}))));
    let racks = snapshot.column("rack");
    assert_eq!((racks.len, racks.is_complete, snapshot.column(ZONE).len), (1, true, 0));
}

#[test]
fn pods_may_come_before_and_stay_after_their_node() {
    let mut snapshot = Snapshot::default();
    snapshot.set_pod(pod("p", all([asks("1", "1Gi"), on("n")])));
    assert_eq!((snapshot.len(), snapshot.slot("n")), (0, None));
    snapshot.set_node(node("n", json!({})));
    let slot = snapshot.slot("n").unwrap();
    assert_eq!(snapshot.node(slot).requested.milli_cpu, 1000);
    snapshot.remove_node("n");
    assert!(snapshot.is_empty());
    snapshot.set_node(node("n", json!({})));
    assert_eq!(snapshot.node(snapshot.slot("n").unwrap()).pods().len(), 1);
    snapshot.remove_node("n");
    snapshot.remove_pod("p");
    snapshot.set_node(node("other", json!({})));
    assert_eq!(snapshot.slot("other"), Some(slot), "an empty slot is used again");
}

#[test]
fn a_confirmed_pod_counts_once() {
    let mut snapshot = Snapshot::default();
    snapshot.set_node(node("n", json!({})));
    let assumed = pod("p", all([asks("1", "1Gi"), on("n")]));
    snapshot.assume(0, assumed.clone());
    assert!(snapshot.is_assumed("p"));
    snapshot.set_pod(assumed);
    assert!(!snapshot.is_assumed("p") && snapshot.is_placed("p"));
    assert_eq!((snapshot.node(0).requested.milli_cpu, snapshot.node(0).requested.pods), (1000, 1));
    // Somebody else bound it elsewhere.
    snapshot.set_pod(pod("p", all([asks("1", "1Gi"), on("m")])));
    assert_eq!(snapshot.node(0).requested.pods, 0);
}

/// Whatever the order of events, all that is kept up to date step by step equals what is counted from scratch.
#[test]
fn sums_and_counts_never_drift() {
    let affinity = json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "a"}}}]}}}});
    let matcher = PodMatcher::Spread { namespace: "default".into(), selector: Selector::parse("app=a").unwrap() };
    for seed in 0..20 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut snapshot = Snapshot::default();
        for _ in 0..400 {
            let (name, host) = (format!("p{}", random.random_range(0..30)), format!("n{}", random.random_range(0..6)));
            let app = if random.random() { "a" } else { "b" };
            let labels = json!({"metadata": {"labels": {"app": app}}});
            let extra = if random.random() { affinity.clone() } else { json!({}) };
            match random.random_range(0..7) {
                0 => snapshot.set_node(zoned(&host, app)),
                1 => snapshot.remove_node(&host),
                2 => drop(snapshot.remove_pod(&name)),
                3 => {
                    if let Some(slot) = snapshot.slot(&host) {
                        snapshot.assume(slot, pod(&name, all([asks("1", "1Mi"), labels, extra, on(&host)])));
                    }
                }
                4 => drop((snapshot.counts(&matcher), snapshot.sums(&matcher, ZONE))),
                _ => snapshot.set_pod(pod(&name, all([asks("2", "3Mi"), labels, extra, on(&host)]))),
            }
        }
        let (kept, sums, zones) = (snapshot.counts(&matcher), snapshot.sums(&matcher, ZONE), snapshot.column(ZONE));
        let mut expected = vec![0; zones.len];
        let mut fresh = Snapshot::default();
        snapshot.nodes.iter().filter_map(NodeInfo::node).for_each(|node| fresh.set_node(node.clone()));
        snapshot.pods().for_each(|pod| fresh.set_pod(pod.clone()));
        for (slot, info) in snapshot.nodes.iter().enumerate().filter(|(_, info)| info.exists()) {
            let twin = fresh.node(fresh.slot(info.name()).unwrap());
            assert_eq!((&info.requested, info.scored), (&twin.requested, twin.scored), "seed {seed}");
            let matching = info.pods().iter().filter(|pod| matcher.matches(pod, snapshot.namespaces())).count();
            assert_eq!(kept[slot] as usize, matching, "seed {seed}");
            expected[zones.values[slot] as usize] += matching as i64;
        }
        assert_eq!(*sums, expected, "seed {seed}");
        let users = |snapshot: &Snapshot| -> u32 {
            snapshot.terms(TermKind::RequiredAnti).flat_map(|(_, _, slots)| slots.values().copied()).sum()
        };
        let expected = snapshot.pods().filter(|pod| pod.affinity.is_some()).count();
        assert_eq!(users(&snapshot) as usize, expected, "seed {seed}");
    }
}
