//! The controllers together, over a small API server in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use component::clock::Clock;
use component::context::Context;
use component::random::Random;
use component::recorder::Source;
use component::shutdown::Shutdown;
use component::testing::FakeApi;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use crate::{
    deployment, endpoints, endpointslice, garbagecollector, namespace, nodelifecycle, podgc, replicaset,
    serviceaccount, tainteviction,
};

mod autoscaling;
mod batch;
mod devices;
mod nodes;
mod revisions;
mod tokens;
mod volumes;
mod workloads;

const DEADLINE: Duration = Duration::from_secs(20);

struct World {
    fake: FakeApi,
    ctx: Context,
}

impl World {
    fn new() -> Self {
        let fake = FakeApi::new();
        let source = Source::new("test");
        let ctx = Context::with(fake.client(), source, Clock::system(), Random::seeded(1), Shutdown::new());
        World { fake, ctx }
    }

    /// Waits until the server's objects satisfy `condition`, which is looked at after every request.
    async fn until(&self, what: &str, condition: impl Fn(&FakeApi) -> bool) {
        let met = self.fake.until(|_| condition(&self.fake));
        assert!(tokio::time::timeout(DEADLINE, met).await.is_ok(), "never: {what}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.ctx.shutdown.trigger();
    }
}

fn web(replicas: i32, image: &str) -> serde_json::Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "n", "uid": "d", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}}})
}

/// A kubelet that gets everything ready at once.
fn make_ready(fake: &FakeApi) {
    for (i, pod) in fake.list::<Pod>().into_iter().enumerate() {
        let mut pod = serde_json::to_value(pod).unwrap();
        if pod["status"]["phase"] != "Running" {
            let ip = format!("10.1.0.{}", i + 2);
            pod["spec"]["nodeName"] = json!("n1");
            pod["status"] = json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
            fake.put(&pod);
        }
    }
}

#[tokio::test]
async fn a_deployment_gets_its_pods_and_rolls() {
    let world = World::new();
    world.fake.put(&web(3, "one"));
    tokio::spawn(deployment::run(world.ctx.clone(), 5));
    tokio::spawn(replicaset::run::<ReplicaSet>(world.ctx.clone(), 5));
    world.until("three pods", |f| f.list::<Pod>().len() == 3).await;
    make_ready(&world.fake);
    let available = |f: &FakeApi| {
        let d = f.get::<Deployment>("n", "web").and_then(|d| d.status);
        d.is_some_and(|s| (s.available_replicas, s.updated_replicas, s.replicas) == (Some(3), Some(3), Some(3)))
    };
    world.until("available", available).await;

    world.fake.put(&web(3, "two"));
    let of = |f: &FakeApi, image: &str| {
        let mut pods = f.list::<Pod>();
        pods.retain(|p| p.metadata.deletion_timestamp.is_none());
        pods.iter().filter(|p| p.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image)).count()
    };
    for step in 1..=3 {
        world.until("a new pod", |f| of(f, "two") >= step).await;
        make_ready(&world.fake);
    }
    world.until("all old pods gone", |f| of(f, "one") == 0 && of(f, "two") == 3).await;
    make_ready(&world.fake);
    world.until("available again", available).await;
    assert_eq!(world.fake.list::<ReplicaSet>().len(), 2);
}

/// A ReplicaSet that it made and does not see yet counts: beside it the next one would get the whole size, too.
#[tokio::test(start_paused = true)]
async fn a_deployment_waits_for_a_cache_that_is_behind_its_own_writes() {
    let world = World::new();
    let blind = Arc::new(AtomicBool::new(true));
    let is_blind = blind.clone();
    world.fake.react(move |r| {
        let hides = r.verb == "watch" && r.resource == "replicasets" && is_blind.load(Ordering::Relaxed);
        hides.then(|| (500, json!({"code": 500, "status": "Failure"})))
    });
    tokio::spawn(deployment::run(world.ctx.clone(), 1));
    world.fake.put(&web(3, "one"));
    world.until("a replica set", |f| f.list::<ReplicaSet>().len() == 1).await;
    world.fake.put(&web(3, "two"));
    // Simulated: everything that can happen has happened before time moves on.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.fake.list::<ReplicaSet>().len(), 1, "the first one is not in the cache yet");
    blind.store(false, Ordering::Relaxed);
    world.until("another replica set", |f| f.list::<ReplicaSet>().len() == 2).await;
    let sizes = world.fake.list::<ReplicaSet>().into_iter().filter_map(|rs| rs.spec?.replicas);
    assert!(sizes.sum::<i32>() <= 4, "three, and one for maxSurge");
}

