//! PodTopologySpread.

use std::sync::Arc;

use machinery::selector::Selector;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::{scores, scores_in, verdicts, world};
use crate::event::Event;
use crate::objects::{Node, Pod};
use crate::plugins::Plugin;
use crate::plugins::pod_topology_spread::PodTopologySpread;
use crate::testkit::{all, merge, node, on, pod};

const SKEWED: &str = "node(s) didn't match pod topology spread constraints";
const UNLABELLED: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

fn zoned(name: &str, zone: &str) -> Arc<Node> {
    node(name, json!({"metadata": {"labels": {"zone": zone}}}))
}

fn web(name: &str, node: &str) -> Arc<Pod> {
    pod(name, all([json!({"metadata": {"labels": {"app": "web"}}}), on(node)]))
}

fn constraint(fields: Value) -> Value {
    let mut constraint = json!({
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    });
    merge(&mut constraint, fields);
    constraint
}

fn spreading(constraints: &[Value], fields: Value) -> Arc<Pod> {
    let labels = json!({"metadata": {"labels": {"app": "web"}}});
    pod("p", all([labels, json!({"spec": {"topologySpreadConstraints": constraints}}), fields]))
}

fn check(constraints: &[Value], fields: Value, nodes: &[Arc<Node>], placed: &[Arc<Pod>], expected: &[&str]) {
    let verdicts = verdicts(&PodTopologySpread::default(), &spreading(constraints, fields), nodes, placed);
    assert_eq!(verdicts, expected, "{constraints:?}");
}

#[test]
fn hard_constraints() {
    let nodes = [zoned("a1", "a"), zoned("a2", "a"), zoned("b1", "b"), node("none", json!({}))];
    let placed = [web("w1", "a1"), web("w2", "a2"), web("w3", "b1"), pod("other", on("b1"))];
    let all_equal = [web("w1", "a1"), web("w2", "b1")];
    check(&[constraint(json!({}))], json!({}), &nodes, &placed, &[SKEWED, SKEWED, "", UNLABELLED]);
    check(&[constraint(json!({"maxSkew": 2}))], json!({}), &nodes, &placed, &["", "", "", UNLABELLED]);
    check(&[constraint(json!({}))], json!({}), &nodes, &all_equal, &["", "", "", UNLABELLED]);
    check(
        &[constraint(json!({"topologyKey": "kubernetes.io/hostname"}))],
        json!({}),
        &nodes,
        &placed,
        &[SKEWED, SKEWED, SKEWED, ""],
    );
    let both = [constraint(json!({})), constraint(json!({"topologyKey": "kubernetes.io/hostname", "maxSkew": 2}))];
    check(&both, json!({}), &nodes, &placed, &[SKEWED, SKEWED, "", UNLABELLED]);
    let soft = constraint(json!({"whenUnsatisfiable": "ScheduleAnyway"}));
    check(&[soft], json!({}), &nodes, &placed, &["", "", "", ""]);
}

#[test]
fn who_counts() {
    let nodes = [zoned("a", "a"), zoned("b", "b")];
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let elsewhere = json!({"metadata": {"namespace": "other"}});
    for fields in [going, elsewhere] {
        let labels = json!({"metadata": {"labels": {"app": "web"}}});
        let placed = [pod("w", all([labels, on("a"), fields]))];
        check(&[constraint(json!({}))], json!({}), &nodes, &placed, &["", ""]);
    }
    check(&[constraint(json!({}))], json!({}), &nodes, &[web("w", "a")], &[SKEWED, ""]);
    // A pod that is not one of those that are spread does not add to the skew.
    let not_self = json!({"metadata": {"labels": {"app": "db"}}});
    check(&[constraint(json!({}))], not_self, &nodes, &[web("w", "a")], &["", ""]);
    // Only pods of the same version count.
    let by_version = constraint(json!({"matchLabelKeys": ["version"]}));
    let version = json!({"metadata": {"labels": {"version": "2"}}});
    check(&[by_version], version, &nodes, &[web("w", "a")], &["", ""]);
}

#[test]
fn too_few_domains_count_as_an_empty_one() {
    let nodes = [zoned("a", "a"), zoned("b", "b")];
    let placed = [web("w1", "a"), web("w2", "b")];
    check(&[constraint(json!({"minDomains": 2}))], json!({}), &nodes, &placed, &["", ""]);
    check(&[constraint(json!({"minDomains": 3}))], json!({}), &nodes, &placed, &[SKEWED, SKEWED]);
}

