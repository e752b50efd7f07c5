//! The cases, a file for each capability: a table of rows, and below it the functions in the table's order.
//!
//! A case starts in an empty namespace and returns what it found wrong. It waits by watches with deadlines. What it takes
//! for granted is Kubernetes' own contract and nothing of any server's inside, so it must pass against upstream too.

mod access;
mod aggregation;
mod applications;
mod apply;
mod changes;
mod containers;
mod cronjobs;
mod daemonsets;
mod deletion;
mod deployments;
mod discovery;
mod disruption;
mod endpoints;
mod events;
mod fields;
mod jobs;
mod kinds;
mod kubectl;
mod life;
mod lifecycle;
mod limits;
mod lists;
mod mounts;
mod names;
mod network;
mod objects;
mod patches;
mod paths;
mod pods;
mod preemption;
mod replicas;
mod scheduling;
mod services;
mod statefulsets;
mod streams;
mod tokens;
mod volumes;
mod watch;

use anyhow::Result;
use serde_json::{Value, json};

use crate::catalogue::Group;
use crate::cluster::{Scope, container};

/// In any order: reports go by area.
pub(crate) const GROUPS: &[&Group] = &[
    // The API itself.
    &discovery::GROUP,
    &lists::GROUP,
    &watch::GROUP,
    &objects::GROUP,
    &fields::GROUP,
    &patches::GROUP,
    &apply::GROUP,
    &aggregation::GROUP,
    // Kinds, and who may do what with them.
    &kinds::GROUP,
    &events::GROUP,
    &tokens::GROUP,
    &access::GROUP,
    &deletion::GROUP,
    &deletion::NAMESPACES,
    // Workloads.
    &replicas::GROUP,
    &deployments::GROUP,
    &statefulsets::GROUP,
    &daemonsets::GROUP,
    &jobs::GROUP,
    &cronjobs::GROUP,
    &disruption::GROUP,
    // Pods and what is in them.
    &pods::GROUP,
    &containers::GROUP,
    &lifecycle::GROUP,
    &changes::GROUP,
    &volumes::GROUP,
    &paths::GROUP,
    &kubectl::GROUP,
    &streams::GROUP,
    // Between pods, and where they go.
    &network::GROUP,
    &services::GROUP,
    &endpoints::GROUP,
    &names::GROUP,
    &scheduling::GROUP,
    &limits::GROUP,
];

/// A script that runs until it is told to end, and then ends at once.
const STAY: &str = "trap 'exit 0' TERM INT; sleep 86400 & wait";

/// A pod template of one container `main` with the label `app`.
fn template(app: &str, image: &str, script: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}},
        "spec": {"terminationGracePeriodSeconds": 5, "containers": [container("main", image, script)]}})
}

/// The smallest object there is: a ConfigMap with one entry and a label `set`.
fn config_map(name: &str, set: &str, data: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"set": set}},
        "data": {"key": data}})
}

/// A resource version as the number that it has to be.
fn version_of(object: &Value) -> u128 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// What a pod's node has to give: whole cpus, rounded up, and bytes of memory.
async fn allocatable(scope: &Scope, pod: &str) -> Result<[u64; 2]> {
    let node = scope.pods().get(pod).await?["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    let node = scope.global("v1", "nodes").get(&node).await?;
    let text = |name: &str| node["status"]["allocatable"][name].as_str().unwrap_or_default().to_owned();
    let (cpu, memory) = (text("cpu"), text("memory"));
    let cpu = match cpu.strip_suffix('m') {
        Some(thousandths) => thousandths.parse::<u64>()?.div_ceil(1000),
        None => cpu.parse()?,
    };
    let memory = match memory.strip_suffix("Ki") {
        Some(kibibytes) => kibibytes.parse::<u64>()? * 1024,
        None => memory.parse()?,
    };
    Ok([cpu, memory])
}
