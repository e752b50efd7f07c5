//! What the pods of a node hold together, and what is short for one more. Pure.
//!
//! Enter at [`Room::new`]. The sums are kept up while pods come and change, so that one after another is judged against
//! them, and nobody is counted twice.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Node, Pod};
use machinery::{quantity::Quantity, quota};

use super::fit::Misfit;
use crate::pod::{
    configs::{
        NodeFacts,
        resources::{self, in_unit},
    },
    spec,
};

/// Amounts by resource, in the resource's unit.
type Held = BTreeMap<String, i64>;

/// See the module.
pub struct Room {
    allocatable: BTreeMap<String, Quantity>,
    /// By pod UID.
    pods: HashMap<String, Held>,
    /// Of all pods: wider than a single amount, so that what was added can be taken off again.
    taken: BTreeMap<String, i128>,
}

impl Room {
    /// `node` tells what only the API knows of its amounts.
    pub fn new(pods: &[Arc<Pod>], node: &Node, facts: &NodeFacts) -> Self {
        let allocatable = allocatable(node, facts);
        let mut room = Self { allocatable, pods: HashMap::new(), taken: BTreeMap::new() };
        pods.iter().for_each(|pod| room.put(pod));
        room
    }

    /// The pod as it is now, in the place of what it was. One that has ended holds nothing.
    pub fn put(&mut self, pod: &Pod) {
        let uid = spec::uid(pod);
        for (name, amount) in self.pods.remove(uid).into_iter().flatten() {
            *self.taken.entry(name).or_default() -= i128::from(amount);
        }
        if spec::is_over(pod) {
            return;
        }
        let held = resources::all_held(pod);
        for (name, amount) in &held {
            *self.taken.entry(name.clone()).or_default() += i128::from(*amount);
        }
        self.pods.insert(uid.to_owned(), held);
    }

    /// Everything that is short for a pod beside the others. A pod that is here already asks for other amounts.
    pub fn shortages(&self, pod: &Pod) -> Vec<Misfit> {
        const FIRST: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
        let own = self.pods.get(spec::uid(pod));
        let capacity = |name: &str| self.allocatable.get(name).map_or(0, |amount| in_unit(name, amount));
        let mut found = Vec::new();
        let others = self.pods.len() - usize::from(own.is_some());
        let (count, pods_max) = (i64::try_from(others).unwrap_or(i64::MAX), capacity("pods"));
        if count.saturating_add(1) > pods_max {
            found.push(Misfit::Lacks { resource: "pods".into(), requested: 1, used: count, capacity: pods_max });
        }
        let wanted = resources::requests(pod);
        let is_asked = |name: &str| match FIRST.contains(&name) {
            true => true,
            // A resource that the node does not have at all is the cluster's, not the node's.
            false if quota::is_extended_resource(name) => self.allocatable.contains_key(name),
            false => name.starts_with("hugepages-") || name.contains("kubernetes.io/"),
        };
        let rest = wanted.keys().map(String::as_str).filter(|name| !FIRST.contains(name) && is_asked(name));
        for name in FIRST.into_iter().chain(rest) {
            let requested = wanted.get(name).copied().unwrap_or(0);
            if requested <= 0 {
                continue;
            }
            let mine = own.and_then(|own| own.get(name)).copied().unwrap_or(0);
            let used = self.taken.get(name).copied().unwrap_or(0) - i128::from(mine);
            let (used, capacity) = (i64::try_from(used).unwrap_or(i64::MAX), capacity(name));
            if requested > capacity.saturating_sub(used) {
                found.push(Misfit::Lacks { resource: name.to_owned(), requested, used, capacity });
            }
        }
        found
    }
}

/// The kubelet's own amounts over those that the API has: of its own the kubelet knows best.
fn allocatable(node: &Node, facts: &NodeFacts) -> BTreeMap<String, Quantity> {
    let told = node.status.as_ref().and_then(|it| it.allocatable.as_ref());
    let told = told.into_iter().flatten().filter_map(|(name, amount)| Some((name.clone(), spec::quantity(amount)?)));
    told.chain(facts.allocatable.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pod::configs::tests::facts;

    fn pod(uid: &str, cpu: &str, status: Value) -> Pod {
        let object = json!({"metadata": {"uid": uid}, "spec": {"containers": [{"name": "c",
            "resources": {"requests": {"cpu": cpu}}}]}, "status": status});
        serde_json::from_value(object).expect("a pod")
    }

    fn used(room: &Room) -> i64 {
        match room.shortages(&pod("one", "1000000", json!({}))).as_slice() {
            [Misfit::Lacks { used, .. }] => *used,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sums_follow_pods_that_change_and_end() {
        let mut room = Room::new(&[], &Node::default(), &facts());
        for (uid, cpu, status, wanted) in [
            ("a", "1", json!({}), 1000),
            ("b", "500m", json!({}), 1500),
            ("a", "200m", json!({}), 700),
            ("one", "1", json!({}), 700),
            ("c", "9223372036854775807m", json!({}), i64::MAX),
            ("c", "1m", json!({}), 701),
            ("b", "500m", json!({"phase": "Succeeded"}), 201),
            ("b", "500m", json!({"phase": "Failed"}), 201),
        ] {
            room.put(&pod(uid, cpu, status));
            assert_eq!(used(&room), wanted, "{uid} {cpu}");
        }
    }

    #[test]
    fn a_pod_holds_the_most_of_what_it_asks_for_has_and_was_promised() {
        let shown = |has: &str, promised: &str| {
            json!([{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "resources": {"requests": {"cpu": has}}, "allocatedResources": {"cpu": promised}}])
        };
        let own = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let containers = json!([{"name": "c", "resources": own("2")}]);
        for (spec, status, wanted) in [
            (json!({"containers": containers}), json!({"containerStatuses": shown("1", "1")}), 2000),
            (json!({"containers": containers}), json!({"containerStatuses": shown("3", "1")}), 3000),
            (
                json!({"containers": containers, "overhead": {"cpu": "1"}}),
                json!({"containerStatuses": shown("1", "4")}),
                5000,
            ),
            (
                json!({"containers": [], "initContainers": [{"name": "c", "resources": own("2")}]}),
                json!({"initContainerStatuses": shown("3", "3")}),
                2000,
            ),
            (
                json!({"containers": [], "initContainers": [{"name": "c", "restartPolicy": "Always", "resources": own("2")}]}),
                json!({"initContainerStatuses": shown("3", "3")}),
                3000,
            ),
            (
                json!({"containers": containers, "resources": own("1")}),
                json!({"containerStatuses": shown("3", "3"), "resources": own("2"), "allocatedResources": {"cpu": "1"}}),
                2000,
            ),
        ] {
            let pod: Pod = serde_json::from_value(json!({"spec": spec, "status": status})).expect("a pod");
            assert_eq!(resources::held(&pod, "cpu"), wanted, "{spec} {status}");
        }
    }
}
