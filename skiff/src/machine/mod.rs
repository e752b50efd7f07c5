//! Whether this machine can run a cluster: each thing that is missing, by name, with how to get it.
//!
//! Enter at [`check`]. `facts` looks, [`judge`] decides and is pure.

mod facts;

use anyhow::{Result, bail};

use crate::layout::Layout;
use crate::settings::Settings;
pub(crate) use facts::{Facts, find_program};

/// What is missing and the words that help.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) what: String,
    pub(crate) remedy: String,
}

/// Programs that the cluster starts, with the Debian packages that have them.
pub(crate) const PROGRAMS: [(&str, &str); 8] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("iptables-save", "iptables"),
    ("iptables-restore", "iptables"),
    ("nft", "nftables"),
    ("mount", "mount"),
];

/// Kernel abilities, each a line of `/proc/filesystems` or a folder that exists once the module is there.
const CGROUP_CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// Looks at the machine and refuses to go on with one message that names everything missing.
pub(crate) fn check(layout: &Layout, settings: &Settings) -> Result<()> {
    let missing = judge(&Facts::gather(layout, settings)?);
    if missing.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = missing.iter().map(|item| format!("  {}: {}", item.what, item.remedy)).collect();
    bail!("this machine is not ready for a cluster:\n{}", lines.join("\n"))
}

pub(crate) fn judge(facts: &Facts) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut lack = |what: String, remedy: String| missing.push(Missing { what, remedy });
    if !facts.is_root {
        lack("root".into(), "containers, mounts and packet-filter rules need it: run with sudo".into());
    }
    if !facts.data_dir_fits {
        lack(
            "a short data folder".into(),
            "sockets below it would have too long paths: choose another --data-dir".into(),
        );
    }
    for (program, package) in PROGRAMS {
        let is_spared = facts.foreign_runtime && package == "containerd";
        if !is_spared && !facts.programs.contains(program) {
            lack(format!("the program {program}"), format!("apt-get install {package}"));
        }
    }
    if !facts.has_cni_program {
        lack("the program cni-bridge".into(), "it is built with skiff and must lie beside it".into());
    }
    if !facts.has_overlayfs {
        lack("overlayfs in the kernel".into(), "modprobe overlay".into());
    }
    if !facts.has_bridge_netfilter {
        lack("bridge netfilter in the kernel".into(), "modprobe br_netfilter".into());
    }
    for controller in CGROUP_CONTROLLERS {
        if !facts.cgroup_controllers.contains(controller) {
            lack(format!("the cgroup controller {controller}"), "enable it on the kernel's command line".into());
        }
    }
    for (port, user) in &facts.taken_ports {
        lack(format!("port {port} for the {user}"), "another program listens on it: stop that program first".into());
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            is_root: true,
            data_dir_fits: true,
            foreign_runtime: false,
            programs: PROGRAMS.iter().map(|(program, _)| (*program).to_owned()).collect(),
            has_cni_program: true,
            has_overlayfs: true,
            has_bridge_netfilter: true,
            cgroup_controllers: CGROUP_CONTROLLERS.map(String::from).into(),
            taken_ports: Vec::new(),
        }
    }

    fn names(facts: &Facts) -> Vec<String> {
        judge(facts).into_iter().map(|item| item.what).collect()
    }

    #[test]
    fn each_missing_thing_is_named() {
        assert_eq!(names(&good()), [""; 0]);
        let mut facts = good();
        facts.programs.remove("runc");
        facts.programs.remove("containerd");
        facts.cgroup_controllers.remove("memory");
        facts.taken_ports.push((6443, "kube-apiserver"));
        let expected = [
            "the program containerd",
            "the program runc",
            "the cgroup controller memory",
            "port 6443 for the kube-apiserver",
        ];
        assert_eq!(names(&facts), expected);
        facts.foreign_runtime = true;
        assert_eq!(names(&facts), expected[1..]);
    }
}
