//! Tables for the DaemonSet's core.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use super::facts::by_node;
use super::node::{Fit, fit, pod_for};
use super::plan::{Plan, World, plan};
use super::status::status;
use crate::common::pod::Pod;

const NEW: &str = "new";

fn now() -> Timestamp {
    Timestamp::from_second(2_000_000_000).unwrap()
}

fn daemon_set(strategy: Value, spec: Value) -> DaemonSet {
    let mut template = json!({"metadata": {"labels": {"app": "d"}}, "spec": spec});
    template["spec"]["containers"] = json!([{"name": "c"}]);
    serde_json::from_value(json!({"metadata": {"name": "d", "namespace": "n", "uid": "u", "generation": 3},
        "spec": {"selector": {"matchLabels": {"app": "d"}}, "minReadySeconds": 10, "updateStrategy": strategy, "template": template}}))
    .unwrap()
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

fn node(name: &str, taints: Value) -> Arc<Node> {
    let labels = json!({"os": "linux", "name": name});
    Arc::new(
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}}))
            .unwrap(),
    )
}

/// `how`: `available`, `ready` (not for long enough), `starting`, `going`, or a phase.
fn pod(name: &str, node: &str, hash: &str, how: &str) -> Arc<Pod> {
    let since = if how == "available" { 100 } else { 2 };
    let since = Timestamp::from_second(now().as_second() - since).unwrap().to_string();
    let ready = if ["available", "ready", "going"].contains(&how) { "True" } else { "False" };
    let phase = if ["Failed", "Succeeded"].contains(&how) { how } else { "Running" };
    let mut pod = json!({"metadata": {"name": name, "namespace": "n", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": "d", "controller-revision-hash": hash}},
        "spec": {"nodeName": node, "containers": []},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}]}});
    if how == "going" {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn decide(ds: &DaemonSet, nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> Plan {
    plan(&World { ds, nodes, pods: by_node(pods), hash: NEW, now: now() }, |_| None)
}

/// Nodes n1 to n4, pods written `name@node:hash:how`.
#[track_caller]
fn check(strategy: Value, pods: &[&str], create: &[&str], delete: &[&str]) {
    let ds = daemon_set(strategy.clone(), json!({}));
    let nodes: Vec<_> = ["n1", "n2", "n3", "n4"].map(|n| node(n, json!([]))).into();
    let parse = |text: &&str| {
        let (name, rest) = text.split_once('@').unwrap();
        let mut rest = rest.split(':');
        pod(name, rest.next().unwrap(), rest.next().unwrap(), rest.next().unwrap())
    };
    let got = decide(&ds, &nodes, &pods.iter().map(parse).collect::<Vec<_>>());
    let (mut created, mut deleted) = (got.create, got.delete);
    created.sort();
    deleted.sort();
    assert_eq!((created, deleted), (strings(create), strings(delete)), "{strategy} {pods:?}");
}

fn strings(all: &[&str]) -> Vec<String> {
    all.iter().map(|s| s.to_string()).collect()
}

#[test]
fn nodes_that_fit() {
    let taint = |key: &str, effect: &str| json!([{"key": key, "effect": effect}]);
    let named = json!({"nodeName": "n1"});
    let other = json!({"nodeName": "n2"});
    let host = json!({"hostNetwork": true});
    let tolerant = json!({"tolerations": [{"operator": "Exists"}]});
    let network = "node.kubernetes.io/network-unavailable";
    let rows = [
        (json!({}), json!([]), Fit::Run),
        (named, json!([]), Fit::Run),
        (other, json!([]), Fit::Not),
        (json!({"nodeSelector": {"os": "linux"}}), json!([]), Fit::Run),
        (json!({"nodeSelector": {"os": "plan9"}}), json!([]), Fit::Not),
        (json!({}), taint("dedicated", "NoSchedule"), Fit::Keep),
        (json!({}), taint("dedicated", "NoExecute"), Fit::Not),
        (json!({}), taint("dedicated", "PreferNoSchedule"), Fit::Run),
        (tolerant, taint("dedicated", "NoExecute"), Fit::Run),
        (json!({}), taint("node.kubernetes.io/not-ready", "NoExecute"), Fit::Run),
        (json!({}), taint("node.kubernetes.io/not-ready", "NoSchedule"), Fit::Keep),
        (json!({}), taint("node.kubernetes.io/unreachable", "NoExecute"), Fit::Run),
        (json!({}), taint("node.kubernetes.io/disk-pressure", "NoSchedule"), Fit::Run),
        (json!({}), taint("node.kubernetes.io/memory-pressure", "NoSchedule"), Fit::Run),
        (json!({}), taint("node.kubernetes.io/pid-pressure", "NoSchedule"), Fit::Run),
        (json!({}), taint("node.kubernetes.io/unschedulable", "NoSchedule"), Fit::Run),
        (json!({}), taint(network, "NoSchedule"), Fit::Keep),
        (host, taint(network, "NoSchedule"), Fit::Run),
    ];
    for (spec, taints, want) in rows {
        let ds = daemon_set(json!({}), spec.clone());
        assert_eq!(fit(&ds, &node("n1", taints.clone())), want, "{spec} {taints}");
    }
}

#[test]
fn the_pod_of_a_node() {
    let affinity = json!({"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "os", "operator": "Exists"}]}]},
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}]}});
    let tolerations = json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]);
    let mut ds = daemon_set(json!({}), json!({"affinity": affinity, "tolerations": tolerations}));
    ds.metadata.annotations = Some([("deprecated.daemonset.template.generation".into(), "7".into())].into());
    let pod = serde_json::to_value(pod_for(&ds, "abc", "n1")).unwrap();
    assert_eq!(pod["metadata"]["generateName"], "d-");
    assert_eq!(
        pod["metadata"]["labels"],
        json!({"app": "d", "controller-revision-hash": "abc", "pod-template-generation": "7"})
    );
    assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "DaemonSet");
    let node_affinity = &pod["spec"]["affinity"]["nodeAffinity"];
    assert_eq!(
        node_affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"],
        json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}])
    );
    assert!(node_affinity["preferredDuringSchedulingIgnoredDuringExecution"].is_array());
    let tolerations = pod["spec"]["tolerations"].as_array().unwrap();
    assert_eq!(tolerations.len(), 6);
    assert!(tolerations[0].get("tolerationSeconds").is_none(), "for ever");
}

