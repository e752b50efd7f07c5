//! Who has to go for whom.

use rand::SeedableRng;
use serde_json::{Value, json};

use super::*;
use crate::framework::{Nominated, Walk, schedule};
use crate::objects::Node;
use crate::testkit::{all, asks, node, on, pod};

fn running(name: &str, cpu: &str, priority: i32, host: &str) -> Arc<Pod> {
    with(name, cpu, priority, host, json!({}))
}

fn with(name: &str, cpu: &str, priority: i32, host: &str, fields: Value) -> Arc<Pod> {
    pod(name, all([asks(cpu, "1Mi"), on(host), json!({"spec": {"priority": priority}}), fields]))
}

fn started(minute: u32) -> Value {
    json!({"status": {"startTime": format!("2026-01-01T00:{minute:02}:00Z")}})
}

fn important(cpu: &str, fields: Value) -> Arc<Pod> {
    pod("p", all([asks(cpu, "1Mi"), json!({"spec": {"priority": 100}}), fields]))
}

/// `node: victims` or the refusal's message.
fn outcome(pod: &Pod, nodes: &[Arc<Node>], placed: &[Arc<Pod>], budgets: &[Value]) -> String {
    outcome_beside(pod, nodes, placed, budgets, &Nominated::new())
}

fn outcome_beside(
    pod: &Pod,
    nodes: &[Arc<Node>],
    placed: &[Arc<Pod>],
    budgets: &[Value],
    nominated: &Nominated,
) -> String {
    let mut snapshot = Snapshot::default();
    nodes.iter().for_each(|node| snapshot.set_node(node.clone()));
    placed.iter().for_each(|pod| snapshot.set_pod(pod.clone()));
    let profile = Profile::default_named("default-scheduler");
    let mut random = rand::rngs::SmallRng::seed_from_u64(1);
    let diagnosis =
        schedule(&profile, pod, &mut snapshot, &Nominated::new(), &mut Walk::default(), &mut random).unwrap_err();
    let budgets: Vec<_> = budgets.iter().map(|b| Arc::new(serde_json::from_value(b.clone()).unwrap())).collect();
    let result = candidates(&profile, pod, &mut snapshot, &diagnosis, nominated, &budgets, 0);
    let result = result.map(|found| choose(&snapshot, found).expect("one is best"));
    assert_eq!(snapshot.pods().count(), placed.len(), "trying out leaves no trace");
    match result {
        Ok(found) => {
            let names: Vec<&str> = found.victims.iter().map(|victim| victim.name()).collect();
            format!("{}: {}", found.node, names.join(" "))
        }
        Err(refusal) => refusal.message,
    }
}

fn nodes(count: usize) -> Vec<Arc<Node>> {
    (0..count).map(|i| node(&format!("n{i}"), json!({}))).collect()
}

#[test]
fn only_as_many_go_as_must_and_the_least_important_first() {
    let placed = [running("a", "1", 10, "n0"), running("b", "1", 5, "n0"), running("c", "2", 1, "n0")];
    assert_eq!(outcome(&important("1", json!({})), &nodes(1), &placed, &[]), "n0: c");
    assert_eq!(outcome(&important("3", json!({})), &nodes(1), &placed, &[]), "n0: b c");
    assert_eq!(outcome(&important("4", json!({})), &nodes(1), &placed, &[]), "n0: a b c");
}

#[test]
fn the_choice_between_nodes() {
    let pairs: [(&str, Vec<Arc<Pod>>, &str); 5] = [
        ("lower highest priority", vec![running("a", "4", 10, "n0"), running("b", "4", 5, "n1")], "n1: b"),
        (
            "lower sum",
            vec![
                running("a", "2", 5, "n0"),
                running("b", "2", 5, "n0"),
                running("c", "2", 5, "n1"),
                running("d", "2", 1, "n1"),
            ],
            "n1: c d",
        ),
        (
            "fewer pods",
            vec![running("a", "2", 5, "n0"), running("b", "2", -2_147_483_648, "n0"), running("c", "4", 5, "n1")],
            "n1: c",
        ),
        ("started later", vec![with("a", "4", 5, "n0", started(1)), with("b", "4", 5, "n1", started(2))], "n1: b"),
        ("the first", vec![with("a", "4", 5, "n0", started(1)), with("b", "4", 5, "n1", started(1))], "n0: a"),
    ];
    for (rule, placed, expected) in pairs {
        assert_eq!(outcome(&important("4", json!({})), &nodes(2), &placed, &[]), expected, "{rule}");
    }
}

