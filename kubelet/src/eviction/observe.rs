//! The signals as the machine has them now: /proc, the node's disk, and the disk that the runtime keeps images on.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{
    signal::Signal,
    state::{Observation, Observations},
};
use crate::{
    cgroups::{Cgroups, figures::is_limit},
    node::machine::{Space, meminfo_kib},
    runtime::Runtime,
};

/// Where to look.
pub(super) struct Observer {
    root: PathBuf,
    node_folder: PathBuf,
    /// The folder of the runtime's images, once the runtime has told it.
    image_folder: Option<PathBuf>,
    cgroups: Option<Cgroups>,
}

impl Observer {
    /// `root` is where /proc is read, `node_folder` a folder on the node's disk.
    pub(super) fn new(root: PathBuf, node_folder: PathBuf, cgroups: Option<Cgroups>) -> Self {
        Self { root, node_folder, image_folder: None, cgroups }
    }

    /// Images have another disk than the pods' files.
    pub(super) fn has_own_image_disk(&self) -> bool {
        let device = |path: &Path| fs::metadata(path).ok().map(|meta| meta.dev());
        self.image_folder.as_ref().is_some_and(|folder| device(folder) != device(&self.node_folder))
    }

    pub(super) async fn look(&mut self, runtime: &dyn Runtime) -> Observations {
        if self.image_folder.is_none() {
            self.image_folder = image_folder(runtime).await;
        }
        let text = |path: &str| fs::read_to_string(self.root.join(path)).unwrap_or_default();
        let number = |path: &str| text(path).trim().parse::<i64>().unwrap_or(0);
        let meminfo = text("proc/meminfo");
        let bytes = |name| meminfo_kib(&meminfo, name) * 1024;
        let node = Space::of(&self.node_folder);
        let images = self.image_folder.as_deref().map_or(node, Space::of);
        let pids = number("proc/sys/kernel/pid_max").min(number("proc/sys/kernel/threads-max"));
        [
            (Signal::MemoryAvailable, bytes("MemAvailable"), bytes("MemTotal")),
            (Signal::NodefsAvailable, node.available_bytes, node.total_bytes),
            (Signal::NodefsInodesFree, node.inodes_free, node.inodes),
            (Signal::ImagefsAvailable, images.available_bytes, images.total_bytes),
            (Signal::ImagefsInodesFree, images.inodes_free, images.inodes),
            (Signal::PidAvailable, pids - processes(&text("proc/loadavg")), pids),
        ]
        .into_iter()
        .chain(self.share_of_pods())
        .map(|(signal, available, capacity)| (signal, Observation { available, capacity }))
        .collect()
    }

    /// Nothing where pods have no share of their own.
    fn share_of_pods(&self) -> Option<(Signal, i64, i64)> {
        let cgroups = self.cgroups.as_ref()?;
        let folder = cgroups.naming().kubepods().folder();
        let memory = cgroups.hierarchy().figures(&folder)?.memory?;
        let limit = i64::try_from(memory.limit.filter(|limit| is_limit(*limit))?).ok()?;
        let used = i64::try_from(memory.working_set).ok()?;
        Some((Signal::AllocatableMemoryAvailable, limit.saturating_sub(used), limit))
    }
}

/// The folder that the runtime keeps images in.
pub(crate) async fn image_folder(runtime: &dyn Runtime) -> Option<PathBuf> {
    let told = runtime.image_filesystems().await.ok()?;
    let folder = told.into_iter().find_map(|it| it.fs_id.map(|id| id.mountpoint)).filter(|it| !it.is_empty())?;
    Some(folder.into())
}

/// The fourth field of /proc/loadavg: running/all tasks.
pub(crate) fn processes(loadavg: &str) -> i64 {
    let field = loadavg.split_whitespace().nth(3).and_then(|field| field.split_once('/'));
    field.and_then(|(_, all)| all.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cgroups::{
            Hierarchy,
            naming::{Driver, Naming},
        },
        runtime::fake::FakeRuntime,
    };

    #[tokio::test]
    async fn the_machine_is_read() {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in [
            ("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 400 kB\n"),
            ("proc/loadavg", "0.1 0.2 0.3 1/250 4000\n"),
            ("proc/sys/kernel/pid_max", "4000\n"),
            ("proc/sys/kernel/threads-max", "1000\n"),
            ("cgroup/cgroup.controllers", "memory\n"),
            ("cgroup/kubepods/memory.current", "700\n"),
            ("cgroup/kubepods/memory.stat", "inactive_file 100\n"),
            ("cgroup/kubepods/memory.max", "1000\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs::write(path, text).expect("a file");
        }
        let naming = Naming::new(Driver::Cgroupfs, "");
        let cgroups = Cgroups::new(Hierarchy::detect(&root.path().join("cgroup")), naming, None);
        let mut observer = Observer::new(root.path().into(), root.path().into(), Some(cgroups));
        let seen = observer.look(&FakeRuntime::default()).await;
        let of = |signal| seen[&signal];
        assert_eq!(of(Signal::MemoryAvailable), Observation { available: 400 * 1024, capacity: 1000 * 1024 });
        assert_eq!(of(Signal::PidAvailable), Observation { available: 750, capacity: 1000 });
        assert_eq!(of(Signal::ImagefsAvailable).capacity, of(Signal::NodefsAvailable).capacity);
        assert!(!observer.has_own_image_disk());
        assert_eq!(of(Signal::AllocatableMemoryAvailable), Observation { available: 400, capacity: 1000 });
        fs::write(root.path().join("cgroup/kubepods/memory.max"), "max\n").expect("a file");
        let seen = observer.look(&FakeRuntime::default()).await;
        assert!(!seen.contains_key(&Signal::AllocatableMemoryAvailable), "without a limit there is no share");
    }
}
