//! What this machine is: read once from /proc, /sys and /etc under a given root.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::topology::Topology;

/// Facts that do not change while the kubelet runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    pub cpus: i64,
    /// Which CPUs are on, as the kernel lists them (`0-3,8`).
    pub cpus_online: String,
    pub memory_bytes: i64,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel_version: String,
    pub os_image: String,
    /// Huge page sizes in KiB, with their number.
    pub hugepages: Vec<(i64, i64)>,
    pub has_swap: bool,
    pub swap_bytes: i64,
    pub topology: Topology,
}

impl Machine {
    /// Reads the machine below `root` (`/` but in tests). What cannot be read is left empty.
    pub fn read(root: &Path) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).map(|it| it.trim().to_owned()).unwrap_or_default();
        let meminfo = text("proc/meminfo");
        let machine_id = Some(text("etc/machine-id")).filter(|id| !id.is_empty());
        let machine_id = machine_id.unwrap_or_else(|| text("var/lib/dbus/machine-id"));
        let uuid = Some(text("sys/class/dmi/id/product_uuid")).filter(|id| !id.is_empty());
        Self {
            cpus: i64::try_from(text("proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count())
                .unwrap_or(1)
                .max(1),
            cpus_online: text("sys/devices/system/cpu/online"),
            memory_bytes: meminfo_kib(&meminfo, "MemTotal") * 1024,
            system_uuid: uuid.unwrap_or_else(|| machine_id.clone()),
            machine_id,
            boot_id: text("proc/sys/kernel/random/boot_id"),
            kernel_version: text("proc/sys/kernel/osrelease"),
            os_image: os_image(&text("etc/os-release")),
            hugepages: hugepages(&root.join("sys/kernel/mm/hugepages")),
            topology: Topology::read(root),
            swap_bytes: meminfo_kib(&meminfo, "SwapTotal") * 1024,
            // The first line is the heading.
            has_swap: text("proc/swaps").lines().skip(1).any(|line| !line.contains("/dev/zram")),
        }
    }
}

/// A row of /proc/meminfo, zero where there is none.
pub fn meminfo_kib(meminfo: &str, name: &str) -> i64 {
    let row = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    row.and_then(|row| row.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn os_image(os_release: &str) -> String {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.unwrap_or("Linux").trim_matches(['"', '\'']).to_owned()
}

fn hugepages(folder: &Path) -> Vec<(i64, i64)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let one = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size_kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let count = fs::read_to_string(entry.path().join("nr_hugepages")).ok()?.trim().parse().ok()?;
        Some((size_kib, count))
    };
    let mut found: Vec<_> = entries.filter_map(one).collect();
    found.sort_unstable();
    found
}

/// Space of the file system that holds `path`: all, and what is left for unprivileged users, in bytes; inodes likewise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: i64,
    pub available_bytes: i64,
    pub inodes: i64,
    pub inodes_free: i64,
}

impl Space {
    /// Looks at the nearest parent that exists.
    pub fn of(path: &Path) -> Self {
        let mut path = PathBuf::from(path);
        while !path.exists() && path.pop() {}
        let Ok(stat) = rustix::fs::statvfs(&path) else { return Self::default() };
        let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
        Self {
            total_bytes: bytes(stat.f_blocks),
            available_bytes: bytes(stat.f_bavail),
            inodes: i64::try_from(stat.f_files).unwrap_or(i64::MAX),
            inodes_free: i64::try_from(stat.f_favail).unwrap_or(i64::MAX),
        }
    }
}
