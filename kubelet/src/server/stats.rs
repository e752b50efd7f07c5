//! `/stats/summary`: what the containers use, as CRI tells it.

use std::collections::{BTreeMap, HashMap};

use http::{Response, StatusCode};
use jiff::Timestamp;
use k8s_cri::v1::{ContainerStats, UInt64Value};
use serde_json::{Value, json};

use super::body::{self, Body, text};
use crate::{
    eviction::{image_folder, processes as processes_of},
    net_usage::{self, Interface},
    node::machine::{Space, meminfo_kib},
    pod::{node::Node, spec},
    runtime::labels::{CONTAINER_NAME, Identity},
    usage::{self, ContainerUsage, Usage},
};

fn time(ns: i64) -> String {
    Timestamp::from_nanosecond(ns.into()).map(|at| crate::status::whole_second(at).to_string()).unwrap_or_default()
}

pub(super) fn number(value: &Option<UInt64Value>) -> Option<u64> {
    value.as_ref().map(|value| value.value)
}

/// A container with what it uses.
pub(super) struct Measured {
    pub(super) name: String,
    pub(super) stats: ContainerStats,
    /// Nanoseconds since 1970 at which it was made, as upstream tells its start; zero where that is not known.
    pub(super) created_at_ns: i64,
}

/// Containers by their pods; those of other clients of the runtime are left out.
pub(super) async fn measured(node: &Node) -> crate::runtime::Result<BTreeMap<Identity, Vec<Measured>>> {
    let stats = node.runtime.list_container_stats().await?;
    let containers = node.runtime.list_containers(None).await?;
    let created: HashMap<String, i64> = containers.into_iter().map(|it| (it.id, it.created_at)).collect();
    Ok(by_pod(stats, &created))
}

fn by_pod(stats: Vec<ContainerStats>, created: &HashMap<String, i64>) -> BTreeMap<Identity, Vec<Measured>> {
    let mut pods: BTreeMap<Identity, Vec<_>> = BTreeMap::new();
    for stats in stats {
        let Some(attributes) = stats.attributes.as_ref() else { continue };
        let (labels, id) = (&attributes.labels, &attributes.id);
        let created_at_ns = created.get(id).copied().unwrap_or(0);
        if let (Some(identity), Some(name)) = (Identity::from_labels(labels), labels.get(CONTAINER_NAME).cloned()) {
            pods.entry(identity).or_default().push(Measured { name, stats, created_at_ns });
        }
    }
    pods
}

pub(super) async fn summary(node: &Node) -> Response<Body> {
    let pods = match measured(node).await {
        Ok(pods) => pods,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.rpc()),
    };
    let disk = disk_usage(node, &pods).await;
    let of_pod =
        |(identity, containers): (&Identity, &Vec<Measured>)| pod(node, identity, containers, disk.get(&identity.uid));
    let pods: Vec<Value> = pods.iter().map(of_pod).collect();
    let now = crate::status::whole_second(node.clock.now()).to_string();
    let space = Space::of(&node.facts.paths.root);
    // Images may have a disk of their own.
    let images = image_folder(node.runtime.as_ref()).await.map_or(space, |folder| Space::of(&folder));
    let (fs, image_fs) = (of_disk(&space, &now), of_disk(&images, &now));
    let (cpu, memory) = of_machine();
    body::json(&json!({
        "node": {
            "nodeName": node.facts.node_name,
            "startTime": boot_time(&std::fs::read_to_string("/proc/stat").unwrap_or_default()),
            "cpu": {"time": now, "usageCoreNanoSeconds": cpu},
            "memory": {
                "time": now,
                "availableBytes": memory.1,
                "usageBytes": memory.0 - memory.1,
                "workingSetBytes": memory.0 - memory.1,
            },
            "fs": fs,
            "runtime": {"imageFs": image_fs, "containerFs": image_fs},
            "rlimit": processes(&now),
        },
        "pods": pods,
    }))
}

fn of_disk(space: &Space, now: &str) -> Value {
    json!({
        "time": now,
        "availableBytes": space.available_bytes,
        "capacityBytes": space.total_bytes,
        "usedBytes": space.total_bytes - space.available_bytes,
        "inodesFree": space.inodes_free,
        "inodes": space.inodes,
        "inodesUsed": space.inodes - space.inodes_free,
    })
}

/// How many processes there may be, and how many there are.
fn processes(now: &str) -> Value {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let most = |path: &str| text(path).trim().parse::<i64>().unwrap_or(i64::MAX);
    let most = most("/proc/sys/kernel/pid_max").min(most("/proc/sys/kernel/threads-max"));
    json!({"time": now, "maxpid": most, "curproc": processes_of(&text("/proc/loadavg"))})
}

/// Nanoseconds of CPU since boot; memory in all and available, in bytes.
pub(super) fn of_machine() -> (u64, (i64, i64)) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first.split_whitespace().skip(1).filter_map(|it| it.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; a tick is 10 ms.
    let busy: u64 = ticks.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, it)| it).sum();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |name| meminfo_kib(&meminfo, name) * 1024;
    (busy * 10_000_000, (bytes("MemTotal"), bytes("MemAvailable")))
}

fn boot_time(stat: &str) -> Option<String> {
    let second = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Timestamp::from_second(second).ok().map(|at| at.to_string())
}

