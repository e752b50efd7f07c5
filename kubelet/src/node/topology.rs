//! How the machine is built: cores, sockets and memory modules, counted as cAdvisor counts them
//! (`machine/machine.go`).
//!
//! Cores are counted by their number within a socket, so that of several sockets alike only one's are counted; so
//! upstream has it wherever `/proc/cpuinfo` tells them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    pub physical_cores: usize,
    pub sockets: usize,
    /// Memory modules and their bytes, by type.
    pub modules: BTreeMap<String, Modules>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Modules {
    pub count: u64,
    pub bytes: u64,
}

impl Topology {
    /// Reads below `root` (`/` but in tests).
    pub fn read(root: &Path) -> Self {
        let cpuinfo = fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
        let count = |row: &str, file: &str| match named(&cpuinfo, row) {
            0 => in_sys(&root.join("sys/bus/cpu/devices"), file),
            count => count,
        };
        Self {
            physical_cores: count("core id", "core_id"),
            sockets: count("physical id", "physical_package_id"),
            modules: modules(&root.join("sys/devices/system/edac/mc")).unwrap_or_default(),
        }
    }
}

/// How many values a row of /proc/cpuinfo has.
fn named(cpuinfo: &str, row: &str) -> usize {
    let values = cpuinfo.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim_end() == row);
    values.filter_map(|(_, value)| value.trim().parse::<u64>().ok()).collect::<BTreeSet<_>>().len()
}

/// For processors that /proc/cpuinfo tells less of (ARM): what is not told counts as 0, and a CPU that is off does not.
fn in_sys(cpus: &Path, file: &str) -> usize {
    let entries = fs::read_dir(cpus).into_iter().flatten().flatten();
    let numbered = entries.filter(|entry| {
        entry.file_name().to_str().and_then(|name| name.strip_prefix("cpu")?.parse::<u32>().ok()).is_some()
    });
    let text = |path: &Path| fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    let on = numbered.map(|entry| entry.path()).filter(|cpu| text(&cpu.join("online")).as_deref() != Some("0"));
    let value = |cpu: &Path, file: &str| text(&cpu.join("topology").join(file)).unwrap_or_else(|| "0".into());
    on.map(|cpu| (value(&cpu, file), value(&cpu, "physical_package_id"))).collect::<BTreeSet<_>>().len()
}

/// None where a module does not tell what it is: half of the memory would be told as all.
fn modules(controllers: &Path) -> Option<BTreeMap<String, Modules>> {
    let mut found: BTreeMap<String, Modules> = BTreeMap::new();
    for module in below(controllers, "mc").iter().flat_map(|controller| below(controller, "dimm")) {
        let kind = fs::read_to_string(module.join("dimm_mem_type")).ok()?.trim().to_owned();
        let mebibytes: u64 = fs::read_to_string(module.join("size")).ok()?.trim().parse().ok()?;
        let of = found.entry(kind).or_default();
        of.count += 1;
        of.bytes = of.bytes.saturating_add(mebibytes.saturating_mul(1 << 20));
    }
    Some(found)
}

/// The folders that are named so and numbered.
fn below(folder: &Path, prefix: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_one = |name: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.parse::<u32>().is_ok());
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_one)).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, text).expect("a file");
    }

    #[test]
    fn cores_and_sockets_are_counted_by_their_numbers() {
        let root = tempfile::tempdir().expect("a folder");
        let row = |cpu: u32, socket: u32, core: u32| {
            format!("processor\t: {cpu}\nphysical id\t: {socket}\ncore id\t\t: {core}\ncpu cores\t: 2\n\n")
        };
        let text: String = [row(0, 0, 0), row(1, 0, 1), row(2, 1, 0), row(3, 1, 1)].concat();
        write(root.path(), "proc/cpuinfo", &text);
        let Topology { physical_cores, sockets, modules } = Topology::read(root.path());
        assert_eq!((physical_cores, sockets, modules.len()), (2, 2, 0));
        write(root.path(), "proc/cpuinfo", "processor\t: 0\nprocessor\t: 1\n");
        assert_eq!(Topology::read(root.path()), Topology::default(), "nothing is told");
        for (cpu, core, socket) in [("cpu0", "0", "0"), ("cpu1", "0", "0"), ("cpu2", "0", "1"), ("cpu3", "1", "1")] {
            write(root.path(), &format!("sys/bus/cpu/devices/{cpu}/topology/core_id"), core);
            write(root.path(), &format!("sys/bus/cpu/devices/{cpu}/topology/physical_package_id"), socket);
        }
        write(root.path(), "sys/bus/cpu/devices/cpufreq/topology/core_id", "9");
        let Topology { physical_cores, sockets, .. } = Topology::read(root.path());
        assert_eq!((physical_cores, sockets), (3, 2));
        write(root.path(), "sys/bus/cpu/devices/cpu3/online", "0\n");
        assert_eq!(Topology::read(root.path()).physical_cores, 2);
    }

    #[test]
    fn memory_modules_are_counted_by_type() {
        let root = tempfile::tempdir().expect("a folder");
        let modules = [
            ("mc0/dimm0", "Unbuffered-DDR4", "8192"),
            ("mc1/dimm0", "Unbuffered-DDR4", "4096"),
            ("mc1/dimm1", "NVDIMM", "1"),
        ];
        for (module, kind, size) in modules {
            write(root.path(), &format!("sys/devices/system/edac/mc/{module}/dimm_mem_type"), &format!("{kind}\n"));
            write(root.path(), &format!("sys/devices/system/edac/mc/{module}/size"), &format!("{size}\n"));
        }
        write(root.path(), "sys/devices/system/edac/mc/mc0/csrow0/size", "7");
        let found = Topology::read(root.path()).modules;
        let of = |count, mebibytes: u64| Modules { count, bytes: mebibytes << 20 };
        assert_eq!(found, BTreeMap::from([("NVDIMM".into(), of(1, 1)), ("Unbuffered-DDR4".into(), of(2, 12_288))]));
        fs::remove_file(root.path().join("sys/devices/system/edac/mc/mc1/dimm1/size")).expect("removes");
        assert!(Topology::read(root.path()).modules.is_empty());
    }
}
