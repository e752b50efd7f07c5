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
/// Before the place of the only scenario to run.
const ROW: &str = "--row=";

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

/// What a run came to.
struct Outcome {
    pods_per_second: f64,
    /// More than before the run, at most.
    mib: f64,
}

/// Places all pods, and tells how fast, and what that took of memory. To be done once in a process: the highest use of
/// memory is that of its whole life, and what one run has freed the next one does not ask for.
async fn run(scenario: &Scenario, nodes: usize, pods: usize) -> Result<Outcome> {
    let nodes: Vec<Value> = (0..nodes).map(node).collect();
    let service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "resourceVersion": "1"}, "spec": {"selector": {"app": "app-0"}}});
    let before = memory_mib("self", "VmRSS")?;
    let (seam, shutdown) = (Seam::new(&nodes, &[service]), Shutdown::new());
    let source = Source::new("default-scheduler");
    let client = kube::Client::new(seam.clone(), "default");
    let context = Context::with(client, source, Clock::system(), Random::seeded(1), shutdown.clone());
    let core = Core::new(vec![Profile::default_named("default-scheduler")], Backoff::default(), Clock::system(), 1);
    let running = tokio::spawn(shell::run(core, Extenders::default(), context));
    seam.watched().await;
    let encoded: Vec<Value> = (0..pods).map(|index| pod(index, scenario)).collect();
    let begun = Instant::now();
    encoded.into_iter().for_each(|pod| seam.add(pod));
    let bound = tokio::time::timeout(DEADLINE, seam.bound(pods)).await;
    let pods_per_second = pods as f64 / begun.elapsed().as_secs_f64();
    let mib = memory_mib("self", "VmHWM")? - before;
    shutdown.trigger();
    let _ = running.await;
    bound.with_context(|| format!("{}: not all pods were bound within {DEADLINE:?}", scenario.name))?;
    Ok(Outcome { pods_per_second, mib })
}

/// The run in a process of its own, which prints its outcome.
async fn run_apart(index: usize, nodes: usize, pods: usize) -> Result<Outcome> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args([format!("{ROW}{index}"), nodes.to_string(), pods.to_string()]).stderr(std::process::Stdio::inherit());
    let output = command.output().await.context("run a row")?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers.as_slice() {
        &[pods_per_second, mib] if output.status.success() => Ok(Outcome { pods_per_second, mib }),
        _ => anyhow::bail!("row {index} ended with {}: {text}", output.status),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    // cargo itself passes `--bench`.
    let given: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let (nodes, pods) = (given.first().copied().unwrap_or(5000), given.get(1).copied().unwrap_or(10_000));
    let row = std::env::args().find_map(|argument| argument.strip_prefix(ROW)?.parse::<usize>().ok());
    if let Some(scenario) = row.and_then(|row| SCENARIOS.get(row)) {
        let Outcome { pods_per_second, mib } = run(scenario, nodes, pods).await?;
        println!("{pods_per_second} {mib}");
        return Ok(());
    }
    let mut sheet = Sheet::new("acknowledged");
    sheet.remarks.push(format!("{pods} pods on {nodes} nodes, an API that only acknowledges, a process a row"));
    for (index, scenario) in SCENARIOS.iter().enumerate() {
        let Outcome { pods_per_second, mib } = run_apart(index, nodes, pods).await?;
        let rate = Figure::new(format!("{}, pods a second", scenario.name), "1/s", [pods_per_second]);
        sheet.add(rate.least(scenario.budget_pods_per_second));
        let memory = Figure::new(format!("{}, memory with the API's part", scenario.name), "MiB", [mib]);
        sheet.add(memory.most(200.0));
    }
    sheet.write(figures::folder!().as_ref())
}
