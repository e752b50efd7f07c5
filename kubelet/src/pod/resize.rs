//! In-place resize: which running containers do not have yet what their pod was given. Pure.
//!
//! Enter at [`due`]. CPU and memory are all that can change under a running container. A runtime that tells its
//! containers' resources is believed at the first look; after that counts what it has accepted.

use std::collections::HashMap;

use k8s_cri::v1;
use k8s_openapi::{
    api::core::v1::{Container, Pod},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use machinery::quantity::{Format, Quantity};
use serde_json::json;

use super::{
    allocation::resizable,
    configs::{
        NodeFacts,
        resources::{self, amount},
    },
    spec,
};
use crate::runtime::{ContainerRecord, ContainerState, Observed};

/// A quota below this is the kernel's smallest, whatever was asked for.
pub(crate) const CPU_LIMIT_MILLI_MIN: i64 = 10;
/// Shares below this are the kernel's smallest.
pub(crate) const CPU_REQUEST_MILLI_MIN: i64 = 2;
/// Runtimes with the systemd driver round a quota up to whole 10 ms.
const QUOTA_ROUNDING_US: i64 = 10_000;

/// CPU in thousandths of a core, memory in bytes; zero for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Having {
    pub cpu_request_milli: i64,
    pub cpu_limit_milli: i64,
    pub memory_request_bytes: i64,
    pub memory_limit_bytes: i64,
}

impl Having {
    /// What the pod's spec gives to one container.
    pub fn wanted(pod: &Pod, container: &Container) -> Self {
        let own = container.resources.clone().unwrap_or_default();
        let of_pod = spec::spec(pod).resources.clone().unwrap_or_default();
        let limit = |name| amount(&own.limits, name).or_else(|| amount(&of_pod.limits, name));
        let value = |it: Option<Quantity>| it.map_or(0, |it| it.value());
        let milli = |it: Option<Quantity>| it.map_or(0, |it| it.milli_value());
        Self {
            cpu_request_milli: milli(amount(&own.requests, "cpu")),
            cpu_limit_milli: milli(limit("cpu")),
            memory_request_bytes: value(amount(&own.requests, "memory")),
            memory_limit_bytes: value(limit("memory")),
        }
    }

    /// What the runtime says, where it differs from `wanted` by more than rounding. Requests of memory are in no cgroup.
    fn observed(told: &v1::LinuxContainerResources, wanted: Self, config: &v1::LinuxContainerResources) -> Self {
        let quota = |it: i64| it.max(0);
        let off = quota(told.cpu_quota) - quota(config.cpu_quota);
        let mut having = wanted;
        if told.cpu_shares != 0 && told.cpu_shares != config.cpu_shares {
            having.cpu_request_milli = shares_to_milli(told.cpu_shares);
        }
        if told.cpu_period != 0 && !(0..QUOTA_ROUNDING_US).contains(&off) {
            having.cpu_limit_milli = quota_to_milli(told.cpu_quota, told.cpu_period);
        }
        if told.memory_limit_in_bytes > 0 && told.memory_limit_in_bytes != config.memory_limit_in_bytes {
            having.memory_limit_bytes = told.memory_limit_in_bytes;
        }
        having
    }
}

/// One container to update.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    pub id: String,
    pub name: String,
    pub wanted: Having,
    pub resources: v1::LinuxContainerResources,
    /// The new memory limit where it is tighter than the one before: it must not lie below what is used.
    pub tighter_memory_bytes: Option<i64>,
}

/// What is to be done for a pod's containers to have what they were given.
#[derive(Debug, Default, PartialEq)]
pub struct Due {
    pub updates: Vec<Update>,
    /// IDs of the containers whose `resizePolicy` wants them restarted for it.
    pub restarts: Vec<String>,
}

impl Due {
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty() && self.restarts.is_empty()
    }
}

/// Compares what runs with what was given; notes in `actuated`, by container ID, what is right already.
pub fn due(pod: &Pod, observed: &Observed, actuated: &mut HashMap<String, Having>, facts: &NodeFacts) -> Due {
    let mut due = Due::default();
    actuated.retain(|id, _| observed.containers.iter().any(|record| record.id == *id));
    for container in resizable(pod) {
        let running = observed.current(&container.name).filter(|record| record.state == ContainerState::Running);
        let Some(record) = running else { continue };
        let wanted = Having::wanted(pod, container);
        let mut config = resources::of_container(pod, container, facts);
        let having = *actuated.entry(record.id.clone()).or_insert_with(|| match &record.resources {
            Some(told) => Having::observed(told, wanted, &config),
            None => wanted,
        });
        if having == wanted {
            continue;
        }
        if restarts_for(container, having, wanted) {
            due.restarts.push(record.id.clone());
            continue;
        }
        lift_removed(&mut config, having, wanted);
        let is_tighter = wanted.memory_limit_bytes > 0
            && (having.memory_limit_bytes == 0 || wanted.memory_limit_bytes < having.memory_limit_bytes);
        due.updates.push(Update {
            id: record.id.clone(),
            name: record.name.clone(),
            wanted,
            resources: config,
            tighter_memory_bytes: is_tighter.then_some(wanted.memory_limit_bytes),
        });
    }
    due
}

