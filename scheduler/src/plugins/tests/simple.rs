//! NodeName, NodeUnschedulable, NodePorts, TaintToleration, SchedulingGates.

use serde_json::{Value, json};

use super::{scores, verdicts, world};
use crate::event::Event;
use crate::plugins::Plugin;
use crate::plugins::{
    node_declared_features::NodeDeclaredFeatures, node_name::NodeName, node_ports::NodePorts,
    node_unschedulable::NodeUnschedulable, scheduling_gates::SchedulingGates, taint_toleration::TaintToleration,
};
use crate::testkit::{all, node, on, pod};

fn taint(key: &str, value: &str, effect: &str) -> Value {
    json!({"key": key, "value": value, "effect": effect})
}

fn tainted(name: &str, taints: &[Value]) -> std::sync::Arc<crate::objects::Node> {
    node(name, json!({"spec": {"taints": taints}}))
}

fn tolerating(tolerations: Value) -> std::sync::Arc<crate::objects::Pod> {
    pod("p", json!({"spec": {"tolerations": tolerations}}))
}

#[test]
fn node_name() {
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let other = "node(s) didn't match the requested node name";
    assert_eq!(verdicts(&NodeName, &pod("p", json!({})), &nodes, &[]), ["", ""]);
    assert_eq!(verdicts(&NodeName, &pod("p", on("b")), &nodes, &[]), [other, ""]);
}

