//! The pieces of a summary: CPU, memory, swap, pressure, disks and networks as upstream's `v1alpha1` writes them. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    cgroups::figures::{Figures, Memory, SomeFull, Stall, is_limit},
    net_usage::Interface,
    node::machine::Space,
};

/// The network that is told as a pod's, or the node's, own.
const MAIN_INTERFACE: &str = "eth0";

pub(super) fn time(ns: i64) -> Option<String> {
    let at = Timestamp::from_nanosecond(ns.into()).ok().filter(|_| ns > 0)?;
    Some(crate::status::whole_second(at).to_string())
}

/// What is not known is not there, at any depth.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            members.into_iter().filter(|(_, it)| !it.is_null()).map(|(name, it)| (name, without_nulls(it))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// The members `cpu`, `memory`, `swap` and `io`, at a time.
pub(super) fn of_figures(figures: &Figures, rate: Option<u64>, at: &str) -> Value {
    let pressure = figures.pressure.as_ref();
    let cpu = figures.cpu.as_ref().map(|cpu| {
        json!({
            "time": at,
            "usageNanoCores": rate,
            "usageCoreNanoSeconds": cpu.usage_ns,
            "psi": pressure.map(|it| psi(it.cpu)),
        })
    });
    let memory = figures.memory.as_ref().map(|memory| {
        let limit = memory.limit.filter(|limit| is_limit(*limit));
        json!({
            "time": at,
            "availableBytes": limit.map(|limit| limit.saturating_sub(memory.working_set)),
            "usageBytes": memory.usage,
            "workingSetBytes": memory.working_set,
            "rssBytes": memory.rss,
            "pageFaults": memory.page_faults,
            "majorPageFaults": memory.major_page_faults,
            "psi": pressure.map(|it| psi(it.memory)),
        })
    });
    let io = pressure.map(|it| json!({"time": at, "psi": psi(it.io)}));
    json!({"cpu": cpu, "memory": memory, "swap": figures.memory.as_ref().and_then(|it| swap(it, at)), "io": io})
}

fn swap(memory: &Memory, at: &str) -> Option<Value> {
    let used = memory.swap?;
    let limit = memory.swap_limit.filter(|limit| is_limit(*limit));
    let available = limit.map(|limit| limit.saturating_sub(used));
    Some(json!({"time": at, "swapUsageBytes": used, "swapAvailableBytes": available}))
}

fn psi((some, full): SomeFull) -> Value {
    let one = |it: Stall| {
        let [avg10, avg60, avg300] = it.averages;
        json!({"total": it.total_us, "avg10": avg10, "avg60": avg60, "avg300": avg300})
    };
    json!({"full": one(full), "some": one(some)})
}

/// A disk, with what of it is used by someone.
pub(super) fn disk(space: &Space, used: (Option<i64>, Option<i64>), at: &str) -> Value {
    json!({
        "time": at,
        "availableBytes": space.available_bytes,
        "capacityBytes": space.total_bytes,
        "usedBytes": used.0,
        "inodesFree": space.inodes_free,
        "inodes": space.inodes,
        "inodesUsed": used.1,
    })
}

/// The same, used by all together.
pub(super) fn whole_disk(space: &Space, at: &str) -> Value {
    disk(space, (Some(space.total_bytes - space.available_bytes), Some(space.inodes - space.inodes_free)), at)
}

pub(super) fn network(interfaces: &[Interface], at: &str) -> Value {
    let one = |it: &Interface| {
        json!({
            "name": it.name,
            "rxBytes": it.received.bytes,
            "rxErrors": it.received.errors,
            "txBytes": it.sent.bytes,
            "txErrors": it.sent.errors,
        })
    };
    let main = interfaces.iter().find(|it| it.name == MAIN_INTERFACE);
    let mut network = main.map_or_else(|| json!({"name": ""}), one);
    network["time"] = at.into();
    network["interfaces"] = interfaces.iter().map(one).collect();
    network
}