fn restarts_for(container: &Container, having: Having, wanted: Having) -> bool {
    let cpu = |it: Having| (it.cpu_request_milli, it.cpu_limit_milli);
    let memory = |it: Having| (it.memory_request_bytes, it.memory_limit_bytes);
    container.resize_policy.iter().flatten().filter(|it| it.restart_policy == "RestartContainer").any(|policy| {
        match policy.resource_name.as_str() {
            "cpu" => cpu(having) != cpu(wanted),
            "memory" => memory(having) != memory(wanted),
            _ => false,
        }
    })
}

/// Zero means "leave it" in an update: a limit that is taken away has to be said.
fn lift_removed(config: &mut v1::LinuxContainerResources, having: Having, wanted: Having) {
    if having.cpu_limit_milli > 0 && wanted.cpu_limit_milli == 0 && config.cpu_period != 0 {
        config.cpu_quota = -1;
    }
    if having.memory_limit_bytes > 0 && wanted.memory_limit_bytes == 0 {
        config.memory_limit_in_bytes = -1;
    }
}

fn shares_to_milli(shares: i64) -> i64 {
    (shares * 1000 + 1023) / 1024
}

fn quota_to_milli(quota_us: i64, period_us: i64) -> i64 {
    if quota_us <= 0 || period_us <= 0 { 0 } else { quota_us * 1000 / period_us }
}

/// The resources of a container's status: what was given, with cpu and memory as the runtime tells them. Amounts at or
/// below what the kernel can tell apart are shown as given.
pub fn actual(
    container: &Container,
    record: &ContainerRecord,
) -> Option<k8s_openapi::api::core::v1::ResourceRequirements> {
    let mut shown = container.resources.clone()?;
    let told = record.resources.as_ref().filter(|_| record.state == ContainerState::Running);
    let Some(told) = told else { return Some(shown) };
    let set = |amounts: &mut Option<std::collections::BTreeMap<String, ApiQuantity>>,
               name: &str,
               value: Quantity,
               least: i64| {
        let Some(amounts) = amounts else { return };
        let given = amounts.get(name).and_then(spec::quantity);
        let is_same = given.as_ref().is_some_and(|given| *given == value);
        let below = value.milli_value() <= least && given.is_none_or(|given| given.milli_value() <= least);
        if !is_same && !below {
            amounts.insert(name.to_owned(), ApiQuantity(value.to_string()));
        }
    };
    let cpu = |milli| Quantity::from_milli(milli, Format::DecimalSi);
    if told.cpu_quota > 0 {
        let limit = cpu(quota_to_milli(told.cpu_quota, told.cpu_period));
        set(&mut shown.limits, "cpu", limit, CPU_LIMIT_MILLI_MIN);
    }
    if told.memory_limit_in_bytes > 0 {
        set(&mut shown.limits, "memory", Quantity::new(told.memory_limit_in_bytes, Format::BinarySi), 0);
    }
    if told.cpu_shares > 0 {
        set(&mut shown.requests, "cpu", cpu(shares_to_milli(told.cpu_shares)), CPU_REQUEST_MILLI_MIN);
    }
    Some(shown)
}

/// The message of a resize's event: a title and the resources as JSON.
pub fn event_message(title: &str, pod: &Pod, generation: i64, error: &str) -> String {
    let one = |container: &Container| json!({"name": container.name, "resources": container.resources.clone().unwrap_or_default()});
    let mut summary = serde_json::Map::new();
    let lists = [("initContainers", spec::init_containers(pod)), ("containers", &spec::spec(pod).containers[..])];
    for (key, list) in lists {
        if !list.is_empty() {
            summary.insert(key.into(), list.iter().map(one).collect());
        }
    }
    summary.insert("generation".into(), generation.into());
    if !error.is_empty() {
        summary.insert("error".into(), error.into());
    }
    format!("{title}: {}", serde_json::Value::Object(summary))
}