#[test]
fn every_node_gets_one_pod() {
    let strategy = || rolling(json!(0), json!(1));
    check(strategy(), &[], &["n1", "n2", "n3", "n4"], &[]);
    check(strategy(), &["a@n1:new:available", "b@n2:new:starting"], &["n3", "n4"], &[]);
    // One that is going holds its node's place until it is gone.
    check(strategy(), &["a@n1:new:going", "b@n2:new:ready", "c@n3:new:ready", "d@n4:new:ready"], &[], &[]);
    let full = |first: &'static str| [first, "b@n2:new:ready", "c@n3:new:ready", "d@n4:new:ready"];
    check(strategy(), &full("a@n1:new:Failed"), &[], &["a"]);
    check(strategy(), &full("a@n1:new:Succeeded"), &[], &["a"]);
    check(
        strategy(),
        &["a@n1:new:ready", "a2@n1:new:ready", "b@n2:new:ready", "c@n3:new:ready", "d@n4:new:ready"],
        &[],
        &["a2"],
    );
}

#[test]
fn pods_that_are_out_of_place() {
    let ds = daemon_set(rolling(json!(0), json!(1)), json!({}));
    let nodes = [
        node("n1", json!([{"key": "x", "effect": "NoExecute"}])),
        node("n2", json!([{"key": "x", "effect": "NoSchedule"}])),
    ];
    let mut unplaced = (*pod("c", "", NEW, "starting")).clone();
    unplaced.spec = Pod::from(pod_for(&ds, NEW, "gone")).spec;
    let pods = [
        pod("a", "n1", NEW, "ready"),
        pod("b", "n2", NEW, "ready"),
        Arc::new(unplaced),
        pod("d", "gone", NEW, "ready"),
    ];
    let got = decide(&ds, &nodes, &pods);
    assert_eq!((got.create, got.delete), (vec![], strings(&["a", "c"])), "what runs on a lost node is not ours");
    let world = World { ds: &ds, nodes: &nodes, pods: by_node(&pods), hash: NEW, now: now() };
    let told = status(&world, true).unwrap();
    assert_eq!((told.desired_number_scheduled, told.number_misscheduled), (0, 2));
}

#[test]
fn failed_pods_wait_and_are_told() {
    let ds = daemon_set(rolling(json!(0), json!(1)), json!({}));
    let (nodes, pods) = ([node("n1", json!([]))], [pod("a", "n1", NEW, "Failed")]);
    let world = World { ds: &ds, nodes: &nodes, pods: by_node(&pods), hash: NEW, now: now() };
    let held = plan(&world, |_| Some(Duration::from_secs(4)));
    assert_eq!((held.recheck, held.delete.len(), held.events.len()), (Some(Duration::from_secs(4)), 0, 0));
    let killed = plan(&world, |_| None);
    assert_eq!((killed.delete, killed.failed_on), (strings(&["a"]), strings(&["n1"])));
    assert_eq!(killed.events[0].1, "FailedDaemonPod");
    assert_eq!(killed.events[0].2, "Found failed daemon pod n/a on node n1, will try to kill it");
}

