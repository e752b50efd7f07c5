//! What one cgroup uses and may use, read from the kernel's files of either version. Names and sums are those of
//! cAdvisor (`container/libcontainer/handler.go`, `container/common/helpers.go`), whose words dashboards are written in.
//!
//! Enter at [`Hierarchy::figures`]. What a kernel does not tell is None; nothing here knows pods.

use std::{
    array,
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use super::{Hierarchy, swap::v1_swap};

/// Nanoseconds in a tick of `cpuacct.stat`, 100 a second.
const TICK_NS: u64 = 10_000_000;
/// From here on a limit is none: the kernel rounds what stands for "unlimited" to pages.
const LIMIT_MAX: u64 = 1 << 62;

/// The second since 1970 at which the machine started; zero where the kernel does not tell.
static BOOT: LazyLock<i64> =
    LazyLock::new(|| fs::read_to_string("/proc/stat").ok().and_then(|stat| boot_second(&stat)).unwrap_or(0));

/// By `/proc/stat`.
pub fn boot_second(stat: &str) -> Option<i64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Whether a number is a limit at all.
pub fn is_limit(limit: u64) -> bool {
    limit <= LIMIT_MAX
}

/// One cgroup, with all below it. Times are nanoseconds, sizes bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Seconds since 1970 at which the cgroup was made.
    pub made_at_seconds: Option<i64>,
    pub cpu: Option<Cpu>,
    pub memory: Option<Memory>,
    pub disks: Vec<Disk>,
    /// By ID; in this cgroup itself, none below it.
    pub processes: Option<Vec<u32>>,
    pub threads: Option<u64>,
    pub threads_max: Option<u64>,
    pub pressure: Option<Stalls>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cpu {
    pub usage_ns: u64,
    pub user_ns: Option<u64>,
    pub system_ns: Option<u64>,
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
    /// On the v1 scale.
    pub shares: Option<u64>,
    pub period_us: Option<u64>,
    /// None where there is no limit.
    pub quota_us: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    pub usage: Option<u64>,
    pub usage_max: Option<u64>,
    pub working_set: u64,
    pub cache: Option<u64>,
    pub rss: Option<u64>,
    pub swap: Option<u64>,
    pub mapped_file: Option<u64>,
    pub kernel: Option<u64>,
    pub active_file: Option<u64>,
    pub inactive_file: Option<u64>,
    /// How often the limit was hit; only v1 counts, and v2 tells 0, as cAdvisor has it.
    pub failcnt: Option<u64>,
    pub page_faults: Option<u64>,
    pub major_page_faults: Option<u64>,
    pub oom_kills: Option<u64>,
    /// Beyond what [`is_limit`] takes where there is none, as for the two below.
    pub limit: Option<u64>,
    pub swap_limit: Option<u64>,
    pub reservation: Option<u64>,
}

/// What went from and to one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// `major:minor`; [`DeviceNames`] has the names.
    pub numbers: String,
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}

/// How long processes waited for something, as `*.pressure` tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stall {
    /// Averages of 10, 60 and 300 seconds, in percent.
    pub averages: [f64; 3],
    pub total_us: u64,
}

/// Some waited, and all did.
pub type SomeFull = (Stall, Stall);

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stalls {
    pub cpu: SomeFull,
    pub memory: SomeFull,
    pub io: SomeFull,
}