#[tokio::test]
async fn a_service_gets_its_endpoints() {
    let world = World::new();
    world.fake.put(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}));
    world.fake.put(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "n", "uid": "s"},
        "spec": {"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"}, "ports": [{"port": 80}]}}));
    world.fake.put(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "labels": {"app": "web"}}}));
    let settings = endpointslice::Settings { workers: 2, max_endpoints_per_slice: 100, batch_period: Duration::ZERO };
    tokio::spawn(endpointslice::run(world.ctx.clone(), settings));
    tokio::spawn(endpoints::run(world.ctx.clone(), 2, Duration::ZERO));
    world.until("an empty slice", |f| f.list::<EndpointSlice>().len() == 1).await;
    make_ready(&world.fake);
    let ready = |f: &FakeApi| f.list::<EndpointSlice>()[0].endpoints.as_ref().is_some_and(|e| e.len() == 1);
    world.until("a slice with the pod", ready).await;
    let subset = |f: &FakeApi| f.get::<Endpoints>("n", "web").is_some_and(|e| e.subsets.is_some());
    world.until("endpoints with the pod", subset).await;
    // Since when both were out of date: the pod's turning ready.
    let key = "endpoints.kubernetes.io/last-change-trigger-time";
    let written = world.fake.list::<EndpointSlice>().remove(0).metadata.annotations;
    for annotations in [written, world.fake.get::<Endpoints>("n", "web").unwrap().metadata.annotations] {
        assert_eq!(annotations.unwrap()[key], "2026-01-01T00:00:00Z");
    }
    assert_eq!(world.fake.list::<EndpointSlice>().len(), 1);
    world.fake.remove::<Service>("n", "web");
    world.until("no endpoints", |f| f.get::<Endpoints>("n", "web").is_none()).await;
}

#[tokio::test]
async fn namespaces_get_what_pods_need() {
    let world = World::new();
    world.fake.put(
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}, "status": {"phase": "Active"}}),
    );
    tokio::spawn(serviceaccount::run(world.ctx.clone(), 1));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "PEM").unwrap();
    tokio::spawn(crate::rootca::run(world.ctx.clone(), Some(file.path().to_owned()), Default::default()));
    world.until("a service account", |f| f.get::<ServiceAccount>("n", "default").is_some()).await;
    let published =
        |f: &FakeApi| f.get::<ConfigMap>("n", "kube-root-ca.crt").is_some_and(|c| c.data.unwrap()["ca.crt"] == "PEM");
    world.until("a root CA", published).await;
    world.fake.remove::<ServiceAccount>("n", "default");
    world.until("the account again", |f| f.get::<ServiceAccount>("n", "default").is_some()).await;
}

/// Discovery, which the server in memory does not have: ConfigMaps, Secrets and pods.
fn discover(fake: &FakeApi) {
    let kind = |resource: &str, kind: &str| {
        json!({"resource": resource, "scope": "Namespaced", "responseKind": {"group": "", "version": "v1", "kind": kind},
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]})
    };
    let resources = [kind("configmaps", "ConfigMap"), kind("secrets", "Secret"), kind("pods", "Pod")];
    let groups = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
        "items": [{"metadata": {}, "versions": [{"version": "v1", "resources": resources}]}]});
    fake.react(move |r| (r.resource.is_empty() && r.version.is_empty()).then(|| (200, groups.clone())));
    // It would take a strategic patch for a merge patch.
    fake.react(|r| {
        r.content_type.starts_with("application/strategic").then(|| (415, json!({"code": 415, "status": "Failure"})))
    });
}

fn owned(kind: &str, name: &str, owner: &str, blocks: bool) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "n", "uid": name,
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": owner, "blockOwnerDeletion": blocks}]}})
}

fn config_map(name: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n", "uid": name}})
}

#[tokio::test]
async fn what_has_lost_its_owners_goes() {
    let world = World::new();
    discover(&world.fake);
    for name in ["owner", "other"] {
        world.fake.put(&config_map(name));
    }
    world.fake.put(&owned("Secret", "child", "owner", false));
    world.fake.put(&owned("Secret", "kept", "other", false));
    world.fake.put(&owned("Secret", "lost", "never-was", false));
    tokio::spawn(garbagecollector::run(world.ctx.clone(), 4));
    let gone = |f: &FakeApi, name: &str| f.get::<Secret>("n", name).is_none();
    world.until("an owner that never was", |f| gone(f, "lost")).await;
    assert!(!gone(&world.fake, "child"));
    world.fake.remove::<ConfigMap>("n", "owner");
    world.until("the child of a deleted owner", |f| gone(f, "child")).await;
    assert!(!gone(&world.fake, "kept"));
}

