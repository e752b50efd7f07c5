//! NodeAffinity.

use serde_json::{Value, json};

use super::{scores, verdicts, world};
use crate::event::Event;
use crate::objects::{NodeTerm, RequiredNodeAffinity, WeightedNodeTerm};
use crate::plugins::Plugin;
use crate::plugins::node_affinity::NodeAffinity;
use crate::testkit::{node, pod};

const MISMATCH: &str = "node(s) didn't match Pod's node affinity/selector";

fn labelled(name: &str, labels: Value) -> std::sync::Arc<crate::objects::Node> {
    node(name, json!({"metadata": {"labels": labels}}))
}

fn requiring(terms: Value) -> std::sync::Arc<crate::objects::Pod> {
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    pod("p", json!({"spec": {"affinity": {"nodeAffinity": required}}}))
}

#[test]
fn node_selectors() {
    let nodes = [labelled("a", json!({"disk": "ssd", "gpu": "yes"})), labelled("b", json!({"disk": "hdd"}))];
    let select = |labels: Value| pod("p", json!({"spec": {"nodeSelector": labels}}));
    let plugin = NodeAffinity::default();
    assert_eq!(verdicts(&plugin, &select(json!({})), &nodes, &[]), ["", ""]);
    assert_eq!(verdicts(&plugin, &select(json!({"disk": "ssd"})), &nodes, &[]), ["", MISMATCH]);
    assert_eq!(verdicts(&plugin, &select(json!({"disk": "hdd", "gpu": "yes"})), &nodes, &[]), [MISMATCH, MISMATCH]);
}

#[test]
fn required_terms() {
    let nodes = [labelled("a", json!({"disk": "ssd", "cores": "8"})), labelled("b", json!({}))];
    let expression =
        |key: &str, operator: &str, values: Value| json!({"key": key, "operator": operator, "values": values});
    let table = [
        (json!([{"matchExpressions": [expression("disk", "In", json!(["ssd", "nvme"]))]}]), ["", MISMATCH]),
        (json!([{"matchExpressions": [expression("disk", "NotIn", json!(["ssd"]))]}]), [MISMATCH, ""]),
        (json!([{"matchExpressions": [expression("disk", "Exists", json!(null))]}]), ["", MISMATCH]),
        (json!([{"matchExpressions": [expression("disk", "DoesNotExist", json!(null))]}]), [MISMATCH, ""]),
        (json!([{"matchExpressions": [expression("cores", "Gt", json!(["4"]))]}]), ["", MISMATCH]),
        (json!([{"matchExpressions": [expression("cores", "Lt", json!(["4"]))]}]), [MISMATCH, MISMATCH]),
        (json!([{"matchExpressions": [expression("cores", "Between", json!(["4"]))]}]), [MISMATCH, MISMATCH]),
        (
            json!([{"matchExpressions": [expression("disk", "Exists", json!(null)), expression("x", "Exists", json!(null))]}]),
            [MISMATCH, MISMATCH],
        ),
        (
            json!([{"matchExpressions": [expression("x", "Exists", json!(null))]},
                   {"matchExpressions": [expression("disk", "Exists", json!(null))]}]),
            ["", MISMATCH],
        ),
        (json!([{"matchFields": [expression("metadata.name", "NotIn", json!(["a"]))]}]), [MISMATCH, ""]),
        (json!([{"matchFields": [expression("metadata.name", "In", json!(["b"]))]}]), ["not looked at", ""]),
        (json!([{}]), [MISMATCH, MISMATCH]),
        (json!([]), [MISMATCH, MISMATCH]),
    ];
    for (terms, expected) in table {
        assert_eq!(verdicts(&NodeAffinity::default(), &requiring(terms.clone()), &nodes, &[]), expected, "{terms}");
    }
}

#[test]
fn terms_that_pin_to_different_nodes_conflict() {
    let name = |name: &str| json!({"key": "metadata.name", "operator": "In", "values": [name]});
    let conflicting = requiring(json!([{"matchFields": [name("a"), name("b")]}]));
    let nodes = [node("a", json!({}))];
    assert_eq!(verdicts(&NodeAffinity::default(), &conflicting, &nodes, &[]), ["pod affinity terms conflict"]);
}

#[test]
fn preferred_terms_add_up() {
    let nodes = [
        labelled("both", json!({"x": "1", "y": "1"})),
        labelled("one", json!({"x": "1"})),
        labelled("none", json!({})),
    ];
    let wish = |key: &str, weight: i32| json!({"weight": weight, "preference": {"matchExpressions": [{"key": key, "operator": "Exists"}]}});
    let preferred =
        json!({"preferredDuringSchedulingIgnoredDuringExecution": [wish("x", 20), wish("y", 60), wish("z", 100)]});
    let wishing = pod("p", json!({"spec": {"affinity": {"nodeAffinity": preferred}}}));
    assert_eq!(scores(&NodeAffinity::default(), &wishing, &nodes, &[]), [100, 25, 0]);
    assert!(scores(&NodeAffinity::default(), &pod("p", json!({})), &nodes, &[]).is_empty());
}

#[test]
fn what_the_profile_adds_holds_for_every_pod() {
    let selector: k8s_openapi::api::core::v1::NodeSelector = serde_json::from_value(
        json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}]}),
    )
    .unwrap();
    let term = NodeTerm::parse(&selector.node_selector_terms[0]).unwrap();
    let plugin = NodeAffinity {
        added_required: RequiredNodeAffinity::new(Default::default(), Some(&selector)),
        added_preferred: vec![WeightedNodeTerm { term, weight: 5 }],
    };
    let nodes = [labelled("a", json!({"pool": "x"})), labelled("b", json!({}))];
    let enforced = "node(s) didn't match scheduler-enforced node affinity";
    assert_eq!(verdicts(&plugin, &pod("p", json!({})), &nodes, &[]), ["", enforced]);
    assert_eq!(scores(&plugin, &pod("p", json!({})), &nodes, &[]), [100, 0]);
}

#[test]
fn a_node_that_gains_the_label_wakes() {
    let (old, new) = (labelled("a", json!({})), labelled("a", json!({"disk": "ssd"})));
    let waiting = pod("p", json!({"spec": {"nodeSelector": {"disk": "ssd"}}}));
    let snapshot = world(std::slice::from_ref(&new), &[]);
    let wakes = |event: Event<'_>| NodeAffinity::default().wakes(&waiting, &event, &snapshot);
    assert!(wakes(Event::NodeUpdate { old: &old, new: &new }) && wakes(Event::NodeAdd(&new)));
    assert!(!wakes(Event::NodeUpdate { old: &new, new: &new }) && !wakes(Event::NodeAdd(&old)));
}