impl Hierarchy {
    /// None where there is no such cgroup. `name` is relative to the roots, empty for the topmost.
    pub fn figures(&self, name: &Path) -> Option<Figures> {
        match self {
            Self::V1 { controllers, .. } => {
                let folder = |controller: &str| Some(controllers.get(controller)?.join(name)).filter(|it| it.is_dir());
                let [cpu, cpuacct, memory] = ["cpu", "cpuacct", "memory"].map(folder);
                let any = cpu.clone().or_else(|| memory.clone())?;
                let pids = folder("pids");
                let folders = controllers.values().map(|root| root.join(name));
                Some(Figures {
                    made_at_seconds: made_at(folders, "cgroup.clone_children", *BOOT),
                    cpu: cpu.map(|cpu| v1_cpu(&cpu, cpuacct.as_deref().unwrap_or(&cpu))),
                    memory: memory.and_then(|memory| v1_memory(&memory)),
                    disks: folder("blkio").map(|folder| v1_disks(&folder)).unwrap_or_default(),
                    processes: processes(&any),
                    threads: pids.as_ref().and_then(|folder| number(folder, "pids.current")),
                    threads_max: pids.as_ref().and_then(|folder| limit(folder, "pids.max")),
                    pressure: None,
                })
            }
            Self::V2(root) => {
                let folder = root.join(name);
                folder.is_dir().then(|| Figures {
                    made_at_seconds: made_at([folder.clone()], "cgroup.events", *BOOT),
                    cpu: v2_cpu(&folder),
                    memory: v2_memory(&folder),
                    disks: v2_disks(&folder),
                    processes: processes(&folder),
                    threads: number(&folder, "pids.current"),
                    threads_max: limit(&folder, "pids.max"),
                    pressure: stalls(&folder),
                })
            }
        }
    }
}

fn v1_cpu(cpu: &Path, cpuacct: &Path) -> Cpu {
    let [periods, throttled_periods, throttled_ns] =
        rows(cpu, "cpu.stat", ["nr_periods", "nr_throttled", "throttled_time"]).map(Option::unwrap_or_default);
    let [user_ns, system_ns] =
        rows(cpuacct, "cpuacct.stat", ["user", "system"]).map(|ticks| Some(ticks?.saturating_mul(TICK_NS)));
    Cpu {
        usage_ns: number(cpuacct, "cpuacct.usage").unwrap_or(0),
        user_ns,
        system_ns,
        periods,
        throttled_periods,
        throttled_ns,
        shares: number(cpu, "cpu.shares"),
        period_us: number(cpu, "cpu.cfs_period_us"),
        // -1, which is no number of this kind, stands for none.
        quota_us: number(cpu, "cpu.cfs_quota_us"),
    }
}

fn v2_cpu(folder: &Path) -> Option<Cpu> {
    let names = ["usage_usec", "user_usec", "system_usec", "nr_periods", "nr_throttled", "throttled_usec"];
    let [usage, user, system, periods, throttled_periods, throttled] = rows(folder, "cpu.stat", names);
    let ns = |us: u64| us.saturating_mul(1000);
    let max = text(folder, "cpu.max").unwrap_or_default();
    let (quota, period) = max.split_once(' ').unwrap_or_default();
    Some(Cpu {
        usage_ns: ns(usage?),
        user_ns: user.map(ns),
        system_ns: system.map(ns),
        periods: periods.unwrap_or(0),
        throttled_periods: throttled_periods.unwrap_or(0),
        throttled_ns: ns(throttled.unwrap_or(0)),
        shares: number(folder, "cpu.weight").map(|weight| 2 + (weight.max(1) - 1) * 262_142 / 9999),
        period_us: period.parse().ok(),
        quota_us: quota.parse().ok(),
    })
}

fn v1_memory(folder: &Path) -> Option<Memory> {
    let stat = text(folder, "memory.stat").unwrap_or_default();
    // Without `memory.use_hierarchy` there are sums of this cgroup alone.
    let own = rows_of(&stat, ["cache", "rss", "mapped_file", "active_file", "inactive_file"]);
    let names = ["total_cache", "total_rss", "total_mapped_file", "total_active_file", "total_inactive_file"];
    let whole = rows_of(&stat, names);
    let [cache, rss, mapped_file, active_file, inactive_file] = array::from_fn(|at| whole[at].or(own[at]));
    let [page_faults, major_page_faults] = rows_of(&stat, ["pgfault", "pgmajfault"]);
    let [oom_kills] = rows(folder, "memory.oom_control", ["oom_kill"]);
    let usage = number(folder, "memory.usage_in_bytes")?;
    Some(Memory {
        usage: Some(usage),
        usage_max: number(folder, "memory.max_usage_in_bytes"),
        working_set: usage.saturating_sub(inactive_file.unwrap_or(0)),
        cache,
        rss,
        swap: Some(v1_swap(&stat)),
        mapped_file,
        kernel: number(folder, "memory.kmem.usage_in_bytes"),
        active_file,
        inactive_file,
        failcnt: number(folder, "memory.failcnt"),
        page_faults,
        major_page_faults,
        oom_kills,
        limit: limit(folder, "memory.limit_in_bytes"),
        swap_limit: limit(folder, "memory.memsw.limit_in_bytes"),
        reservation: limit(folder, "memory.soft_limit_in_bytes"),
    })
}

