//! The pods of a summary. Blocking: reads cgroups, and walks pods' folders unless the short form is asked for.

use std::collections::{BTreeMap, HashMap};

use k8s_cri::v1::ContainerStats;
use serde_json::{Value, json};

use super::{
    Look,
    measured::Measured,
    pieces::{disk, network, of_figures, time},
};
use crate::{
    net_usage,
    node::machine::Space,
    pod::spec,
    runtime::labels::Identity,
    server::look::{self, number},
    usage::{self, Usage},
};

pub(super) fn all(look: &Look, pods: &BTreeMap<Identity, Vec<Measured>>) -> Vec<Value> {
    let disks = if look.is_short { HashMap::new() } else { disk_usage(look, pods) };
    let space = Space::of(&look.node.facts.paths.root);
    pods.iter()
        .map(|(identity, containers)| pod(look, identity, containers, disks.get(&identity.uid), &space))
        .collect()
}

/// What each pod's logs and volumes take of the disk, by pod UID.
fn disk_usage(look: &Look, pods: &BTreeMap<Identity, Vec<Measured>>) -> HashMap<String, Usage> {
    let mut by_uid = usage::of_containers(pods.values().flatten().map(|container| &container.stats));
    for pod in look.node.running.list() {
        if let Some(usage) = by_uid.get_mut(spec::uid(&pod)) {
            usage::measure_disk(usage, &pod, &look.node.facts.paths);
        }
    }
    by_uid
}

fn pod(look: &Look, identity: &Identity, containers: &[Measured], usage: Option<&Usage>, space: &Space) -> Value {
    let folder = look::pod_folder(&look.node, identity);
    let mut processes = None;
    let mut rows = Vec::new();
    for container in containers {
        let (row, count) = self::container(look, identity, container, usage, space);
        processes = count.map_or(processes, |count| Some(processes.unwrap_or(0) + count));
        rows.push(row);
    }
    let mut own = match look::figures(&look.node, &folder) {
        Some(figures) => look.of_cgroup(&folder, &figures),
        None => sums(&rows, &look.at),
    };
    own["podRef"] = json!({"name": identity.name, "namespace": identity.namespace, "uid": identity.uid});
    own["startTime"] = started(look, identity).into();
    own["containers"] = rows.into();
    if look.is_short {
        if let Some(own) = own.as_object_mut() {
            own.remove("io");
        }
        return own;
    }
    own["process_stats"] = processes.map(|count| json!({"process_count": count})).into();
    let found = look.node.running.find(&identity.namespace, &identity.name, &identity.uid);
    let interfaces = found.and_then(|pod| net_usage::of_pod(&look.node, &pod));
    own["network"] = interfaces.map(|interfaces| network(&interfaces, &look.at)).into();
    if let Some(usage) = usage {
        let volume = |(name, it): (&String, &usage::VolumeUsage)| {
            let mut row = disk(space, (Some(it.bytes), Some(it.inodes)), &look.at);
            row["name"] = name.as_str().into();
            row
        };
        own["volume"] = usage.volumes.iter().map(volume).collect();
        own["ephemeral-storage"] = disk(space, (Some(usage.disk_bytes()), Some(usage.inodes())), &look.at);
    }
    own
}

/// Where the pod has no cgroup of its own, its containers' together.
fn sums(containers: &[Value], at: &str) -> Value {
    let sum = |pointer: &str| {
        let mut values = containers.iter().filter_map(|it| it.pointer(pointer)?.as_u64()).peekable();
        values.peek().is_some().then_some(()).map(|()| values.sum::<u64>())
    };
    json!({
        "cpu": {
            "time": at,
            "usageNanoCores": sum("/cpu/usageNanoCores"),
            "usageCoreNanoSeconds": sum("/cpu/usageCoreNanoSeconds"),
        },
        "memory": {
            "time": at,
            "availableBytes": sum("/memory/availableBytes"),
            "usageBytes": sum("/memory/usageBytes"),
            "workingSetBytes": sum("/memory/workingSetBytes"),
            "rssBytes": sum("/memory/rssBytes"),
            "pageFaults": sum("/memory/pageFaults"),
            "majorPageFaults": sum("/memory/majorPageFaults"),
        },
    })
}

fn started(look: &Look, identity: &Identity) -> Option<String> {
    let pod = look.node.running.find(&identity.namespace, &identity.name, &identity.uid)?;
    Some(pod.status.as_ref()?.start_time.as_ref()?.0.to_string())
}

/// With how many processes it has, where the kernel could be asked.
fn container(
    look: &Look,
    identity: &Identity,
    Measured { name, stats, created_at_ns }: &Measured,
    usage: Option<&Usage>,
    space: &Space,
) -> (Value, Option<u64>) {
    let id = stats.attributes.as_ref().map_or("", |attributes| attributes.id.as_str());
    let folder = look::container_folder(&look.node, identity, id);
    let kernels = folder.and_then(|folder| Some((look::figures(&look.node, &folder)?, folder)));
    let mut row = match &kernels {
        Some((figures, folder)) => look.of_cgroup(folder, figures),
        None => of_runtime(stats, &look.at),
    };
    row["name"] = name.as_str().into();
    row["startTime"] = time(*created_at_ns).into();
    if look.is_short {
        if let Some(row) = row.as_object_mut() {
            row.remove("io");
        }
        return (row, None);
    }
    row["rootfs"] = rootfs(stats, &look.at);
    let own = usage.and_then(|usage| usage.containers.get(name));
    row["logs"] = own.map(|own| disk(space, (Some(own.log_bytes), Some(own.log_inodes)), &look.at)).into();
    (row, kernels.and_then(|(figures, _)| u64::try_from(figures.processes?.len()).ok()))
}

/// With the runtime's own rate and times.
fn of_runtime(stats: &ContainerStats, at: &str) -> Value {
    let rate = stats.cpu.as_ref().and_then(|cpu| number(&cpu.usage_nano_cores));
    let told_at = stats.cpu.as_ref().and_then(|cpu| time(cpu.timestamp));
    of_figures(&look::of_runtime(stats), rate, told_at.as_deref().unwrap_or(at))
}

/// The container's own layer, on the disk that holds it where that is known.
fn rootfs(stats: &ContainerStats, at: &str) -> Value {
    let Some(layer) = &stats.writable_layer else { return Value::Null };
    let signed = |value| number(value).and_then(|value| i64::try_from(value).ok());
    let used = (signed(&layer.used_bytes), signed(&layer.inodes_used));
    let at = time(layer.timestamp).unwrap_or_else(|| at.to_owned());
    match layer.fs_id.as_ref().filter(|id| !id.mountpoint.is_empty()) {
        Some(id) => disk(&Space::of(id.mountpoint.as_ref()), used, &at),
        None => json!({"time": at, "usedBytes": used.0, "inodesUsed": used.1}),
    }
}
