//! DaemonSets and StatefulSets, from the object to its pods.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use super::World;
use crate::{daemonset, statefulset};

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

pub(super) fn daemon_set(image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d", "namespace": "n", "uid": "d"},
        "spec": {"selector": {"matchLabels": {"app": "d"}}, "revisionHistoryLimit": 10, "template": template(image),
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}}})
}

pub(super) fn stateful_set(image: &str, replicas: i32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web", "namespace": "n", "uid": "web"},
        "spec": {"selector": {"matchLabels": {"app": "d"}}, "serviceName": "web", "replicas": replicas, "template": template(image),
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}}})
}

/// A scheduler and a kubelet that run each pod at once, and end it at once when it is deleted.
fn run_pods(world: &World) {
    for pod in world.fake.list::<Pod>() {
        let name = pod.metadata.name.clone().unwrap();
        if pod.metadata.deletion_timestamp.is_some() {
            world.fake.remove::<Pod>("n", &name);
            continue;
        }
        let mut pod = serde_json::to_value(pod).unwrap();
        if pod["status"]["phase"] != "Running" {
            let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
            let node = pod.pointer(&format!("{terms}/0/matchFields/0/values/0")).cloned();
            pod["spec"]["nodeName"] = node.unwrap_or(json!("n1"));
            pod["status"] = json!({"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
            world.fake.put(&pod);
        }
    }
}

/// Runs pods until the server's objects satisfy the condition.
pub(super) async fn until(world: &World, what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + super::DEADLINE;
    while !condition() {
        run_pods(world);
        let seen = world.fake.received().len();
        let more = world.fake.until(|all| all.len() > seen || condition());
        assert!(tokio::time::timeout_at(deadline, more).await.is_ok(), "never: {what}");
    }
}

fn images(world: &World) -> Vec<String> {
    let pods = world.fake.list::<Pod>();
    pods.iter().filter_map(|p| p.spec.as_ref()?.containers[0].image.clone()).collect()
}

#[tokio::test]
async fn a_daemon_set_covers_its_nodes_and_rolls() {
    let world = World::new();
    ["n1", "n2", "n3"].iter().for_each(|n| world.fake.put(&super::node(n)));
    world.fake.put(&daemon_set("one"));
    tokio::spawn(daemonset::run(world.ctx.clone(), 2));
    let status = || world.fake.get::<DaemonSet>("n", "d").and_then(|d| d.status).unwrap_or_default();
    until(&world, "three ready", || (status().number_ready, status().updated_number_scheduled) == (3, Some(3))).await;
    world.fake.put(&super::node("n4"));
    until(&world, "a new node's pod", || (status().number_ready, status().desired_number_scheduled) == (4, 4)).await;
    world.fake.put(&daemon_set("two"));
    until(&world, "all new", || images(&world) == ["two"; 4] && status().updated_number_scheduled == Some(4)).await;
    let revisions = world.fake.list::<ControllerRevision>();
    let mut numbers: Vec<i64> = revisions.iter().map(|r| r.revision).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
    // Back again: the first revision becomes the third.
    world.fake.put(&daemon_set("one"));
    until(&world, "all old again", || images(&world) == ["one"; 4]).await;
    let mut numbers: Vec<i64> = world.fake.list::<ControllerRevision>().iter().map(|r| r.revision).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3]);
}

#[tokio::test]
async fn a_stateful_set_is_built_rolled_and_shrunk_in_order() {
    let world = World::new();
    world.fake.put(&stateful_set("one", 3));
    tokio::spawn(statefulset::run(world.ctx.clone(), 2));
    let status = || world.fake.get::<StatefulSet>("n", "web").and_then(|s| s.status).unwrap_or_default();
    until(&world, "three ready", || (status().ready_replicas, status().current_replicas) == (Some(3), Some(3))).await;
    let order = |verb: &str| -> Vec<String> {
        let all = world.fake.received();
        let pods = all.iter().filter(|r| r.verb == verb && r.resource == "pods");
        pods.map(
            |r| if r.name.is_empty() { r.body["metadata"]["name"].as_str().unwrap().into() } else { r.name.clone() },
        )
        .collect()
    };
    let mut created = order("create");
    created.dedup();
    assert_eq!(created, ["web-0", "web-1", "web-2"]);
    let claims = world.fake.list::<PersistentVolumeClaim>();
    assert_eq!(
        claims.iter().filter_map(|c| c.metadata.name.clone()).collect::<Vec<_>>(),
        ["data-web-0", "data-web-1", "data-web-2"]
    );
    world.fake.put(&stateful_set("two", 3));
    let rolled = || images(&world) == ["two"; 3] && status().current_revision == status().update_revision;
    until(&world, "all new", || rolled() && status().ready_replicas == Some(3)).await;
    let mut deleted = order("delete");
    deleted.dedup();
    assert_eq!(deleted, ["web-2", "web-1", "web-0"]);
    assert_eq!(world.fake.list::<ControllerRevision>().len(), 2);
    world.fake.put(&stateful_set("two", 1));
    until(&world, "one left", || status().replicas == 1 && world.fake.list::<Pod>().len() == 1).await;
    assert_eq!(world.fake.list::<PersistentVolumeClaim>().len(), 3, "claims are kept");
    let owner = |c: &PersistentVolumeClaim| c.metadata.owner_references.as_ref().map(|o| o[0].kind.clone());
    until(&world, "claims of the set", || {
        world.fake.list::<PersistentVolumeClaim>().iter().all(|c| owner(c).as_deref() == Some("StatefulSet"))
    })
    .await;
}
