//! Is memory, disk or the number of processes short, by the hard eviction thresholds? Tells conditions only: evicting pods
//! is not built yet.

use std::{collections::BTreeMap, fs, path::PathBuf};

use machinery::quantity::{Format, Quantity};

use super::{
    capacity::threshold,
    conditions::Health,
    machine::{Space, meminfo_kib},
};

/// Upstream's hard thresholds where none are set.
const DEFAULTS: [(&str, &str); 3] =
    [("memory.available", "100Mi"), ("nodefs.available", "10%"), ("nodefs.inodesFree", "5%")];

/// Where to look, and what counts as short.
#[derive(Debug, Clone)]
pub struct Gauge {
    /// Where /proc is read: `/` but in tests.
    pub root: PathBuf,
    /// A folder on the node's file system (`--root-dir`).
    pub node_folder: PathBuf,
    /// Signal → amount or percentage; empty for upstream's defaults.
    pub eviction_hard: BTreeMap<String, String>,
}

impl Gauge {
    /// `health` with the three pressures as they are now.
    pub fn read(&self, health: Health) -> Health {
        let text = |path: &str| fs::read_to_string(self.root.join(path)).unwrap_or_default();
        let meminfo = text("proc/meminfo");
        let memory = |name| meminfo_kib(&meminfo, name) * 1024;
        let space = Space::of(&self.node_folder);
        let pid_max = text("proc/sys/kernel/pid_max").trim().parse().unwrap_or(0);
        Health {
            memory_pressure: self.is_short("memory.available", memory("MemAvailable"), memory("MemTotal")),
            disk_pressure: self.is_short("nodefs.available", space.available_bytes, space.total_bytes)
                || self.is_short("nodefs.inodesFree", space.inodes_free, space.inodes),
            pid_pressure: self.is_short("pid.available", pid_max - processes(&text("proc/loadavg")), pid_max),
            ..health
        }
    }

    fn is_short(&self, signal: &str, available: i64, total: i64) -> bool {
        let default = || DEFAULTS.iter().find(|(name, _)| *name == signal).map(|(_, text)| *text);
        let given = self.eviction_hard.get(signal).map(String::as_str);
        let text = given.or_else(|| if self.eviction_hard.is_empty() { default() } else { None });
        let total_amount = Quantity::new(total, Format::BinarySi);
        total > 0 && text.is_some_and(|text| available < threshold(text, &total_amount).value())
    }
}

/// The fourth field of /proc/loadavg: running/all tasks.
fn processes(loadavg: &str) -> i64 {
    let field = loadavg.split_whitespace().nth(3).and_then(|field| field.split_once('/'));
    field.and_then(|(_, all)| all.parse().ok()).unwrap_or(0)
}