#[tokio::test]
async fn foreground_and_orphan_deletion() {
    let world = World::new();
    discover(&world.fake);
    let mut foreground = config_map("foreground");
    foreground["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    foreground["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut orphan = config_map("orphan");
    orphan["metadata"]["finalizers"] = json!(["orphan"]);
    orphan["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    world.fake.put(&foreground);
    world.fake.put(&orphan);
    world.fake.put(&owned("Secret", "blocking", "foreground", true));
    world.fake.put(&owned("Secret", "orphaned", "orphan", true));
    tokio::spawn(garbagecollector::run(world.ctx.clone(), 4));
    world.until("the dependents, then the owner", |f| f.get::<ConfigMap>("n", "foreground").is_none()).await;
    assert!(world.fake.get::<Secret>("n", "blocking").is_none());
    world.until("the orphans' owner", |f| f.get::<ConfigMap>("n", "orphan").is_none()).await;
    let orphaned = world.fake.get::<Secret>("n", "orphaned").expect("it stays");
    assert!(orphaned.metadata.owner_references.is_none_or(|o| o.is_empty()));
}

#[tokio::test]
async fn a_namespace_is_emptied_and_let_go() {
    let world = World::new();
    discover(&world.fake);
    world.fake.put(&json!({"apiVersion": "v1", "kind": "Namespace", "spec": {"finalizers": ["kubernetes"]},
        "metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["keeps-it-in-the-fake"]}}));
    world.fake.put(&config_map("content"));
    tokio::spawn(namespace::run(world.ctx.clone(), 2));
    let finalized = world.fake.until(|all| {
        let mut finalize = all.iter().filter(|r| r.subresource == "finalize" && r.name == "n");
        finalize.any(|r| r.body["spec"]["finalizers"].as_array().is_none_or(|f| f.is_empty()))
    });
    tokio::time::timeout(DEADLINE, finalized).await.expect("never finalized");
    assert!(world.fake.get::<ConfigMap>("n", "content").is_none());
    let status =
        world.fake.received().into_iter().rfind(|r| r.resource == "namespaces" && r.subresource == "status").unwrap();
    assert_eq!(status.body["status"]["phase"], "Terminating");
}

fn node(name: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name},
        "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}})
}

/// Two nodes, of which one falls silent, in simulated time.
#[tokio::test(start_paused = true)]
async fn a_silent_node_loses_its_pods() {
    let fake = FakeApi::new();
    let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
    let ctx = Context::with(fake.client(), Source::new("test"), clock, Random::seeded(1), Shutdown::new());
    fake.put(&node("silent"));
    fake.put(&node("alive"));
    fake.put(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "p"},
        "spec": {"nodeName": "silent", "containers": [], "tolerations": [
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}));
    let rates = nodelifecycle::Rates { eviction: 0.1, secondary: 0.01, large_cluster: 50, unhealthy_zone: 0.55 };
    let seconds = Duration::from_secs;
    let settings = nodelifecycle::Settings { monitor_grace: seconds(50), startup_grace: seconds(60), rates };
    tokio::spawn(nodelifecycle::run(ctx.clone(), settings));
    tokio::spawn(tainteviction::run(ctx.clone()));
    let mut seen = Vec::new();
    for beat in 0..12 {
        fake.put(&json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "alive", "namespace": "kube-node-lease"}, "spec": {"leaseTransitions": beat}}));
        tokio::time::sleep(seconds(10)).await;
        let taints = fake.get::<Node>("", "silent").unwrap().spec.and_then(|s| s.taints).unwrap_or_default();
        let pod = fake.get::<Pod>("n", "p");
        let evicted = pod.is_none_or(|p| p.metadata.deletion_timestamp.is_some());
        seen.push((taints.len(), evicted));
    }
    // Silent from 50 s on, and evicted 30 s later.
    assert_eq!(seen[3], (0, false), "{seen:?}");
    assert_eq!(seen[5], (2, false), "{seen:?}");
    assert_eq!(seen[6], (2, false), "{seen:?}");
    assert_eq!(seen[8], (2, true), "{seen:?}");
    let alive = fake.get::<Node>("", "alive").unwrap();
    assert!(crate::common::nodes::is_ready(&alive) && crate::common::nodes::taints(&alive).is_empty());
    assert!(!crate::common::nodes::is_ready(&fake.get::<Node>("", "silent").unwrap()));
    ctx.shutdown.trigger();
}

#[tokio::test(start_paused = true)]
async fn pods_that_nobody_finishes_are_removed() {
    let fake = FakeApi::new();
    let clock = Clock::simulated("2026-01-01T00:00:00Z".parse().unwrap());
    let ctx = Context::with(fake.client(), Source::new("test"), clock, Random::seeded(1), Shutdown::new());
    let pod = |name: &str, node: &str, deleting: bool| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"nodeName": node, "containers": []}, "status": {"phase": "Running"}});
        if deleting {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            pod["metadata"]["finalizers"] = json!(["keeps-it-in-the-fake"]);
        }
        pod
    };
    fake.put(&node("here"));
    fake.put(&pod("fine", "here", false));
    fake.put(&pod("orphan", "gone", false));
    fake.put(&pod("never-placed", "", true));
    tokio::spawn(podgc::run(ctx.clone(), 0));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let deleted = |fake: &FakeApi| -> Vec<String> {
        let deletions = fake.received().into_iter().filter(|r| r.verb == "delete" && r.resource == "pods");
        let mut names: Vec<String> = deletions.map(|r| r.name).collect();
        names.dedup();
        names
    };
    assert_eq!(deleted(&fake), ["never-placed"], "a node has a while to come back");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(deleted(&fake), ["never-placed", "orphan"]);
    ctx.shutdown.trigger();
}
