//! NodeResourcesFit, NodeResourcesBalancedAllocation, and what pods request.

use serde_json::{Value, json};

use super::{scores, scores_in, verdicts, world};
use crate::event::Event;
use crate::plugins::Plugin;
use crate::plugins::node_resources_balanced_allocation::NodeResourcesBalancedAllocation;
use crate::plugins::node_resources_fit::{NodeResourcesFit, ShapePoint, Strategy, WeightedResource};
use crate::testkit::{all, asks, node, on, pod};

fn sized(name: &str, allocatable: Value) -> std::sync::Arc<crate::objects::Node> {
    node(name, json!({"status": {"allocatable": allocatable}}))
}

#[test]
fn reasons_why_a_pod_does_not_fit() {
    let nodes = [sized("n", json!({"cpu": "2", "memory": "1Gi", "pods": "2", "example.com/gpu": "1"}))];
    let placed = [pod("placed", all([asks("500m", "512Mi"), on("n")]))];
    let wants = |requests: Value| {
        pod("p", json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}}))
    };
    let table = [
        (json!({}), ""),
        (json!({"cpu": "1500m", "memory": "512Mi"}), ""),
        (json!({"cpu": "1501m"}), "Insufficient cpu"),
        (json!({"memory": "513Mi"}), "Insufficient memory"),
        (json!({"cpu": "3", "memory": "2Gi"}), "Insufficient cpu, Insufficient memory"),
        (json!({"ephemeral-storage": "101Gi"}), "Insufficient ephemeral-storage"),
        (json!({"example.com/gpu": "1"}), ""),
        (json!({"example.com/gpu": "2"}), "Insufficient example.com/gpu"),
        (json!({"hugepages-2Mi": "2Mi"}), "Insufficient hugepages-2Mi"),
        (json!({"example.com/none": "0"}), ""),
    ];
    for (requests, expected) in table {
        let verdict = verdicts(&NodeResourcesFit::default(), &wants(requests.clone()), &nodes, &placed);
        assert_eq!(verdict, [expected], "{requests}");
    }
    let full = [placed[0].clone(), pod("another", on("n"))];
    assert_eq!(verdicts(&NodeResourcesFit::default(), &wants(json!({})), &nodes, &full), ["Too many pods"]);
    let ignoring = NodeResourcesFit { ignored_resource_groups: vec!["example.com".into()], ..Default::default() };
    assert_eq!(verdicts(&ignoring, &wants(json!({"example.com/gpu": "2"})), &nodes, &[]), [""]);
}

#[test]
fn preempting_helps_only_where_the_node_is_large_enough() {
    let snapshot = world(&[sized("n", json!({"cpu": "2"}))], &[pod("placed", all([asks("2", "1Mi"), on("n")]))]);
    let helps = |cpu: &str| {
        let (plugin, waiting) = (NodeResourcesFit::default(), pod("p", asks(cpu, "1Mi")));
        let crate::plugins::Filter::Check(check) = plugin.filter(&waiting, &snapshot) else { panic!("no check") };
        check(super::candidate(&snapshot, 0)).unwrap_err().preemptable
    };
    assert!(helps("2"));
    assert!(!helps("3"));
}

#[test]
fn requests_of_whole_pods() {
    let container =
        |cpu: &str, memory: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}});
    let sidecar = |cpu: &str| json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
    let table = [
        (
            "two containers add up",
            json!({"containers": [container("1", "1Gi"), container("500m", "1Gi")]}),
            1500,
            2 << 30,
        ),
        (
            "an init container needs its most at once",
            json!({"initContainers": [container("2", "1Mi")], "containers": [container("1", "1Gi")]}),
            2000,
            1 << 30,
        ),
        (
            "sidecars run beside what starts after them",
            json!({"initContainers": [sidecar("1"), container("2", "1Mi")], "containers": [container("1", "1Mi")]}),
            3000,
            1 << 20,
        ),
        (
            "overhead is on top",
            json!({"containers": [container("1", "1Mi")], "overhead": {"cpu": "250m"}}),
            1250,
            1 << 20,
        ),
        (
            "pod-level requests replace the sum",
            json!({"containers": [container("1", "1Mi")], "resources": {"requests": {"cpu": "3"}}}),
            3000,
            1 << 20,
        ),
        ("fractions of a unit count whole", json!({"containers": [container("0.5m", "1500m")]}), 1, 2),
    ];
    for (name, spec, milli_cpu, memory) in table {
        let requests = &pod("p", json!({"spec": spec})).requests;
        assert_eq!((requests.milli_cpu, requests.memory), (milli_cpu, memory), "{name}");
    }
}

