//! Pods a second through the whole scheduler, against an API server in memory that only acknowledges.
//!
//! Run with `cargo bench -p scheduler --bench acknowledged`. That server decodes, stores and tells watchers on the same
//! cores: the figure is a floor.

use std::time::{Duration, Instant};

use component::clock::Clock;
use component::context::Context;
use component::random::Random;
use component::recorder::Source;
use component::shutdown::Shutdown;
use component::testing::{FakeApi, Received};
use scheduler::core::Core;
use scheduler::framework::Profile;
use scheduler::queue::Backoff;
use scheduler::shell;
use serde_json::{Value, json};

const NODES: usize = 1000;
const PODS: usize = 3000;
const DEADLINE: Duration = Duration::from_secs(120);

fn node(index: usize) -> Value {
    let name = format!("node-{index}");
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "uid": name, "labels": {
            "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{}", index % 5)}},
        "status": {"allocatable": {"cpu": "64", "memory": "256Gi", "pods": "110"}},
    })
}

fn pod(index: usize) -> Value {
    let name = format!("web-{index}");
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}},
        "spec": {"schedulerName": "default-scheduler", "containers": [
            {"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "100m", "memory": "200Mi"}}}]},
    })
}

/// Discovery answers; events are taken and forgotten.
fn answers(request: &Received) -> Option<(u16, Value)> {
    if request.resource.is_empty() {
        let names = ["services", "namespaces", "replicasets"];
        let resource =
            |name| json!({"name": name, "singularName": "", "namespaced": true, "kind": "", "verbs": ["list"]});
        let resources: Vec<Value> = names.map(resource).into();
        return Some((200, json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": resources})));
    }
    (request.resource == "events").then(|| (201, request.body.clone()))
}

#[tokio::main]
async fn main() {
    let (fake, shutdown) = (FakeApi::new(), Shutdown::new());
    (0..NODES).for_each(|index| fake.put(&node(index)));
    fake.put(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}}}));
    fake.react(answers);
    let source = Source::new("default-scheduler");
    let context = Context::with(fake.client(), source, Clock::system(), Random::seeded(1), shutdown.clone());
    let core = Core::new(vec![Profile::default_named("default-scheduler")], Backoff::default(), 1);
    let running = tokio::spawn(shell::run(core, context));
    fake.until(|all| all.iter().any(|request| request.verb == "watch" && request.resource == "pods")).await;
    let begun = Instant::now();
    (0..PODS).for_each(|index| fake.put(&pod(index)));
    let bound = |all: &Vec<Received>| all.iter().filter(|request| request.subresource == "binding").count() >= PODS;
    match tokio::time::timeout(DEADLINE, fake.until(bound)).await {
        Ok(()) => {
            let seconds = begun.elapsed().as_secs_f64();
            println!("{PODS} pods on {NODES} nodes: {seconds:.2} s, {:.0} pods/s", PODS as f64 / seconds);
        }
        Err(_) => println!("not all pods were bound within {DEADLINE:?}"),
    }
    shutdown.trigger();
    let _ = running.await;
}
