//! `/stats/summary` and `/metrics/resource`: what the containers use, as CRI tells it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use http::{Response, StatusCode};
use jiff::Timestamp;
use k8s_cri::v1::{ContainerStats, UInt64Value};
use serde_json::{Value, json};

use super::body::{self, Body, text};
use crate::{
    net_usage::{self, Interface},
    node::machine::{Space, meminfo_kib},
    pod::{node::Node, spec},
    runtime::labels::{CONTAINER_NAME, Identity},
    usage::{self, Usage},
};

fn time(ns: i64) -> String {
    Timestamp::from_nanosecond(ns.into()).map(|at| crate::status::whole_second(at).to_string()).unwrap_or_default()
}

fn number(value: &Option<UInt64Value>) -> Option<u64> {
    value.as_ref().map(|value| value.value)
}

/// Each container with its pod; those of other clients of the runtime are left out.
fn by_pod(stats: Vec<ContainerStats>) -> BTreeMap<Identity, Vec<(String, ContainerStats)>> {
    let mut pods: BTreeMap<Identity, Vec<_>> = BTreeMap::new();
    for stats in stats {
        let Some(labels) = stats.attributes.as_ref().map(|it| &it.labels) else { continue };
        if let (Some(identity), Some(name)) = (Identity::from_labels(labels), labels.get(CONTAINER_NAME).cloned()) {
            pods.entry(identity).or_default().push((name, stats));
        }
    }
    pods
}

pub(super) async fn summary(node: &Node) -> Response<Body> {
    let stats = match node.runtime.list_container_stats().await {
        Ok(stats) => stats,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.rpc()),
    };
    let disk = disk_usage(node, &stats).await;
    let of_pod = |(identity, containers): (&Identity, &Vec<(String, ContainerStats)>)| {
        pod(node, identity, containers, disk.get(&identity.uid))
    };
    let pods: Vec<Value> = by_pod(stats).iter().map(of_pod).collect();
    let now = crate::status::whole_second(node.clock.now()).to_string();
    let space = Space::of(&node.facts.paths.root);
    let fs = json!({
        "time": now,
        "availableBytes": space.available_bytes,
        "capacityBytes": space.total_bytes,
        "usedBytes": space.total_bytes - space.available_bytes,
        "inodesFree": space.inodes_free,
        "inodes": space.inodes,
        "inodesUsed": space.inodes - space.inodes_free,
    });
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
            "runtime": {"imageFs": fs},
        },
        "pods": pods,
    }))
}

/// Nanoseconds of CPU since boot; memory in all and available, in bytes.
fn of_machine() -> (u64, (i64, i64)) {
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
async fn disk_usage(node: &Node, stats: &[ContainerStats]) -> HashMap<String, Usage> {
    let mut by_uid = usage::of_containers(stats);
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

fn pod(node: &Node, identity: &Identity, containers: &[(String, ContainerStats)], usage: Option<&Usage>) -> Value {
    let sum =
        |of: fn(&ContainerStats) -> Option<u64>| containers.iter().filter_map(|(_, stats)| of(stats)).sum::<u64>();
    let cpu = sum(|it| number(&it.cpu.as_ref()?.usage_core_nano_seconds));
    let memory = sum(|it| number(&it.memory.as_ref()?.working_set_bytes));
    let now = crate::status::whole_second(node.clock.now()).to_string();
    let space = Space::of(&node.facts.paths.root);
    json!({
        "podRef": {"name": identity.name, "namespace": identity.namespace, "uid": identity.uid},
        "startTime": started(node, identity),
        "containers": containers.iter().map(|(name, stats)| container(name, stats)).collect::<Vec<_>>(),
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

fn container(name: &str, stats: &ContainerStats) -> Value {
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
    json!({"name": name, "cpu": cpu, "memory": memory, "rootfs": rootfs})
}

pub(super) async fn resource_metrics(node: &Node) -> Response<Body> {
    let stats = match node.runtime.list_container_stats().await {
        Ok(stats) => stats,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.rpc()),
    };
    let pods = by_pod(stats);
    let mut out = String::new();
    let rows: [(&str, &str, &str, Of); 2] = [
        ("cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed, in core-seconds", |it| {
            let cpu = it.cpu.as_ref()?;
            Some((number(&cpu.usage_core_nano_seconds)? as f64 / 1e9, cpu.timestamp))
        }),
        ("memory_working_set_bytes", "gauge", "Current working set, in bytes", |it| {
            let memory = it.memory.as_ref()?;
            Some((number(&memory.working_set_bytes)? as f64, memory.timestamp))
        }),
    ];
    for (name, kind, help, of) in rows {
        let _ = writeln!(out, "# HELP container_{name} {help} of the container\n# TYPE container_{name} {kind}");
        for (identity, containers) in &pods {
            for (container, stats) in containers {
                let Some((value, at)) = of(stats) else { continue };
                let _ = writeln!(
                    out,
                    "container_{name}{{container=\"{container}\",namespace=\"{}\",pod=\"{}\"}} {value} {}",
                    identity.namespace,
                    identity.name,
                    at / 1_000_000
                );
            }
        }
        let _ = writeln!(out, "# HELP pod_{name} {help} of the pod\n# TYPE pod_{name} {kind}");
        for (identity, containers) in &pods {
            let values: Vec<(f64, i64)> = containers.iter().filter_map(|(_, stats)| of(stats)).collect();
            let Some(at) = values.iter().map(|(_, at)| *at).max() else { continue };
            let sum: f64 = values.iter().map(|(value, _)| value).sum();
            let _ = writeln!(
                out,
                "pod_{name}{{namespace=\"{}\",pod=\"{}\"}} {sum} {}",
                identity.namespace,
                identity.name,
                at / 1_000_000
            );
        }
    }
    machine_metrics(&mut out);
    body::with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", out.into())
}

type Of = fn(&ContainerStats) -> Option<(f64, i64)>;

fn machine_metrics(out: &mut String) {
    let (cpu, memory) = of_machine();
    let _ = writeln!(
        out,
        "# HELP node_cpu_usage_seconds_total Cumulative cpu time consumed by the node in core-seconds\n\
         # TYPE node_cpu_usage_seconds_total counter\n\
         node_cpu_usage_seconds_total {}\n\
         # HELP node_memory_working_set_bytes Current working set of the node in bytes\n\
         # TYPE node_memory_working_set_bytes gauge\n\
         node_memory_working_set_bytes {}",
        cpu as f64 / 1e9,
        memory.0 - memory.1
    );
}
