//! Pods a second through the whole scheduler, against an API that only acknowledges.
//!
//! Run with `cargo bench -p scheduler --bench acknowledged [-- NODES PODS]`. `seam` plays the API: it hands out objects as
//! prepared bytes and answers every binding with 201 and the pod's own event, as a real one would, on the same cores.

mod seam;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use component::clock::Clock;
use component::context::Context;
use component::random::Random;
use component::recorder::Source;
use component::shutdown::Shutdown;
use figures::process::memory_mib;
use figures::{Figure, Sheet};
use scheduler::core::Core;
use scheduler::extender::Extenders;
use scheduler::framework::Profile;
use scheduler::queue::Backoff;
use scheduler::shell;
use serde_json::{Value, json};

use seam::Seam;

const DEADLINE: Duration = Duration::from_secs(300);
const ZONES: usize = 5;

/// What a run measures: pods of one sort, and the rate that they are to be placed at.
struct Scenario {
    name: &'static str,
    /// Of the pods of each group; pods of one group keep away from one another.
    group: usize,
    budget_pods_per_second: f64,
    spec: fn(group: usize) -> Value,
}

const SCENARIOS: [Scenario; 3] = [
    Scenario {
        name: "resource fit, spreading, taints",
        group: usize::MAX,
        budget_pods_per_second: 5000.0,
        spec: |_| json!({"tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}]}),
    },
    Scenario {
        name: "topology spread by zone",
        group: usize::MAX,
        budget_pods_per_second: 5000.0,
        spec: |group| {
            json!({"topologySpreadConstraints": [{"maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": format!("app-{group}")}}}]})
        },
    },
    Scenario {
        name: "pod anti-affinity by node",
        group: 500,
        budget_pods_per_second: 1000.0,
        spec: |group| {
            let selector = json!({"matchLabels": {"app": format!("app-{group}")}});
            let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": selector});
            json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
        },
    },
];

fn node(index: usize) -> Value {
    let name = format!("node-{index}");
    let taint = json!({"key": "dedicated", "effect": "NoSchedule"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "uid": name, "resourceVersion": "1", "labels": {
            "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{}", index % ZONES)}},
        "spec": {"taints": if index.is_multiple_of(10) { json!([taint]) } else { json!([]) }},
        "status": {"allocatable": {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "110"}},
    })
}

fn pod(index: usize, scenario: &Scenario) -> Value {
    let (name, group) = (format!("web-{index}"), index / scenario.group);
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1",
            "labels": {"app": format!("app-{group}"), "pod-template-hash": "abc"}},
        "spec": {"schedulerName": "default-scheduler", "containers": [
            {"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "100m", "memory": "200Mi"}}}]},
    });
    if let (Value::Object(spec), Value::Object(more)) = (&mut pod["spec"], (scenario.spec)(group)) {
        spec.extend(more);
    }
    pod
}

/// Places all pods, and tells how fast, and what that took of memory.
async fn run(scenario: &Scenario, nodes: usize, pods: usize) -> Result<[Figure; 2]> {
    let nodes: Vec<Value> = (0..nodes).map(node).collect();
    let service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "resourceVersion": "1"}, "spec": {"selector": {"app": "app-0"}}});
    let before = memory_mib("self", "VmRSS")?;
    let (seam, shutdown) = (Seam::new(&nodes, &[service]), Shutdown::new());
    let source = Source::new("default-scheduler");
    let client = kube::Client::new(seam.clone(), "default");
    let context = Context::with(client, source, Clock::system(), Random::seeded(1), shutdown.clone());
    let core = Core::new(vec![Profile::default_named("default-scheduler")], Backoff::default(), 1);
    let running = tokio::spawn(shell::run(core, Extenders::default(), context));
    seam.watched().await;
    let encoded: Vec<Value> = (0..pods).map(|index| pod(index, scenario)).collect();
    let begun = Instant::now();
    encoded.into_iter().for_each(|pod| seam.add(pod));
    let bound = tokio::time::timeout(DEADLINE, seam.bound(pods)).await;
    let (rate, mib) = (pods as f64 / begun.elapsed().as_secs_f64(), memory_mib("self", "VmHWM")? - before);
    shutdown.trigger();
    let _ = running.await;
    bound.with_context(|| format!("{}: not all pods were bound within {DEADLINE:?}", scenario.name))?;
    Ok([
        Figure::new(format!("{}, pods a second", scenario.name), "1/s", [rate]).least(scenario.budget_pods_per_second),
        Figure::new(format!("{}, memory with the API's part", scenario.name), "MiB", [mib]).most(200.0),
    ])
}

#[tokio::main]
async fn main() -> Result<()> {
    // cargo itself passes `--bench`.
    let given: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let (nodes, pods) = (given.first().copied().unwrap_or(5000), given.get(1).copied().unwrap_or(10_000));
    let mut sheet = Sheet::new("acknowledged");
    sheet.remarks.push(format!("{pods} pods on {nodes} nodes, an API that only acknowledges"));
    for scenario in &SCENARIOS {
        run(scenario, nodes, pods).await?.into_iter().for_each(|figure| sheet.add(figure));
    }
    sheet.write(figures::folder!().as_ref())
}
