//! Looking at the machine: root, programs, kernel, cgroups, ports.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cni;
use crate::flags::DNS_PORT;
use crate::layout::Layout;
use crate::part::Part;
use crate::settings::Settings;

pub(crate) struct Facts {
    pub(crate) is_root: bool,
    pub(crate) data_dir_fits: bool,
    pub(crate) foreign_runtime: bool,
    pub(crate) programs: BTreeSet<String>,
    pub(crate) has_cni_program: bool,
    pub(crate) has_overlayfs: bool,
    pub(crate) has_bridge_netfilter: bool,
    pub(crate) cgroup_controllers: BTreeSet<String>,
    pub(crate) taken_ports: Vec<(u16, &'static str)>,
}

/// The ports that each part listens on, upstream's but for cluster DNS and the router.
const PORTS: [(u16, Part); 9] = [
    (6443, Part::KubeApiserver),
    (10257, Part::KubeControllerManager),
    (10259, Part::KubeScheduler),
    (10250, Part::Kubelet),
    (10249, Part::KubeProxy),
    (10256, Part::KubeProxy),
    (DNS_PORT, Part::SkiffDns),
    (9153, Part::SkiffDns),
    (20244, Part::SkiffRouter),
];

impl Facts {
    pub(crate) fn gather(layout: &Layout, settings: &Settings) -> Result<Self> {
        let executable = std::env::current_exe().context("find this program's own file")?;
        let programs = super::PROGRAMS.iter().map(|(program, _)| *program);
        Ok(Self {
            is_root: nix::unistd::geteuid().is_root(),
            data_dir_fits: layout.fits_sockets(),
            foreign_runtime: settings.container_runtime_endpoint.is_some(),
            programs: programs.filter(|program| find_program(program).is_some()).map(String::from).collect(),
            has_cni_program: cni::program_beside(&executable).exists(),
            has_overlayfs: has_filesystem("overlay"),
            has_bridge_netfilter: has_bridge_netfilter(),
            cgroup_controllers: cgroup_controllers(Path::new("/sys/fs/cgroup")),
            taken_ports: taken_ports(settings),
        })
    }
}

/// The file that a shell would run; `/usr/sbin` counts even where a user's PATH lacks it.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(sbin).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn has_filesystem(name: &str) -> bool {
    let known = || std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has = |text: &str| text.lines().any(|line| line.split_whitespace().last() == Some(name));
    has(&known()) || (load_module("overlay") && has(&known()))
}

fn has_bridge_netfilter() -> bool {
    let sysctl = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    sysctl.exists() || (load_module("br_netfilter") && sysctl.exists())
}

/// Whether `modprobe` says it is loaded. A kernel without modules has no modprobe to ask, and needs none.
fn load_module(name: &str) -> bool {
    let Some(modprobe) = find_program("modprobe") else { return false };
    std::process::Command::new(modprobe).arg(name).output().is_ok_and(|output| output.status.success())
}

/// cgroup v2 lists its controllers in a file; v1 has a folder for each.
fn cgroup_controllers(root: &Path) -> BTreeSet<String> {
    if let Ok(list) = std::fs::read_to_string(root.join("cgroup.controllers")) {
        return list.split_whitespace().map(String::from).collect();
    }
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.flat_map(|name| name.split(',').map(String::from).collect::<Vec<_>>()).collect()
}

fn taken_ports(settings: &Settings) -> Vec<(u16, &'static str)> {
    let ours = PORTS.iter().filter(|(_, part)| settings.runs(*part));
    let taken = ours.filter(|(port, _)| {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port));
        listener.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
    });
    taken.map(|(port, part)| (*port, part.name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controllers(files: &[(&str, &str)], folders: &[&str]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for folder in folders {
            std::fs::create_dir(root.path().join(folder)).unwrap();
        }
        for (name, content) in files {
            std::fs::write(root.path().join(name), content).unwrap();
        }
        cgroup_controllers(root.path()).into_iter().collect()
    }

    #[test]
    fn controllers_of_both_cgroup_versions() {
        assert_eq!(
            controllers(&[("cgroup.controllers", "cpuset cpu memory pids\n")], &[]),
            ["cpu", "cpuset", "memory", "pids"]
        );
        assert_eq!(controllers(&[], &["cpu,cpuacct", "memory"]), ["cpu", "cpuacct", "memory"]);
    }
}
