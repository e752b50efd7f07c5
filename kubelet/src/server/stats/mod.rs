//! `/stats/summary`: what the node, its pods and their containers use (`pkg/kubelet/server/stats/summary.go`).
//!
//! Enter at [`summary`]. [`measured`] asks the runtime, [`pods`] adds what the kernel and the disk tell, [`pieces`] writes
//! and is pure, [`rates`] remembers counters from one request to the next.

pub(super) mod measured;
mod pieces;
mod pods;
pub(super) mod rates;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use http::{Response, StatusCode};
use jiff::Timestamp;
use k8s_cri::v1::FilesystemUsage;
use serde_json::{Value, json};

use self::{
    measured::measured,
    pieces::{disk, network, of_figures, whole_disk, without_nulls},
    rates::Rates,
};
use super::{
    body::{self, Body, text},
    look::{self, number},
    query::Query,
};
use crate::{
    cgroups::{
        Hierarchy,
        figures::{Cpu, Figures, Memory, boot_second},
    },
    eviction::{image_folder, processes as processes_of},
    net_usage,
    node::machine::{Space, meminfo_kib},
    pod::node::Node,
};

/// What one answer is made from.
#[derive(Clone)]
struct Look {
    node: Arc<Node>,
    rates: Arc<Rates>,
    /// `?only_cpu_and_memory=true`: neither disks nor networks.
    is_short: bool,
    at_ns: i64,
    at: String,
}

pub(super) async fn summary(node: &Arc<Node>, rates: &Arc<Rates>, query: &Query) -> Response<Body> {
    let measured = match measured(node).await {
        Ok(pods) => pods,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.rpc()),
    };
    let now = node.clock.now();
    let look = Look {
        node: node.clone(),
        rates: rates.clone(),
        is_short: query.get("only_cpu_and_memory") == Some("true"),
        at_ns: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
        at: crate::status::whole_second(now).to_string(),
    };
    let told = if look.is_short { None } else { Some(look.images_told().await) };
    // The kernel's files and folders are read, which may block.
    let work = move || {
        let mut own = look.of_node();
        if let Some(told) = told {
            let images = look.images(told);
            own["runtime"] = json!({"imageFs": images, "containerFs": images});
        }
        let pods = pods::all(&look, &measured);
        look.rates.forget_old(look.at_ns);
        without_nulls(json!({"node": own, "pods": pods}))
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => body::json(&answer),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

impl Look {
    /// What a cgroup uses, with its rate of CPU.
    fn of_cgroup(&self, folder: &Path, figures: &Figures) -> Value {
        let name = folder.to_string_lossy();
        let rate = figures.cpu.as_ref().and_then(|cpu| self.rates.note(&name, self.at_ns, cpu.usage_ns));
        of_figures(figures, rate, &self.at)
    }

    /// The folder of the images, and what the runtime says that they take.
    async fn images_told(&self) -> (Option<PathBuf>, Option<FilesystemUsage>) {
        let runtime = self.node.runtime.as_ref();
        let told = runtime.image_filesystems().await.ok();
        (image_folder(runtime).await, told.and_then(|disks| disks.into_iter().next()))
    }

    /// The disk of the images.
    fn images(&self, (folder, told): (Option<PathBuf>, Option<FilesystemUsage>)) -> Value {
        let space = Space::of(folder.as_ref().unwrap_or(&self.node.facts.paths.root));
        let Some(told) = told else { return whole_disk(&space, &self.at) };
        let signed = |value| number(value).and_then(|value| i64::try_from(value).ok());
        disk(&space, (signed(&told.used_bytes), signed(&told.inodes_used)), &self.at)
    }

    fn of_node(&self) -> Value {
        let top = Path::new("");
        let mut figures = look::figures(&self.node, top).unwrap_or_default();
        let (usage_ns, (total, available)) = of_machine();
        figures.cpu.get_or_insert(Cpu { usage_ns, ..Cpu::default() });
        let unsigned = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
        let used = unsigned(total - available);
        let memory = figures.memory.get_or_insert(Memory { usage: Some(used), working_set: used, ..Memory::default() });
        memory.limit = Some(unsigned(total));
        let mut own = self.of_cgroup(top, &figures);
        own["nodeName"] = self.node.facts.node_name.clone().into();
        own["startTime"] = boot_time(&std::fs::read_to_string("/proc/stat").unwrap_or_default()).into();
        own["systemContainers"] = self.system_containers();
        if !self.is_short {
            own["network"] = network(&net_usage::of_node(), &self.at);
            own["fs"] = whole_disk(&Space::of(&self.node.facts.paths.root), &self.at);
            own["rlimit"] = processes(&self.at);
        }
        own
    }

    /// The kubelet's own cgroup, the runtime's, and the one above all pods.
    fn system_containers(&self) -> Value {
        let Some(cgroups) = &self.node.cgroups else { return Value::Null };
        let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let kubelet = own_cgroup(&text, cgroups.hierarchy());
        let pods = self.node.facts.cgroups.kubepods().folder();
        let runtime = self.node.facts.runtime_cgroup.clone();
        let rows = [("kubelet", kubelet), ("runtime", runtime), ("pods", Some(pods))];
        let rows = rows.into_iter().filter_map(|(name, folder)| {
            let folder = folder?;
            let figures = look::figures(&self.node, &folder)?;
            let mut row = self.of_cgroup(&folder, &figures);
            row["name"] = name.into();
            let made = figures.made_at_seconds.and_then(|at| Timestamp::from_second(at).ok());
            row["startTime"] = made.map(|at| at.to_string()).into();
            Some(row)
        });
        rows.collect()
    }
}

/// Where a process stands by its `/proc/PID/cgroup`, below the roots.
fn own_cgroup(text: &str, hierarchy: &Hierarchy) -> Option<PathBuf> {
    let controller = if hierarchy.is_v2() { "" } else { "memory" };
    let path = text.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|it| it == controller).then_some(path)
    })?;
    Some(path.trim_start_matches('/').into())
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
    Timestamp::from_second(boot_second(stat)?).ok().map(|at| at.to_string())
}