#[test]
fn old_pods_are_replaced_within_the_limit() {
    let old = ["a@n1:old:available", "b@n2:old:available", "c@n3:old:available", "d@n4:old:available"];
    check(rolling(json!(0), json!(1)), &old, &[], &["a"]);
    check(rolling(json!(0), json!("50%")), &old, &[], &["a", "b"]);
    check(rolling(json!(0), json!(0)), &old, &[], &["a"]);
    check(json!({"type": "OnDelete"}), &old, &[], &[]);
    // What does not serve goes at once, and counts.
    check(rolling(json!(0), json!(1)), &["a@n1:old:ready", old[1], old[2], old[3]], &[], &["a"]);
    check(rolling(json!(0), json!(2)), &["a@n1:old:ready", old[1], old[2], old[3]], &[], &["a", "b"]);
    // A new pod that does not serve yet counts too.
    check(rolling(json!(0), json!(1)), &["a@n1:new:ready", old[1], old[2], old[3]], &[], &[]);
    check(rolling(json!(0), json!(1)), &["a@n1:new:available", old[1], old[2], old[3]], &[], &["b"]);
    check(rolling(json!(0), json!(1)), &["a@n1:old:going", old[1], old[2], old[3]], &[], &[]);
}

#[test]
fn new_pods_come_first_when_surging() {
    let old = ["a@n1:old:available", "b@n2:old:available", "c@n3:old:available", "d@n4:old:available"];
    let surge = || rolling(json!(1), json!(0));
    check(surge(), &old, &["n1"], &[]);
    check(rolling(json!("30%"), json!(0)), &old, &["n1", "n2"], &[]);
    let with = |new: &'static str| [old[0], new, old[1], old[2], old[3]];
    check(surge(), &with("a2@n1:new:ready"), &[], &[]);
    check(surge(), &with("a2@n1:new:available"), &[], &["a"]);
    // An old pod that does not serve is replaced beyond the limit.
    check(surge(), &["a@n1:old:ready", old[1], old[2], old[3]], &["n1", "n2"], &[]);
    // One that is not even ready goes as soon as there is a new one.
    check(surge(), &["a@n1:old:starting", "a2@n1:new:starting", old[1], old[2], old[3]], &[], &["a"]);
    check(surge(), &["a@n1:old:going", old[1], old[2], old[3]], &["n1"], &[]);
    check(surge(), &[old[0], "x@n1:old:ready", old[1], old[2], old[3]], &[], &["x"]);
}

#[test]
fn surging_leaves_misplaced_pods_until_others_serve() {
    let mut ds = daemon_set(rolling(json!(1), json!(0)), json!({}));
    ds.spec.as_mut().unwrap().min_ready_seconds = None;
    let tainted = json!([{"key": "x", "effect": "NoSchedule"}]);
    let nodes = [node("n1", tainted), node("n2", json!([]))];
    let gone = |how: &str| {
        let got = decide(&ds, &nodes, &[pod("a", "n1", "old", "available"), pod("b", "n2", NEW, how)]);
        assert!(got.create.is_empty());
        got.delete
    };
    assert_eq!(gone("starting"), strings(&[]));
    assert_eq!(gone("available"), strings(&["a"]));
}

#[test]
fn numbers() {
    let ds = daemon_set(rolling(json!(0), json!(1)), json!({}));
    let nodes = ["n1", "n2", "n3", "n4"].map(|n| node(n, json!([])));
    let pods = [pod("a", "n1", NEW, "available"), pod("b", "n2", "old", "ready"), pod("c", "n3", NEW, "starting")];
    let world = |ds| World { ds, nodes: &nodes, pods: by_node(&pods), hash: NEW, now: now() };
    let got = status(&world(&ds), true).unwrap();
    assert_eq!((got.desired_number_scheduled, got.current_number_scheduled), (4, 3));
    assert_eq!((got.number_ready, got.number_available, got.number_unavailable), (2, Some(1), Some(3)));
    assert_eq!((got.updated_number_scheduled, got.observed_generation), (Some(2), Some(3)));
    let written = DaemonSet { status: Some(got), ..ds.clone() };
    assert_eq!(status(&world(&written), true), None);
    let looked_at = status(&world(&ds), false).unwrap();
    assert_eq!(looked_at.observed_generation, None, "a generation that was not worked on");
}