fn v2_memory(folder: &Path) -> Option<Memory> {
    let names = ["file", "anon", "file_mapped", "kernel", "active_file", "inactive_file", "pgfault", "pgmajfault"];
    let [cache, rss, mapped_file, kernel, active_file, inactive_file, page_faults, major_page_faults] =
        rows(folder, "memory.stat", names);
    let [oom_kills] = rows(folder, "memory.events", ["oom_kill"]);
    // The topmost cgroup has no `memory.current`: v1 counted these two there.
    let usage = number(folder, "memory.current").or_else(|| Some(rss?.saturating_add(cache?)))?;
    Some(Memory {
        usage: Some(usage),
        usage_max: number(folder, "memory.peak"),
        working_set: usage.saturating_sub(inactive_file.unwrap_or(0)),
        cache,
        rss,
        swap: Some(number(folder, "memory.swap.current").unwrap_or(0)),
        mapped_file,
        kernel,
        active_file,
        inactive_file,
        failcnt: Some(0),
        page_faults,
        major_page_faults,
        oom_kills,
        limit: limit(folder, "memory.max"),
        swap_limit: limit(folder, "memory.swap.max"),
        reservation: limit(folder, "memory.min"),
    })
}

/// Lines as `8:0 Read 4096`.
fn v1_disks(folder: &Path) -> Vec<Disk> {
    let mut disks = Vec::new();
    let files = [("blkio.throttle.io_service_bytes_recursive", true), ("blkio.throttle.io_serviced_recursive", false)];
    for (file, is_bytes) in files {
        let text = text(folder, file).unwrap_or_default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let &[device, operation, value] = words.as_slice() else { continue };
            let Ok(value) = value.parse() else { continue };
            let disk = disk_of(&mut disks, device);
            match (operation, is_bytes) {
                ("Read", true) => disk.read_bytes = value,
                ("Write", true) => disk.written_bytes = value,
                ("Read", false) => disk.reads = value,
                ("Write", false) => disk.writes = value,
                _ => {}
            }
        }
    }
    disks
}

/// Lines as `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn v2_disks(folder: &Path) -> Vec<Disk> {
    let mut disks = Vec::new();
    for line in text(folder, "io.stat").unwrap_or_default().lines() {
        let Some((device, rest)) = line.split_once(' ') else { continue };
        let disk: &mut Disk = disk_of(&mut disks, device);
        for (name, value) in rest.split_whitespace().filter_map(|pair| pair.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            match name {
                "rbytes" => disk.read_bytes = value,
                "wbytes" => disk.written_bytes = value,
                "rios" => disk.reads = value,
                "wios" => disk.writes = value,
                _ => {}
            }
        }
    }
    disks
}

fn disk_of<'a>(disks: &'a mut Vec<Disk>, numbers: &str) -> &'a mut Disk {
    let at = disks.iter().position(|disk| disk.numbers == numbers).unwrap_or_else(|| {
        disks.push(Disk { numbers: numbers.to_owned(), ..Disk::default() });
        disks.len() - 1
    });
    &mut disks[at]
}

/// The names of devices, each asked for once.
#[derive(Default)]
pub struct DeviceNames(HashMap<String, String>);