#[test]
fn a_resize_counts_with_the_most_of_wanted_given_and_promised() {
    let status = |reason: &str| {
        json!({"status": {
            "conditions": [{"type": "PodResizePending", "status": "True", "reason": reason}],
            "containerStatuses": [{"name": "c", "resources": {"requests": {"cpu": "2"}}, "allocatedResources": {"cpu": "3"}}],
        }})
    };
    assert_eq!(pod("p", all([asks("4", "0"), status("Deferred")])).requests.milli_cpu, 4000);
    assert_eq!(pod("p", all([asks("4", "0"), status("Infeasible")])).requests.milli_cpu, 3000);
    assert_eq!(pod("p", all([asks("1", "0"), status("Deferred")])).requests.milli_cpu, 3000);
    let whole = |asked: &str| {
        pod(
            "p",
            json!({"spec": {"resources": {"requests": {"cpu": asked}}},
            "status": {"resources": {"requests": {"cpu": "2"}}, "allocatedResources": {"cpu": "3"}}}),
        )
    };
    assert_eq!([whole("4"), whole("1")].map(|pod| pod.requests.milli_cpu), [4000, 3000], "of the whole pod");
}

#[test]
fn scoring_strategies() {
    let nodes =
        [sized("empty", json!({})), sized("half", json!({})), sized("large", json!({"cpu": "8", "memory": "16Gi"}))];
    let placed = [pod("placed", all([asks("1", "2Gi"), on("half")]))];
    let waiting = pod("p", asks("1", "2Gi"));
    let with = |strategy| NodeResourcesFit { strategy, ..Default::default() };
    assert_eq!(scores(&with(Strategy::LeastAllocated), &waiting, &nodes, &placed), [75, 50, 87]);
    assert_eq!(scores(&with(Strategy::MostAllocated), &waiting, &nodes, &placed), [25, 50, 12]);
    let shape = vec![ShapePoint { utilization: 0, score: 0 }, ShapePoint { utilization: 50, score: 100 }];
    assert_eq!(scores(&with(Strategy::RequestedToCapacityRatio(shape)), &waiting, &nodes, &placed), [50, 100, 24]);
}

#[test]
fn pods_without_requests_count_a_little_when_scored() {
    let nodes = [sized("a", json!({})), sized("b", json!({}))];
    let placed: Vec<_> = (0..10).map(|i| pod(&format!("idle-{i}"), on("a"))).collect();
    let scores = scores(&NodeResourcesFit::default(), &pod("p", json!({})), &nodes, &placed);
    assert!(scores[0] < scores[1], "{scores:?}");
}

#[test]
fn balance() {
    let nodes = [sized("even", json!({})), sized("cpu", json!({})), sized("memory", json!({}))];
    let placed = [pod("a", all([asks("2", "1Mi"), on("cpu")])), pod("b", all([asks("1m", "4Gi"), on("memory")]))];
    let plugin = NodeResourcesBalancedAllocation::default();
    let cpu_heavy = scores(&plugin, &pod("p", asks("2", "1Mi")), &nodes, &placed);
    assert!(cpu_heavy[2] > cpu_heavy[0] && cpu_heavy[0] >= cpu_heavy[1], "{cpu_heavy:?}");
    assert_eq!(scores(&plugin, &pod("p", asks("2", "4Gi")), &nodes, &[]), [75, 75, 75]);
    assert!(scores(&plugin, &pod("p", json!({})), &nodes, &placed).is_empty());
}

