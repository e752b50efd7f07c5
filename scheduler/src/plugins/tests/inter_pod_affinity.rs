//! InterPodAffinity.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{scores, verdicts, world};
use crate::event::Event;
use crate::objects::{Node, Pod};
use crate::plugins::Plugin;
use crate::plugins::inter_pod_affinity::InterPodAffinity;
use crate::testkit::{all, merge, node, on, pod};

const NOT_NEAR: &str = "node(s) didn't match pod affinity rules";
const NOT_APART: &str = "node(s) didn't match pod anti-affinity rules";
const REFUSED: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

fn zoned(name: &str, zone: &str) -> Arc<Node> {
    node(name, json!({"metadata": {"labels": {"zone": zone}}}))
}

fn app(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}})
}

fn term(app: &str, fields: Value) -> Value {
    let mut term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": app}}});
    merge(&mut term, fields);
    term
}

/// `kind` is `podAffinity` or `podAntiAffinity`.
fn required(kind: &str, terms: &[Value]) -> Value {
    json!({"spec": {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}})
}

fn preferred(kind: &str, weight: i32, term: Value) -> Value {
    let terms = json!([{"weight": weight, "podAffinityTerm": term}]);
    json!({"spec": {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": terms}}}})
}

fn check(pod: &Pod, placed: &[Arc<Pod>], expected: &[&str]) {
    let nodes = [zoned("a1", "a"), zoned("a2", "a"), zoned("b", "b"), node("none", json!({}))];
    assert_eq!(verdicts(&InterPodAffinity::default(), pod, &nodes, placed), expected);
}

#[test]
fn near() {
    let db = pod("db", all([app("db"), on("a1")]));
    let placed = std::slice::from_ref(&db);
    let near = |terms: &[Value]| pod("p", required("podAffinity", terms));
    check(&near(&[term("db", json!({}))]), placed, &["", "", NOT_NEAR, NOT_NEAR]);
    check(
        &near(&[term("db", json!({"topologyKey": "kubernetes.io/hostname"}))]),
        placed,
        &["", NOT_NEAR, NOT_NEAR, NOT_NEAR],
    );
    check(&near(&[term("cache", json!({}))]), placed, &[NOT_NEAR; 4]);
    // One pod must match all terms.
    let cache = pod("cache", all([app("cache"), on("a2")]));
    let both = near(&[term("db", json!({})), term("cache", json!({}))]);
    check(&both, &[db.clone(), cache], &[NOT_NEAR; 4]);
    check(&near(&[term("db", json!({"namespaces": ["other"]}))]), placed, &[NOT_NEAR; 4]);
}

#[test]
fn the_first_of_a_group_may_go_anywhere_with_the_label() {
    let first = pod("p", all([app("web"), required("podAffinity", &[term("web", json!({}))])]));
    check(&first, &[], &["", "", "", NOT_NEAR]);
    let second = pod("q", all([app("web"), on("b")]));
    check(&first, &[second], &[NOT_NEAR, NOT_NEAR, "", NOT_NEAR]);
}

#[test]
fn apart() {
    let placed = [pod("web", all([app("web"), on("a1")]))];
    let apart = |terms: &[Value]| pod("p", required("podAntiAffinity", terms));
    check(&apart(&[term("web", json!({}))]), &placed, &[NOT_APART, NOT_APART, "", ""]);
    check(&apart(&[term("web", json!({"topologyKey": "kubernetes.io/hostname"}))]), &placed, &[NOT_APART, "", "", ""]);
    check(&apart(&[term("db", json!({})), term("web", json!({}))]), &placed, &[NOT_APART, NOT_APART, "", ""]);
}

#[test]
fn placed_pods_keep_others_away() {
    let lonely = required("podAntiAffinity", &[term("web", json!({}))]);
    let placed = [pod("lonely", all([app("db"), lonely, on("a1")]))];
    check(&pod("p", app("web")), &placed, &[REFUSED, REFUSED, "", ""]);
    check(&pod("p", app("db")), &placed, &["", "", "", ""]);
    let elsewhere = pod("p", all([app("web"), json!({"metadata": {"namespace": "other"}})]));
    check(&elsewhere, &placed, &["", "", "", ""]);
}

#[test]
fn namespaces_by_label() {
    let nodes = [zoned("a", "a"), zoned("b", "b")];
    let lonely = term("web", json!({"namespaceSelector": {"matchLabels": {"team": "x"}}}));
    let placed = pod("lonely", all([required("podAntiAffinity", &[lonely]), on("a")]));
    let mut snapshot = world(&nodes, &[placed]);
    let waiting = pod("p", all([app("web"), json!({"metadata": {"namespace": "shop"}})]));
    let refused = |snapshot: &crate::snapshot::Snapshot| {
        let plugin = InterPodAffinity::default();
        match plugin.filter(&waiting, snapshot) {
            crate::plugins::Filter::Check(check) => check(super::candidate(snapshot, 0)).is_err(),
            _ => false,
        }
    };
    assert!(!refused(&snapshot));
    snapshot.set_namespace("shop", Some([("team".to_owned(), "x".to_owned())].into()));
    assert!(refused(&snapshot));
    snapshot.set_namespace("shop", Some([("team".to_owned(), "y".to_owned())].into()));
    assert!(!refused(&snapshot));
}

#[test]
fn wishes_of_both_sides() {
    let nodes = [zoned("a", "a"), zoned("b", "b")];
    let plugin = InterPodAffinity::default();
    let db = pod("db", all([app("db"), on("a")]));
    let liking = pod("p", preferred("podAffinity", 10, term("db", json!({}))));
    let disliking = pod("p", preferred("podAntiAffinity", 10, term("db", json!({}))));
    assert_eq!(scores(&plugin, &liking, &nodes, std::slice::from_ref(&db)), [100, 0]);
    assert_eq!(scores(&plugin, &disliking, &nodes, std::slice::from_ref(&db)), [0, 100]);
    let plain = pod("p", app("web"));
    let wanting = |fields: Value| pod("w", all([app("db"), fields, on("a")]));
    let liked = wanting(preferred("podAffinity", 5, term("web", json!({}))));
    let disliked = wanting(preferred("podAntiAffinity", 5, term("web", json!({}))));
    let needing = wanting(required("podAffinity", &[term("web", json!({}))]));
    assert_eq!(scores(&plugin, &plain, &nodes, std::slice::from_ref(&liked)), [100, 0]);
    assert_eq!(scores(&plugin, &plain, &nodes, &[disliked]), [0, 100]);
    assert_eq!(scores(&plugin, &plain, &nodes, std::slice::from_ref(&needing)), [100, 0]);
    let deaf = InterPodAffinity { hard_pod_affinity_weight: 0, ..Default::default() };
    assert!(scores(&deaf, &plain, &nodes, &[needing]).is_empty());
    let ignoring = InterPodAffinity { ignore_preferred_terms_of_existing_pods: true, ..Default::default() };
    assert!(scores(&ignoring, &plain, &nodes, &[liked]).is_empty());
}

#[test]
fn hints() {
    let nodes = [zoned("a", "a")];
    let snapshot = world(&nodes, &[]);
    let wakes = |pod: &Pod, event: Event<'_>| InterPodAffinity::default().wakes(pod, &event, &snapshot);
    let near = pod("p", required("podAffinity", &[term("db", json!({}))]));
    let apart = pod("p", required("podAntiAffinity", &[term("db", json!({}))]));
    let (db, other) = (pod("db", all([app("db"), on("a")])), pod("o", on("a")));
    assert!(wakes(&near, Event::PodAdd(&db)) && !wakes(&near, Event::PodAdd(&other)));
    assert!(wakes(&apart, Event::PodDelete(&db)) && !wakes(&apart, Event::PodDelete(&other)));
    assert!(!wakes(&apart, Event::PodAdd(&db)));
    let lonely = pod("l", all([required("podAntiAffinity", &[term("web", json!({}))]), on("a")]));
    assert!(wakes(&pod("p", app("web")), Event::PodDelete(&lonely)));
    let moved = zoned("a", "b");
    assert!(wakes(&near, Event::NodeUpdate { old: &nodes[0], new: &moved }));
    assert!(!wakes(&near, Event::NodeUpdate { old: &nodes[0], new: &nodes[0] }));
}
