//! Nodes, and the parts of the pods' addresses that they are given.

use component::testing::FakeApi;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;

use super::{World, node};
use crate::nodeipam;

/// Parts of 256 addresses, and many of IPv6.
fn settings(cluster: &str) -> nodeipam::Settings {
    let cluster = vec![(cluster.parse().unwrap(), 24), ("fd00::/48".parse().unwrap(), 64)];
    nodeipam::Settings { cluster, services: Vec::new() }
}

fn parts(fake: &FakeApi, name: &str) -> Vec<String> {
    fake.get::<Node>("", name).and_then(|node| node.spec?.pod_cidrs).unwrap_or_default()
}

fn is_told(fake: &FakeApi, about: &str, reason: &str) -> bool {
    let message = format!("Node {about} status is now: {reason}");
    let told = fake.received();
    told.iter().any(|r| r.resource == "events" && r.body["reason"] == reason && r.body["message"] == message.as_str())
}

#[tokio::test]
async fn each_node_gets_a_part_and_gives_it_back_when_it_goes() {
    let world = World::new();
    let mut old = node("old");
    old["spec"] = json!({"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00::/64"]});
    world.fake.put(&old);
    world.fake.put(&node("new"));
    tokio::spawn(nodeipam::run(world.ctx.clone(), settings("10.1.0.0/23")));
    world.until("the part that is left", |f| parts(f, "new") == ["10.1.1.0/24", "fd00:0:0:1::/64"]).await;
    let spec = world.fake.get::<Node>("", "new").unwrap().spec.unwrap();
    assert_eq!(spec.pod_cidr.as_deref(), Some("10.1.1.0/24"), "the first is also the only one that old clients know");
    let written = world.fake.received().into_iter().filter(|r| r.verb == "patch").collect::<Vec<_>>();
    assert_eq!(written.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["new"], "who has one keeps it");
    assert_eq!(written[0].body["metadata"]["uid"], "new", "and never another node of that name");

    world.fake.put(&node("late"));
    world.until("there is none left", |f| is_told(f, "late", "CIDRNotAvailable")).await;
    assert!(parts(&world.fake, "late").is_empty());
    world.fake.remove::<Node>("", "old");
    world.until("what the old one had", |f| parts(f, "late").first().is_some_and(|part| part == "10.1.0.0/24")).await;
}

/// Refused, the part is free again; without an answer it may be the node's.
#[tokio::test]
async fn a_part_whose_write_fails_is_taken_only_if_it_may_have_been_written() {
    for (code, reason) in [(409, "Conflict"), (500, "InternalError")] {
        let world = World::new();
        world.fake.fail("patch", "nodes", 1, code, reason);
        world.fake.put(&node("n1"));
        tokio::spawn(nodeipam::run(world.ctx.clone(), settings("10.1.0.0/24")));
        world.until("it is told", |f| is_told(f, "n1", "CIDRAssignmentFailed")).await;
        match code {
            409 => world.until("the only part", |f| parts(f, "n1").first().is_some_and(|p| p == "10.1.0.0/24")).await,
            _ => world.until("none is left", |f| is_told(f, "n1", "CIDRNotAvailable")).await,
        }
        assert_eq!(parts(&world.fake, "n1").is_empty(), code == 500);
    }
}
