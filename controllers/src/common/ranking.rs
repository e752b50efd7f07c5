//! Which pods go first when a ReplicaSet shrinks.
//!
//! Pure. The order is the API's promise (Concepts: ReplicaSet, "Scaling a ReplicaSet"): unassigned,
//! pending, not ready, cheap by `controller.kubernetes.io/pod-deletion-cost`, crowded, young, restarted.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::pod::Pod;
use super::{map, pods};

/// The `count` pods to delete. `related` are the pods of all ReplicaSets of the same owner: a node that
/// holds many of them is thinned out first.
pub(crate) fn pods_to_delete(
    mut own: Vec<Arc<Pod>>,
    related: &[Arc<Pod>],
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    if count < own.len() {
        own = in_order(own, related, now);
        own.truncate(count);
    }
    own
}

/// The pods in the order in which they would go.
pub(crate) fn in_order(mut own: Vec<Arc<Pod>>, related: &[Arc<Pod>], now: Timestamp) -> Vec<Arc<Pod>> {
    let mut crowd: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|p| pods::is_active(p)) {
        *crowd.entry(pods::node_name(pod)).or_default() += 1;
    }
    let rank = |pod: &Pod| crowd.get(pods::node_name(pod)).copied().unwrap_or(0);
    own.sort_by(|a, b| order(a, rank(a), b, rank(b), now));
    own
}

fn order(a: &Pod, crowd_a: usize, b: &Pod, crowd_b: usize, now: Timestamp) -> Ordering {
    let assigned = |p: &Pod| !pods::node_name(p).is_empty();
    let both_ready = pods::is_ready(a) && pods::is_ready(b);
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase_order(a).cmp(&phase_order(b)))
        .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| crowd_b.cmp(&crowd_a))
        .then_with(|| match both_ready {
            true => by_age(pods::ready_since(a), pods::ready_since(b), now),
            false => Ordering::Equal,
        })
        .then_with(|| Reverse(restarts(a)).cmp(&Reverse(restarts(b))))
        .then_with(|| by_age(created(a), created(b), now))
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

fn phase_order(pod: &Pod) -> u8 {
    match pods::phase(pod) {
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    }
}

/// An annotation that is no 32-bit number counts as zero.
fn deletion_cost(pod: &Pod) -> i32 {
    let text = map(&pod.metadata.annotations).get("controller.kubernetes.io/pod-deletion-cost");
    text.filter(|t| !t.starts_with('+')).and_then(|t| t.parse().ok()).unwrap_or(0)
}

/// The most restarts of one container, and of one sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let Some(status) = &pod.status else { return (0, 0) };
    let regular = status.container_statuses.iter().flatten().map(|s| s.restart_count).max();
    let is_sidecar = |name: &str| {
        let inits = pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten());
        inits.into_iter().any(|c| c.name == name && c.restart_policy.as_deref() == Some("Always"))
    };
    let sidecars = status.init_container_statuses.iter().flatten().filter(|s| is_sidecar(&s.name));
    (regular.unwrap_or(0), sidecars.map(|s| s.restart_count).max().unwrap_or(0))
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|t| t.0)
}

/// Younger first, but ages are told apart only by their binary magnitude, so that which of two old pods
/// goes is as good as random (KEP-2185); no time at all is the youngest.
///
/// Upstream takes the UID as soon as two times differ within a magnitude, and goes on where they are the same. That is no
/// order: of three pods each may come before the next. Here the UID comes last.
fn by_age(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    a.map(|since| magnitude(since, now)).cmp(&b.map(|since| magnitude(since, now)))
}

fn magnitude(since: Timestamp, now: Timestamp) -> i64 {
    let age = now.as_nanosecond() - since.as_nanosecond();
    if age > 0 { i64::from(127 - age.leading_zeros()) } else { -1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW: i64 = 1_000_000;

    fn pod(value: Value) -> Arc<Pod> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn at(age_seconds: i64) -> String {
        Timestamp::from_second(NOW - age_seconds).unwrap().to_string()
    }

    fn running(name: &str, ready: bool, age: i64, restarts: i32) -> Value {
        json!({"metadata": {"name": name, "uid": name, "creationTimestamp": at(age)}, "spec": {"nodeName": "n1", "containers": []},
            "status": {"phase": "Running",
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": at(age)}],
                "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": ready, "restartCount": restarts}]}})
    }

    /// Times that are partly the same, within a magnitude: a sort panics where this is no order.
    #[test]
    fn it_is_an_order_whatever_the_times() {
        let pods = (0_i64..200).map(|n| {
            let mut pod = running(&format!("{}", n * 7919 % 1009), true, 1000 + n % 3, 0);
            pod["metadata"]["creationTimestamp"] = json!(at(2000 + n % 5));
            self::pod(pod)
        });
        let pods: Vec<_> = pods.collect();
        let names = |pods: Vec<Arc<Pod>>| -> Vec<String> {
            let sorted = in_order(pods, &[], Timestamp::from_second(NOW).unwrap());
            sorted.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect()
        };
        let reversed = pods.iter().rev().cloned().collect();
        assert_eq!(names(pods), names(reversed));
    }

    /// Of each pair the first goes first.
    #[test]
    fn pairs() {
        let unassigned = json!({"metadata": {"name": "u"}, "status": {"phase": "Pending"}});
        let pending = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "containers": []}, "status": {"phase": "Pending"}});
        let mut cheap = running("cheap", true, 9000, 0);
        cheap["metadata"]["annotations"] = json!({"controller.kubernetes.io/pod-deletion-cost": "-1"});
        let mut crowded = running("crowded", true, 9000, 0);
        crowded["spec"]["nodeName"] = json!("n2");
        let related = [pod(crowded.clone()), pod(crowded.clone())];
        let rows = [
            (unassigned, pending.clone()),
            (pending, running("a", false, 1, 0)),
            (running("a", false, 900, 0), running("b", true, 1, 0)),
            (cheap, running("b", true, 1, 0)),
            (crowded, running("b", true, 1, 0)),
            (running("young", true, 10, 0), running("old", true, 1000, 9)),
            (running("restarted", false, 1000, 3), running("b", false, 10, 1)),
            (running("young", false, 10, 0), running("old", false, 1000, 0)),
            (running("a", true, 1000, 0), running("b", true, 1001, 0)),
        ];
        for (first, second) in rows {
            let name = first["metadata"]["name"].clone();
            for both in [[pod(first.clone()), pod(second.clone())], [pod(second.clone()), pod(first.clone())]] {
                let gone = pods_to_delete(both.into(), &related, 1, Timestamp::from_second(NOW).unwrap());
                assert_eq!(gone[0].metadata.name.as_deref(), name.as_str());
            }
        }
    }
}