impl DeviceNames {
    /// `8:0` is `/dev/sda`; what the kernel has no device of keeps its numbers.
    pub fn add(&mut self, numbers: &str) {
        if !self.0.contains_key(numbers) {
            let link = fs::read_link(Path::new("/sys/dev/block").join(numbers));
            let name = link.ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
            let name = name.map_or_else(|| numbers.to_owned(), |name| format!("/dev/{name}"));
            self.0.insert(numbers.to_owned(), name);
        }
    }

    pub fn all(self) -> HashMap<String, String> {
        self.0
    }
}

/// None where the kernel does not measure it.
fn stalls(folder: &Path) -> Option<Stalls> {
    let read = |file: &str| text(folder, file).map(|text| some_full(&text));
    Some(Stalls { cpu: read("cpu.pressure")?, memory: read("memory.pressure")?, io: read("io.pressure")? })
}

fn some_full(text: &str) -> SomeFull {
    let row = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind)).unwrap_or_default();
        let value = |name: &str| line.split_whitespace().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let average = |name: &str| value(name).and_then(|it| it.parse().ok()).unwrap_or(0.0);
        let total_us = value("total").and_then(|it| it.parse().ok()).unwrap_or(0);
        Stall { averages: ["avg10", "avg60", "avg300"].map(average), total_us }
    };
    (row("some"), row("full"))
}

fn processes(folder: &Path) -> Option<Vec<u32>> {
    Some(text(folder, "cgroup.procs")?.lines().filter_map(|pid| pid.parse().ok()).collect())
}

fn modified(file: &Path) -> Option<i64> {
    Some(fs::metadata(file).ok()?.mtime())
}

/// When a cgroup was made, no earlier than the machine's start: the lowest time of its folders and of a `file` in each. An
/// inode of the kernel's has the time at which it was last looked up, and a folder's changes with the cgroups below it.
pub(super) fn made_at(folders: impl IntoIterator<Item = PathBuf>, file: &str, boot: i64) -> Option<i64> {
    let times = folders.into_iter().flat_map(|folder| [modified(&folder.join(file)), modified(&folder)]);
    times.flatten().min().map(|lowest| lowest.max(boot))
}

pub(super) fn text(folder: &Path, file: &str) -> Option<String> {
    let mut text = fs::read_to_string(folder.join(file)).ok()?;
    text.truncate(text.trim_end().len());
    Some(text)
}

pub(super) fn number(folder: &Path, file: &str) -> Option<u64> {
    text(folder, file)?.parse().ok()
}

/// `max` is the greatest number.
pub(super) fn limit(folder: &Path, file: &str) -> Option<u64> {
    let text = text(folder, file)?;
    if text == "max" { Some(u64::MAX) } else { text.parse().ok() }
}

fn rows<const N: usize>(folder: &Path, file: &str, names: [&str; N]) -> [Option<u64>; N] {
    rows_of(&text(folder, file).unwrap_or_default(), names)
}

/// The values of these names, of lines as `file 4096`.
pub(super) fn rows_of<const N: usize>(text: &str, names: [&str; N]) -> [Option<u64>; N] {
    let mut values = [None; N];
    for (name, value) in text.lines().filter_map(|line| line.split_once(' ')) {
        if let Some(at) = names.iter().position(|it| *it == name) {
            values[at] = value.trim().parse().ok();
        }
    }
    values
}

/// The folder of a container below its pod's, by either driver's way to name it (`<id>`, `cri-containerd-<id>.scope`).
pub(super) fn of_container(hierarchy: &Hierarchy, pod: &Path, id: &str) -> Option<PathBuf> {
    let roots = match hierarchy {
        Hierarchy::V1 { controllers, .. } => controllers.get("cpu").or_else(|| controllers.get("memory"))?,
        Hierarchy::V2(root) => root,
    };
    let entries = fs::read_dir(roots.join(pod)).ok()?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut own = names.filter(|name| name.strip_suffix(".scope").unwrap_or(name).ends_with(id));
    own.next().map(|name| pod.join(name))
}