#[test]
fn features_of_kubelets() {
    let declares = |features: Value| json!({"status": {"declaredFeatures": features}});
    let nodes = [node("a", json!({})), node("b", declares(json!(["Other", "RestartAllContainersOnContainerExits"])))];
    let rule = json!({"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [1]}});
    let needy = pod("p", json!({"spec": {"containers": [{"name": "c", "restartPolicyRules": [rule]}]}}));
    let why = "node(s) didn't match Pod's required features";
    assert_eq!(verdicts(&NodeDeclaredFeatures, &pod("p", json!({})), &nodes, &[]), ["", ""]);
    assert_eq!(verdicts(&NodeDeclaredFeatures, &needy, &nodes, &[]), [why, ""]);
    let [old, new] = nodes;
    let event = Event::NodeUpdate { old: &old, new: &new };
    let snapshot = world(&[], &[]);
    assert!(NodeDeclaredFeatures.wakes(&needy, &event, &snapshot));
    assert!(!NodeDeclaredFeatures.wakes(&needy, &Event::NodeUpdate { old: &new, new: &new }, &snapshot));
    assert!(crate::event::node_changed(&old, &new) && !crate::event::node_changed(&new, &new));
}

#[test]
fn cordoned_nodes() {
    let nodes = [node("a", json!({"spec": {"unschedulable": true}})), node("b", json!({}))];
    let cordoned = "node(s) were unschedulable";
    let tolerant = tolerating(json!([{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]));
    assert_eq!(verdicts(&NodeUnschedulable, &pod("p", json!({})), &nodes, &[]), [cordoned, ""]);
    assert_eq!(verdicts(&NodeUnschedulable, &tolerant, &nodes, &[]), ["", ""]);
    let (old, new) = (&nodes[0], node("a", json!({})));
    let snapshot = world(&nodes, &[]);
    let wakes = |event: Event<'_>| NodeUnschedulable.wakes(&pod("p", json!({})), &event, &snapshot);
    assert!(wakes(Event::NodeUpdate { old, new: &new }));
    assert!(!wakes(Event::NodeUpdate { old: &new, new: old }));
    assert!(wakes(Event::NodeAdd(&new)) && !wakes(Event::NodeAdd(old)));
}

#[test]
fn taints_and_tolerations() {
    let untolerated = "node(s) had untolerated taint(s)";
    let table = [
        (json!([]), taint("k", "v", "NoSchedule"), untolerated),
        (json!([]), taint("k", "v", "NoExecute"), untolerated),
        (json!([]), taint("k", "v", "PreferNoSchedule"), ""),
        (
            json!([{"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}]),
            taint("k", "v", "NoSchedule"),
            "",
        ),
        (json!([{"key": "k", "value": "v"}]), taint("k", "v", "NoExecute"), ""),
        (json!([{"key": "k", "value": "w"}]), taint("k", "v", "NoSchedule"), untolerated),
        (
            json!([{"key": "k", "operator": "Exists", "effect": "NoExecute"}]),
            taint("k", "v", "NoSchedule"),
            untolerated,
        ),
        (json!([{"key": "k", "operator": "Exists"}]), taint("k", "v", "NoSchedule"), ""),
        (json!([{"operator": "Exists"}]), taint("k", "v", "NoSchedule"), ""),
        (json!([{"key": "l", "operator": "Exists"}]), taint("k", "v", "NoSchedule"), untolerated),
        (json!([{"key": "k", "operator": "Gt", "value": "1"}]), taint("k", "2", "NoSchedule"), untolerated),
    ];
    for (tolerations, taint, expected) in table {
        let nodes = [tainted("n", std::slice::from_ref(&taint))];
        let verdict = verdicts(&TaintToleration, &tolerating(tolerations.clone()), &nodes, &[]);
        assert_eq!(verdict, [expected], "{tolerations} {taint}");
    }
}

#[test]
fn fewer_disliked_taints_score_higher() {
    let dislike = |key| taint(key, "", "PreferNoSchedule");
    let nodes = [tainted("a", &[]), tainted("b", &[dislike("x")]), tainted("c", &[dislike("x"), dislike("y")])];
    assert_eq!(scores(&TaintToleration, &pod("p", json!({})), &nodes, &[]), [100, 50, 0]);
    let tolerant = tolerating(json!([{"key": "y", "operator": "Exists"}]));
    assert_eq!(scores(&TaintToleration, &tolerant, &nodes, &[]), [100, 0, 0]);
    let wrong_effect = tolerating(json!([{"key": "y", "operator": "Exists", "effect": "NoSchedule"}]));
    assert_eq!(scores(&TaintToleration, &wrong_effect, &nodes, &[]), [100, 50, 0]);
    assert_eq!(scores(&TaintToleration, &tolerant, &nodes[..1], &[]), [100]);
}

#[test]
fn a_node_that_loses_its_taint_wakes() {
    let (old, new) = (tainted("n", &[taint("k", "", "NoSchedule")]), tainted("n", &[]));
    let snapshot = world(std::slice::from_ref(&new), &[]);
    let wakes = |event: Event<'_>| TaintToleration.wakes(&pod("p", json!({})), &event, &snapshot);
    assert!(wakes(Event::NodeUpdate { old: &old, new: &new }));
    assert!(!wakes(Event::NodeUpdate { old: &new, new: &new }));
    assert!(wakes(Event::NodeAdd(&new)) && !wakes(Event::NodeAdd(&old)));
}

fn with_port(name: &str, port: Value) -> std::sync::Arc<crate::objects::Pod> {
    let ports = json!({"spec": {"containers": [{"name": "c", "ports": [port]}]}});
    pod(name, all([ports, if name == "p" { json!({}) } else { on("n") }]))
}

#[test]
fn host_ports() {
    let taken = "node(s) didn't have free ports for the requested pod ports";
    let nodes = [node("n", json!({}))];
    let table = [
        (json!({"hostPort": 80}), json!({"hostPort": 80}), taken),
        (json!({"hostPort": 80}), json!({"hostPort": 81}), ""),
        (json!({"hostPort": 80}), json!({"hostPort": 80, "protocol": "UDP"}), ""),
        (json!({"hostPort": 80, "hostIP": "10.0.0.1"}), json!({"hostPort": 80, "hostIP": "10.0.0.2"}), ""),
        (json!({"hostPort": 80, "hostIP": "10.0.0.1"}), json!({"hostPort": 80}), taken),
        (json!({"hostPort": 80, "hostIP": "0.0.0.0"}), json!({"hostPort": 80, "hostIP": "10.0.0.2"}), taken),
        (json!({"containerPort": 80}), json!({"containerPort": 80}), ""),
    ];
    for (placed, wanted, expected) in table {
        let (placed, waiting) = (with_port("placed", placed), with_port("p", wanted.clone()));
        assert_eq!(verdicts(&NodePorts, &waiting, &nodes, std::slice::from_ref(&placed)), [expected], "{wanted}");
        let snapshot = world(&nodes, &[]);
        assert_eq!(NodePorts.wakes(&waiting, &Event::PodDelete(&placed), &snapshot), !expected.is_empty());
    }
}

#[test]
fn ports_of_init_containers_count_only_for_sidecars() {
    let nodes = [node("n", json!({}))];
    let init = |restart: Value| {
        pod(
            "p",
            json!({"spec": {"initContainers": [{"name": "i", "restartPolicy": restart, "ports": [{"hostPort": 80}]}]}}),
        )
    };
    let placed = [with_port("placed", json!({"hostPort": 80}))];
    assert_eq!(verdicts(&NodePorts, &init(json!(null)), &nodes, &placed), [""]);
    assert_ne!(verdicts(&NodePorts, &init(json!("Always")), &nodes, &placed), [""]);
}

#[test]
fn gates() {
    let snapshot = world(&[], &[]);
    let gated = pod("p", json!({"spec": {"schedulingGates": [{"name": "g"}]}}));
    let free = pod("p", json!({}));
    assert!(SchedulingGates.wakes(&free, &Event::OwnUpdate { old: &gated, new: &free }, &snapshot));
    assert!(!SchedulingGates.wakes(&gated, &Event::OwnUpdate { old: &free, new: &gated }, &snapshot));
}