/// What each pod's logs and volumes take of the disk, by pod UID.
async fn disk_usage(node: &Node, pods: &BTreeMap<Identity, Vec<Measured>>) -> HashMap<String, Usage> {
    let mut by_uid = usage::of_containers(pods.values().flatten().map(|container| &container.stats));
    let (pods, paths) = (node.running.list(), node.facts.paths.clone());
    let work = move || {
        for pod in pods {
            if let Some(usage) = by_uid.get_mut(spec::uid(&pod)) {
                usage::measure_disk(usage, &pod, &paths);
            }
        }
        by_uid
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

/// The interfaces of a pod's network; the first is told as the pod's own.
fn network(node: &Node, identity: &Identity, now: &str) -> Option<Value> {
    let pod = node.running.find(&identity.namespace, &identity.name, &identity.uid)?;
    let one = |it: &Interface| {
        json!({
            "name": it.name,
            "rxBytes": it.received.bytes,
            "rxErrors": it.received.errors,
            "txBytes": it.sent.bytes,
            "txErrors": it.sent.errors,
        })
    };
    let interfaces: Vec<Value> = net_usage::of_pod(node, &pod)?.iter().map(one).collect();
    let mut network = interfaces.first()?.clone();
    network["time"] = now.into();
    network["interfaces"] = interfaces.into();
    Some(network)
}

fn pod(node: &Node, identity: &Identity, containers: &[Measured], usage: Option<&Usage>) -> Value {
    let sum = |of: fn(&ContainerStats) -> Option<u64>| containers.iter().filter_map(|it| of(&it.stats)).sum::<u64>();
    let cpu = sum(|it| number(&it.cpu.as_ref()?.usage_core_nano_seconds));
    let memory = sum(|it| number(&it.memory.as_ref()?.working_set_bytes));
    let now = crate::status::whole_second(node.clock.now()).to_string();
    let space = Space::of(&node.facts.paths.root);
    let of_containers = |it: &Measured| {
        let own = usage.and_then(|usage| usage.containers.get(&it.name));
        container(it, own.map(|own| logs(own, &space, &now)))
    };
    json!({
        "podRef": {"name": identity.name, "namespace": identity.namespace, "uid": identity.uid},
        "startTime": started(node, identity),
        "containers": containers.iter().map(of_containers).collect::<Vec<_>>(),
        "cpu": {"time": now, "usageCoreNanoSeconds": cpu},
        "memory": {"time": now, "workingSetBytes": memory},
        "network": network(node, identity, &now),
        "volume": usage.map(|usage| volumes(usage, &space, &now)),
        "ephemeral-storage": usage.map(|usage| {
            json!({
                "time": now,
                "usedBytes": usage.disk_bytes(),
                "inodesUsed": usage.inodes(),
                "availableBytes": space.available_bytes,
                "capacityBytes": space.total_bytes,
                "inodesFree": space.inodes_free,
                "inodes": space.inodes,
            })
        }),
    })
}

fn volumes(usage: &Usage, space: &Space, now: &str) -> Vec<Value> {
    let one = |(name, it): (&String, &usage::VolumeUsage)| {
        json!({
            "name": name,
            "time": now,
            "usedBytes": it.bytes,
            "inodesUsed": it.inodes,
            "availableBytes": space.available_bytes,
            "capacityBytes": space.total_bytes,
            "inodesFree": space.inodes_free,
            "inodes": space.inodes,
        })
    };
    usage.volumes.iter().map(one).collect()
}

fn started(node: &Node, identity: &Identity) -> Option<String> {
    let pod = node.running.find(&identity.namespace, &identity.name, &identity.uid)?;
    Some(pod.status.as_ref()?.start_time.as_ref()?.0.to_string())
}

fn logs(own: &ContainerUsage, space: &Space, now: &str) -> Value {
    json!({
        "time": now,
        "usedBytes": own.log_bytes,
        "inodesUsed": own.log_inodes,
        "availableBytes": space.available_bytes,
        "capacityBytes": space.total_bytes,
        "inodesFree": space.inodes_free,
        "inodes": space.inodes,
    })
}

fn container(Measured { name, stats, created_at_ns }: &Measured, logs: Option<Value>) -> Value {
    let cpu = stats.cpu.as_ref().map(|cpu| {
        json!({
            "time": time(cpu.timestamp),
            "usageNanoCores": number(&cpu.usage_nano_cores),
            "usageCoreNanoSeconds": number(&cpu.usage_core_nano_seconds),
        })
    });
    let memory = stats.memory.as_ref().map(|memory| {
        json!({
            "time": time(memory.timestamp),
            "usageBytes": number(&memory.usage_bytes),
            "workingSetBytes": number(&memory.working_set_bytes),
            "rssBytes": number(&memory.rss_bytes),
            "pageFaults": number(&memory.page_faults),
            "majorPageFaults": number(&memory.major_page_faults),
        })
    });
    let rootfs = stats.writable_layer.as_ref().map(|layer| {
        json!({
            "time": time(layer.timestamp),
            "usedBytes": number(&layer.used_bytes),
            "inodesUsed": number(&layer.inodes_used),
        })
    });
    let started = (*created_at_ns > 0).then(|| time(*created_at_ns));
    json!({"name": name, "startTime": started, "cpu": cpu, "memory": memory, "rootfs": rootfs, "logs": logs})
}

#[test]
fn a_node_starts_with_its_boot() {
    let stat = "cpu  1 2 3 4 5 6 7 8\nintr 1\nbtime 1700000000\nprocesses 9\n";
    assert_eq!(boot_time(stat).as_deref(), Some("2023-11-14T22:13:20Z"));
    assert_eq!(boot_time("cpu 1\n"), None);
}