#[test]
fn which_nodes_count() {
    let tainted =
        json!({"metadata": {"labels": {"zone": "c"}}, "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
    let nodes = [zoned("a", "a"), zoned("b", "b"), node("c", tainted)];
    let placed = [web("w1", "a"), web("w2", "b")];
    // The empty tainted zone counts unless told otherwise.
    check(&[constraint(json!({}))], json!({}), &nodes, &placed, &[SKEWED, SKEWED, ""]);
    check(&[constraint(json!({"nodeTaintsPolicy": "Honor"}))], json!({}), &nodes, &placed, &["", "", ""]);
    // Zones that the node selector rules out do not count unless told otherwise.
    let only_a = json!({"spec": {"nodeSelector": {"zone": "a"}}});
    check(&[constraint(json!({}))], only_a.clone(), &nodes[..2], &placed[..1], &["", ""]);
    check(&[constraint(json!({"nodeAffinityPolicy": "Ignore"}))], only_a, &nodes[..2], &placed[..1], &[SKEWED, ""]);
}

#[test]
fn soft_constraints_prefer_the_emptier_domain() {
    let nodes = [zoned("a", "a"), zoned("b", "b"), node("none", json!({}))];
    let placed = [web("w1", "a"), web("w2", "a"), web("w3", "b")];
    let soft = spreading(&[constraint(json!({"whenUnsatisfiable": "ScheduleAnyway"}))], json!({}));
    // Two and one matching pods, each times ln(2 + 2), rounded: 3 and 1; a node without the label is worth nothing.
    assert_eq!(scores(&PodTopologySpread::default(), &soft, &nodes, &placed), [33, 100, 0]);
    assert_eq!(scores(&PodTopologySpread::default(), &soft, &nodes[..2], &[]), [100, 100]);
}

#[test]
fn system_defaults_spread_a_service() {
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let mut snapshot = world(&nodes, &[web("w1", "a"), web("w2", "a")]);
    let plain = pod("p", json!({"metadata": {"labels": {"app": "web"}}}));
    assert!(scores_in(&PodTopologySpread::default(), &plain, &nodes, &snapshot).is_empty());
    let selector = [("app".to_owned(), "web".to_owned())].into();
    snapshot.owners.services.set("default", "web", Some(selector));
    let scores = scores_in(&PodTopologySpread::default(), &plain, &nodes, &snapshot);
    assert!(scores[0] < scores[1], "{scores:?}");
}

#[test]
fn a_controllers_selector_is_part_of_the_defaults() {
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let mut snapshot = world(&nodes, &[web("w1", "a")]);
    snapshot.owners.replica_sets.set("default", "web", Some(Selector::parse("app=web").unwrap()));
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1", "controller": true});
    let owned = pod("p", json!({"metadata": {"labels": {"app": "web"}, "ownerReferences": [owner]}}));
    let scores = scores_in(&PodTopologySpread::default(), &owned, &nodes, &snapshot);
    assert!(scores[0] < scores[1], "{scores:?}");
}

/// Where every node counts, sums are at hand; a policy that leaves none out asks for a walk over all nodes instead.
#[test]
fn sums_at_hand_are_those_of_a_walk() {
    for seed in 0..200 {
        let mut random = SmallRng::seed_from_u64(seed);
        // Half of the worlds have all labels on all nodes.
        let complete: bool = random.random();
        let labelled = |index: usize| {
            let mut labels = json!({});
            for key in ["zone", "rack"] {
                if complete || random.random_range(0..3) > 0 {
                    labels[key] = format!("{key}-{}", random.random_range(0..3)).into();
                }
            }
            node(&format!("n{index}"), json!({"metadata": {"labels": labels}}))
        };
        let nodes: Vec<_> = (0..8).map(labelled).collect();
        let placed = |index: usize| web(&format!("w{index}"), &format!("n{}", random.random_range(0..8)));
        let placed: Vec<_> = (0..12).map(placed).collect();
        let keys = ["zone", "rack", "kubernetes.io/hostname"];
        let when = ["DoNotSchedule", "ScheduleAnyway"];
        let chosen: Vec<(&str, &str, i32, i32)> = (0..random.random_range(1..4))
            .map(|_| {
                let (key, when) = (keys[random.random_range(0..3)], when[random.random_range(0..2)]);
                (key, when, random.random_range(1..4), random.random_range(1..5))
            })
            .collect();
        let told = |policy: &str| {
            let constraints: Vec<Value> = chosen
                .iter()
                .map(|(key, when, max_skew, min_domains)| {
                    constraint(json!({"topologyKey": key, "whenUnsatisfiable": when, "maxSkew": max_skew,
                        "minDomains": min_domains, "nodeTaintsPolicy": policy}))
                })
                .collect();
            let (plugin, pod) = (PodTopologySpread::default(), spreading(&constraints, json!({})));
            (verdicts(&plugin, &pod, &nodes, &placed), scores(&plugin, &pod, &nodes, &placed))
        };
        assert_eq!(told("Ignore"), told("Honor"), "seed {seed}: {chosen:?}");
    }
}

#[test]
fn hints() {
    let nodes = [zoned("a", "a"), zoned("b", "b")];
    let snapshot = world(&nodes, &[]);
    let waiting = spreading(&[constraint(json!({}))], json!({}));
    let wakes = |event: Event<'_>| PodTopologySpread::default().wakes(&waiting, &event, &snapshot);
    let (matching, other, unzoned) = (web("w", "a"), pod("o", on("a")), node("n", json!({})));
    assert!(wakes(Event::PodAdd(&matching)) && wakes(Event::PodDelete(&matching)));
    assert!(!wakes(Event::PodAdd(&other)) && !wakes(Event::PodDelete(&other)));
    assert!(wakes(Event::PodUpdate { old: &other, new: &matching }));
    assert!(
        wakes(Event::NodeAdd(&nodes[0])) && wakes(Event::NodeDelete(&nodes[0])) && !wakes(Event::NodeAdd(&unzoned))
    );
    assert!(wakes(Event::NodeUpdate { old: &nodes[0], new: &zoned("a", "c") }));
    assert!(!wakes(Event::NodeUpdate { old: &nodes[0], new: &nodes[0] }));
}
