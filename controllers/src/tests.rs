//! The controllers together, over a small API server in memory.

use std::time::Duration;

use component::clock::Clock;
use component::context::Context;
use component::random::Random;
use component::recorder::Source;
use component::shutdown::Shutdown;
use component::testing::FakeApi;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use crate::{deployment, endpoints, endpointslice, replicaset, serviceaccount};

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
    tokio::spawn(replicaset::run(world.ctx.clone(), 5));
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
    let folder = std::env::temp_dir().join(format!("skiff-controllers-{}", std::process::id()));
    std::fs::write(&folder, "PEM").unwrap();
    tokio::spawn(crate::rootca::run(world.ctx.clone(), Some(folder.clone()), Default::default()));
    world.until("a service account", |f| f.get::<ServiceAccount>("n", "default").is_some()).await;
    let published =
        |f: &FakeApi| f.get::<ConfigMap>("n", "kube-root-ca.crt").is_some_and(|c| c.data.unwrap()["ca.crt"] == "PEM");
    world.until("a root CA", published).await;
    world.fake.remove::<ServiceAccount>("n", "default");
    world.until("the account again", |f| f.get::<ServiceAccount>("n", "default").is_some()).await;
    let _ = std::fs::remove_file(folder);
}
