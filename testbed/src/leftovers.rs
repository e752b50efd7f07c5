//! What pods leave on a machine when their end was not seen to: everything that a kubelet, its runtime and its CNI plugins
//! make for one, looked for where the kernel and the runtime keep it.

use anyhow::{Result, ensure};

use crate::Machine;

impl Machine {
    /// That no pod has left anything on this machine.
    ///
    /// # Errors
    /// Containers, tasks, snapshots, shims, folders, network namespaces, addresses, links, rules, mounts or cgroups of pods,
    /// named; or a look that failed.
    pub fn has_no_leftovers(&self) -> Result<()> {
        // A runtime that does not answer has nothing to show either.
        self.containers()?;
        self.finds_nothing(&looks(&self.data().display().to_string()))
    }

    /// That each of those looks finds something of a pod that runs, with a port of the node's: none has become blind.
    ///
    /// # Errors
    /// The first that finds nothing.
    pub fn would_find_leftovers(&self) -> Result<()> {
        for look in looks(&self.data().display().to_string()) {
            ensure!(self.finds_nothing(std::slice::from_ref(&look)).is_err(), "{}: none are found: {}", look.0, look.1);
        }
        Ok(())
    }

    /// That each of some command lines, told with what it looks for, prints nothing.
    ///
    /// # Errors
    /// The first that prints something, with that; one that cannot be run.
    pub fn finds_nothing(&self, looks: &[(&str, String)]) -> Result<()> {
        for (what, look) in looks {
            // grep and pgrep fail when they find nothing.
            let found = self.bed.run(&["sh", "-c", &format!("{look} || true")])?;
            ensure!(found.is_empty(), "{what}: {found}");
        }
        Ok(())
    }
}

fn looks(data: &str) -> [(&'static str, String); 13] {
    let ctr = format!("ctr --address {data}/containerd/containerd.sock --namespace k8s.io");
    let cri = format!("{data}/containerd/root/io.containerd.grpc.v1.cri");
    let under = |folders: &str| format!("find {folders} -mindepth 1 -maxdepth 1 2>/dev/null");
    [
        ("containers", format!("{ctr} containers list --quiet")),
        ("tasks", format!("{ctr} tasks list --quiet")),
        ("snapshots", format!("{ctr} snapshots list | grep -w Active")),
        ("shims", "pgrep --list-full containerd-shim".to_owned()),
        (
            "folders of the runtime",
            under(&format!(
                "{cri}/sandboxes {cri}/containers {data}/containerd/state/io.containerd.runtime.v2.task/k8s.io"
            )),
        ),
        ("network namespaces", format!("ls /run/netns {data}/containerd/state/*/netns 2>/dev/null | grep cni-")),
        ("addresses", format!("ls {data}/cni/networks/skiff | grep '^10\\.'")),
        ("links", "ip -br link | grep '^veth'".to_owned()),
        ("rules of ports", "iptables-save -t nat | grep '^:CNI-' | grep -v HOSTPORT".to_owned()),
        (
            "mounts",
            format!(
                "grep -e {data}/kubelet/pods/ -e {data}/containerd/state/.*/rootfs -e {data}/containerd/state/.*/shm /proc/self/mountinfo"
            ),
        ),
        ("cgroups", "find /sys/fs/cgroup -type d -name 'pod*-*'".to_owned()),
        ("folders of pods", under(&format!("{data}/kubelet/pods"))),
        ("logs", under(&format!("{data}/logs/pods"))),
    ]
}