#[test]
fn budgets_are_kept_where_possible() {
    let web = |name: &str, host: &str| with(name, "4", 5, host, json!({"metadata": {"labels": {"app": "web"}}}));
    let budget = |allowed: i32| {
        json!({"metadata": {"name": "b", "namespace": "default"}, "spec": {"selector": {"matchLabels": {"app": "web"}}},
               "status": {"disruptionsAllowed": allowed}})
    };
    let placed = [web("a", "n0"), running("b", "4", 50, "n1")];
    assert_eq!(outcome(&important("4", json!({})), &nodes(2), &placed, &[budget(1)]), "n0: a");
    assert_eq!(outcome(&important("4", json!({})), &nodes(2), &placed, &[budget(0)]), "n1: b");
    // Where nothing else helps, a budget gives way.
    assert_eq!(outcome(&important("4", json!({})), &nodes(1), &placed[..1], &[budget(0)]), "n0: a");
}

#[test]
fn refusals() {
    let full = [running("a", "4", 100, "n0")];
    assert_eq!(
        outcome(&important("4", json!({})), &nodes(1), &full, &[]),
        "0/1 nodes are available: 1 No preemption victims found for incoming pod."
    );
    assert_eq!(
        outcome(&important("5", json!({})), &nodes(2), &full, &[]),
        "0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    );
    let low = [running("a", "2", 1, "n0"), running("b", "2", 100, "n0")];
    assert_eq!(
        outcome(&important("4", json!({})), &nodes(1), &low, &[]),
        "0/1 nodes are available: 1 Insufficient cpu."
    );
    let never = important("4", json!({"spec": {"preemptionPolicy": "Never"}}));
    assert_eq!(outcome(&never, &nodes(1), &low, &[]), "not eligible due to preemptionPolicy=Never.");
}

#[test]
fn a_pod_that_waits_for_its_victims_asks_no_others() {
    let going = json!({
        "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
    });
    let placed = [with("a", "4", 1, "n0", going), running("b", "4", 1, "n1")];
    let promised = important("4", json!({"status": {"nominatedNodeName": "n0"}}));
    assert_eq!(
        outcome(&promised, &nodes(2), &placed, &[]),
        "not eligible due to a terminating pod on the nominated node."
    );
}

#[test]
fn anti_affinity_is_a_reason_to_go_too() {
    let apart = json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "noisy"}}}]}}}});
    let noisy = json!({"metadata": {"labels": {"app": "noisy"}}});
    let placed = [with("a", "1", 1, "n0", noisy), running("quiet", "1", 1, "n0")];
    assert_eq!(outcome(&important("1", apart), &nodes(1), &placed, &[]), "n0: a");
}

#[test]
fn room_that_was_promised_is_not_promised_again() {
    let placed = [running("a", "2", 1, "n0"), running("b", "2", 2, "n0")];
    let promised = |priority: i32| {
        let fields = json!({"spec": {"priority": priority}, "status": {"nominatedNodeName": "n0"}});
        Nominated::from([(0, vec![pod("rival", all([asks("1", "1Mi"), fields]))])])
    };
    let (wanted, nodes) = (important("2", json!({})), nodes(1));
    assert_eq!(outcome_beside(&wanted, &nodes, &placed, &[], &Nominated::new()), "n0: a");
    // One of lower priority would have to look elsewhere.
    assert_eq!(outcome_beside(&wanted, &nodes, &placed, &[], &promised(50)), "n0: a");
    assert_eq!(outcome_beside(&wanted, &nodes, &placed, &[], &promised(100)), "n0: b a");
    let all = important("4", json!({}));
    let none = "0/1 nodes are available: 1 Insufficient cpu.";
    assert_eq!(outcome_beside(&all, &nodes, &placed, &[], &promised(200)), none);
}

#[test]
fn so_many_nodes_are_tried() {
    for (percentage, absolute, nodes, want) in
        [(10, 100, 5000, 500), (10, 100, 500, 100), (10, 100, 20, 20), (0, 1, 20, 1), (100, 0, 20, 20)]
    {
        assert_eq!(Shortlist { percentage, absolute }.of(nodes), want, "{percentage} {absolute} {nodes}");
    }
}