#[test]
fn hints() {
    let (small, large) = (sized("n", json!({"cpu": "1"})), sized("n", json!({"cpu": "2"})));
    let snapshot = world(std::slice::from_ref(&small), &[]);
    let waiting = pod("p", asks("2", "1Gi"));
    let wakes = |event: Event<'_>| NodeResourcesFit::default().wakes(&waiting, &event, &snapshot);
    let (before, after) = (pod("o", all([asks("2", "1Gi"), on("n")])), pod("o", all([asks("1", "1Gi"), on("n")])));
    assert!(wakes(Event::NodeAdd(&large)) && !wakes(Event::NodeAdd(&small)));
    assert!(wakes(Event::NodeUpdate { old: &small, new: &large }));
    assert!(!wakes(Event::NodeUpdate { old: &large, new: &large }));
    assert!(
        wakes(Event::PodUpdate { old: &before, new: &after }) && !wakes(Event::PodUpdate { old: &after, new: &before })
    );
    assert!(wakes(Event::PodDelete(&before)) && !wakes(Event::PodAdd(&before)));
    assert!(wakes(Event::OwnUpdate { old: &before, new: &after }));
}

/// Nodes `two` and `one` have so many GPUs by devices, one of `two`'s is taken; `own` has two otherwise.
#[test]
fn devices_behind_an_extended_resource_are_scored() {
    let names = ["two", "one", "own", "none"];
    let more = |name: &str| if name == "own" { json!({"example.com/gpu": "2"}) } else { json!({}) };
    let nodes = names.map(|name| sized(name, more(name)));
    let mut snapshot = world(&nodes, &[]);
    let class = json!({"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}});
    snapshot.devices.set_class(&std::sync::Arc::new(serde_json::from_value(class).unwrap()));
    for (node, devices) in [("two", vec!["x", "y"]), ("one", vec!["x"])] {
        let devices: Vec<Value> = devices.into_iter().map(|name| json!({"name": name})).collect();
        let slice = json!({"metadata": {"name": node}, "spec": {"driver": "gpu.example.com", "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1}, "devices": devices}});
        snapshot.devices.set_slice(&std::sync::Arc::new(serde_json::from_value(slice).unwrap()));
    }
    let held = json!({"request": "r", "driver": "gpu.example.com", "pool": "two", "device": "x"});
    let claim = json!({"metadata": {"name": "theirs", "namespace": "default", "uid": "theirs"}, "spec": {},
        "status": {"allocation": {"devices": {"results": [held]}}}});
    snapshot.devices.set_claim(&std::sync::Arc::new(serde_json::from_value(claim).unwrap()));
    let gpus = || vec![WeightedResource { name: "example.com/gpu".into(), weight: 1 }];
    let fit = |strategy: Strategy| NodeResourcesFit { strategy, resources: gpus(), ..Default::default() };
    let wants =
        pod("p", json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"example.com/gpu": "1"}}}]}}));
    let of = |plugin: &NodeResourcesFit| scores_in(plugin, &wants, &nodes, &snapshot);
    assert_eq!(of(&fit(Strategy::LeastAllocated)), [0, 0, 50, 0]);
    assert_eq!(of(&fit(Strategy::MostAllocated)), [100, 100, 50, 0]);
    let even = NodeResourcesBalancedAllocation { resources: [WeightedResource::defaults(), gpus()].concat() };
    let balanced = scores_in(&even, &wants, &nodes, &snapshot);
    assert!(balanced[2] > balanced[1], "half of the GPUs leave a node more even than all: {balanced:?}");
    let plain = pod("p", asks("1", "1Mi"));
    assert_eq!(scores_in(&fit(Strategy::LeastAllocated), &plain, &nodes, &snapshot), [0; 4]);
}
