//! Tables for health, taints and zones.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use super::health::{Grace, observe, unknown};
use super::taints::{Evicting, wanted};
use super::zones::{Rates, Shift, Turn, Zones};

const NOW: i64 = 2_000_000_000;
const GRACE: Grace = Grace { monitor: Duration::from_secs(50), startup: Duration::from_secs(60) };

fn at(offset: i64) -> Timestamp {
    Timestamp::from_second(NOW + offset).unwrap()
}

fn node(ready: Option<(&str, i64)>, taints: Value) -> Node {
    let conditions: Vec<_> = ready
        .map(|(status, beat)| json!({"type": "Ready", "status": status, "lastHeartbeatTime": at(beat).to_string()}))
        .into_iter()
        .collect();
    serde_json::from_value(json!({"metadata": {"name": "n", "creationTimestamp": at(-30).to_string()},
        "spec": {"taints": taints}, "status": {"conditions": conditions}}))
    .unwrap()
}

#[test]
fn silence_is_told_by_our_own_clock() {
    let (health, due) = observe(None, &node(None, json!([])), GRACE, at(0));
    assert_eq!(due, at(30), "the startup grace counts from the node's creation");
    let (health, due) = observe(Some(health), &node(Some(("True", -1000)), json!([])), GRACE, at(10));
    assert_eq!(due, at(60), "the first status counts from now, whatever the node's clock says");
    let (mut health, due) = observe(Some(health), &node(Some(("True", -1000)), json!([])), GRACE, at(20));
    assert_eq!(due, at(60), "the same status is no sign of life");
    health.probe = at(25);
    let (health, due) = observe(Some(health), &node(Some(("True", -1000)), json!([])), GRACE, at(30));
    assert_eq!(due, at(75), "a lease was renewed");
    let (_, due) = observe(Some(health), &node(Some(("True", -900)), json!([])), GRACE, at(40));
    assert_eq!(due, at(90));
}

#[test]
fn unknown_conditions() {
    let conditions = unknown(&node(Some(("True", -100)), json!([])), at(0)).unwrap();
    let of = |kind: &str| conditions.iter().find(|c| c.type_ == kind).unwrap().clone();
    assert_eq!(of("Ready").reason.as_deref(), Some("NodeStatusUnknown"));
    assert_eq!(of("Ready").message.as_deref(), Some("Kubelet stopped posting node status."));
    assert_eq!(of("PIDPressure").reason.as_deref(), Some("NodeStatusNeverUpdated"));
    let mut again = node(None, json!([]));
    again.status.as_mut().unwrap().conditions = Some(conditions);
    assert_eq!(unknown(&again, at(5)), None);
}

#[test]
fn taints_follow_conditions() {
    let keys = |node: &Node, evicting| {
        let taints = wanted(node, evicting, at(0))?;
        Some(taints.iter().map(|t| format!("{}:{}", t.key.rsplit('/').next().unwrap(), t.effect)).collect::<Vec<_>>())
    };
    let own = json!({"key": "mine", "effect": "NoSchedule"});
    let not_ready = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    let evict = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"});
    let unreachable = "node.kubernetes.io/unreachable";
    let rows = [
        (node(Some(("True", 0)), json!([own])), Evicting::Clear, None),
        (
            node(Some(("False", 0)), json!([own])),
            Evicting::Leave,
            Some(vec!["mine:NoSchedule", "not-ready:NoSchedule"]),
        ),
        (node(Some(("True", 0)), json!([own, not_ready, evict])), Evicting::Clear, Some(vec!["mine:NoSchedule"])),
        (
            node(Some(("Unknown", 0)), json!([not_ready, evict])),
            Evicting::Set(unreachable),
            Some(vec!["unreachable:NoSchedule", "unreachable:NoExecute"]),
        ),
        (node(Some(("False", 0)), json!([not_ready, evict])), Evicting::Leave, None),
    ];
    for (i, (node, evicting, want)) in rows.iter().enumerate() {
        let want = want.as_ref().map(|w| w.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        assert_eq!(keys(node, *evicting), want, "row {i}");
    }
}

#[test]
fn zones_slow_down_and_stop() {
    let rates = Rates { eviction: 0.1, secondary: 0.01, large_cluster: 4, unhealthy_zone: 0.55 };
    let mut zones = Zones::new(rates);
    let mut set = |name: &str, ready: bool| zones.update(name, Some(("z".into(), ready)));
    assert_eq!(set("0", true), Shift::Rates);
    assert_eq!(set("0", true), Shift::Nothing);
    assert_eq!(set("0", false), Shift::AllDown);
    assert_eq!(set("0", true), Shift::SomeUp);
    (1..5).for_each(|i| assert_eq!(set(&i.to_string(), true), Shift::Nothing));
    assert_eq!(set("1", false), Shift::Nothing);
    assert_eq!(zones.take_turn("z", at(0)), Turn::Now);
    assert_eq!(zones.take_turn("z", at(4)), Turn::After(Duration::from_secs(6)));
    let mut set = |name: &str, ready: bool| zones.update(name, Some(("z".into(), ready)));
    set("2", false);
    assert_eq!(set("3", false), Shift::Rates, "three of five: a large part, and a large zone");
    assert_eq!(zones.take_turn("z", at(10)), Turn::Now);
    assert_eq!(zones.take_turn("z", at(20)), Turn::After(Duration::from_secs(90)));
    assert_eq!(zones.update("0", None), Shift::Rates, "four nodes are not many");
    assert_eq!(zones.take_turn("z", at(200)), Turn::Never);
}
