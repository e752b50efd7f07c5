//! The revisions of DaemonSets and StatefulSets where others made some, too.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::World;
use super::workloads::{daemon_set, stateful_set, until};
use crate::{daemonset, statefulset};

const LABEL: &str = "controller-revision-hash";

fn revisions(world: &World) -> Vec<ControllerRevision> {
    world.fake.list()
}

#[tokio::test]
async fn doubles_become_one_and_pods_stay() {
    let world = World::new();
    ["n1", "n2"].iter().for_each(|n| world.fake.put(&super::node(n)));
    world.fake.put(&daemon_set("one"));
    tokio::spawn(daemonset::run(world.ctx.clone(), 2));
    let ready = || world.fake.get::<DaemonSet>("n", "d").and_then(|d| d.status).is_some_and(|s| s.number_ready == 2);
    until(&world, "both ready", || ready() && revisions(&world).len() == 1).await;
    let uids = || world.fake.list::<Pod>().iter().filter_map(|p| p.uid()).collect::<Vec<_>>();
    let before = uids();

    let mut double = serde_json::to_value(&revisions(&world)[0]).unwrap();
    double["metadata"]["name"] = "d-double".into();
    double["metadata"]["uid"] = "double".into();
    double["metadata"]["labels"][LABEL] = "double".into();
    double["revision"] = json!(7);
    world.fake.put(&double);
    // Who has an owner is no news by itself.
    let mut touched = serde_json::to_value(world.fake.get::<DaemonSet>("n", "d")).unwrap();
    touched["metadata"]["annotations"] = json!({"touched": "true"});
    world.fake.put(&touched);
    until(&world, "the newest of the two is left", || revisions(&world).iter().all(|r| r.name_any() == "d-double"))
        .await;
    let labels = || world.fake.list::<Pod>().iter().map(|p| p.labels()[LABEL].clone()).collect::<Vec<_>>();
    until(&world, "pods are of it", || labels() == ["double", "double"]).await;
    assert_eq!(uids(), before, "no pod is replaced for that");
    assert_eq!(revisions(&world)[0].revision, 7, "and it is not numbered anew");
}

/// A revision of that name that records something else.
fn stranger(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": name, "namespace": "n", "uid": name},
        "data": {"spec": {"template": {}}}, "revision": 1})
}

/// The name of the own revision beside these, and how many collisions are told.
async fn own_among(kind: &str, strangers: &[String]) -> (String, i32) {
    let world = World::new();
    strangers.iter().for_each(|name| world.fake.put(&stranger(name)));
    let collisions = || match kind {
        "DaemonSet" => world.fake.get::<DaemonSet>("n", "d").and_then(|d| d.status?.collision_count),
        _ => world.fake.get::<StatefulSet>("n", "web").and_then(|s| s.status?.collision_count),
    };
    match kind {
        "DaemonSet" => {
            world.fake.put(&super::node("n1"));
            world.fake.put(&daemon_set("one"));
            tokio::spawn(daemonset::run(world.ctx.clone(), 1));
        }
        _ => {
            world.fake.put(&stateful_set("one", 1));
            tokio::spawn(statefulset::run(world.ctx.clone(), 1));
        }
    }
    let own = || revisions(&world).into_iter().find(|r| !strangers.contains(&r.name_any()));
    let pods = || world.fake.list::<Pod>();
    until(&world, "a revision and a pod", || own().is_some() && !pods().is_empty()).await;
    until(&world, "a status", || collisions().unwrap_or(0) as usize == strangers.len()).await;
    let own = own().unwrap();
    let of = pods()[0].labels()[LABEL].clone();
    assert!(own.name_any().ends_with(of.rsplit('-').next().unwrap_or_default()), "{of} is not {}", own.name_any());
    assert!(revisions(&world).iter().all(|r| r.name_any() == own.name_any() || r.owner_references().is_empty()));
    (own.name_any(), collisions().unwrap_or(0))
}

#[tokio::test]
async fn a_name_that_stands_for_something_else_is_left_alone() {
    for kind in ["DaemonSet", "StatefulSet"] {
        let mut taken = Vec::new();
        for count in 0..3 {
            let (name, collisions) = own_among(kind, &taken).await;
            assert_eq!(collisions, count, "{kind} {name}");
            assert!(!taken.contains(&name));
            taken.push(name);
        }
    }
}
