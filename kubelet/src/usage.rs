//! What pods use of the node: memory and processes as the runtime and the cgroups tell, disk by looking at folders.
//!
//! Enter at [`of_containers`] (cheap) and [`measure_disk`] (walks folders; only when somebody asks). Knows no limits.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use k8s_cri::v1::ContainerStats;
use k8s_openapi::api::core::v1::Pod;

use crate::{
    paths::Paths,
    pod::spec,
    runtime::labels::{CONTAINER_NAME, Identity},
};

/// One container's share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerUsage {
    pub memory_bytes: i64,
    pub rootfs_bytes: i64,
    pub rootfs_inodes: i64,
    pub log_bytes: i64,
    pub log_inodes: i64,
}

/// What lies in a folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VolumeUsage {
    pub bytes: i64,
    pub inodes: i64,
}

/// One pod's share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    pub containers: BTreeMap<String, ContainerUsage>,
    /// Volumes on the node's disk, by name.
    pub volumes: BTreeMap<String, VolumeUsage>,
    pub processes: i64,
}

impl Usage {
    pub fn memory_bytes(&self) -> i64 {
        self.containers.values().map(|it| it.memory_bytes).sum()
    }

    /// Writable layers, logs and volumes that live and die with the pod.
    pub fn disk_bytes(&self) -> i64 {
        let containers: i64 = self.containers.values().map(|it| it.rootfs_bytes + it.log_bytes).sum();
        containers + self.volumes.values().map(|it| it.bytes).sum::<i64>()
    }

    pub fn inodes(&self) -> i64 {
        let containers: i64 = self.containers.values().map(|it| it.rootfs_inodes + it.log_inodes).sum();
        containers + self.volumes.values().map(|it| it.inodes).sum::<i64>()
    }
}

/// By pod UID, from the runtime's statistics.
pub fn of_containers<'a>(stats: impl IntoIterator<Item = &'a ContainerStats>) -> HashMap<String, Usage> {
    let number = |value: &Option<k8s_cri::v1::UInt64Value>| {
        value.as_ref().map_or(0, |it| i64::try_from(it.value).unwrap_or(i64::MAX))
    };
    let mut pods: HashMap<String, Usage> = HashMap::new();
    for stats in stats {
        let Some(labels) = stats.attributes.as_ref().map(|it| &it.labels) else { continue };
        let (Some(identity), Some(name)) = (Identity::from_labels(labels), labels.get(CONTAINER_NAME)) else {
            continue;
        };
        let own = ContainerUsage {
            memory_bytes: stats.memory.as_ref().map_or(0, |it| number(&it.working_set_bytes)),
            rootfs_bytes: stats.writable_layer.as_ref().map_or(0, |it| number(&it.used_bytes)),
            rootfs_inodes: stats.writable_layer.as_ref().map_or(0, |it| number(&it.inodes_used)),
            ..ContainerUsage::default()
        };
        pods.entry(identity.uid).or_default().containers.insert(name.clone(), own);
    }
    pods
}

/// Adds what the pod's logs and its volumes on disk take. Blocking.
pub fn measure_disk(usage: &mut Usage, pod: &Pod, paths: &Paths) {
    let logs = paths.log_folder(&spec::identity(pod));
    for (_, container) in spec::containers(pod) {
        let log = folder_size(&logs.join(&container.name)).unwrap_or_default();
        let own = usage.containers.entry(container.name).or_default();
        (own.log_bytes, own.log_inodes) = (log.bytes, log.inodes);
    }
    for (name, folder) in volumes_on_disk(pod, paths) {
        usage.volumes.insert(name, folder_size(&folder).unwrap_or_default());
    }
}

/// Volumes that take the node's disk: emptyDir but in memory, and files of ConfigMaps.
fn volumes_on_disk(pod: &Pod, paths: &Paths) -> Vec<(String, PathBuf)> {
    let uid = spec::uid(pod);
    let of = |volume: &k8s_openapi::api::core::v1::Volume| {
        let plugin = match (&volume.empty_dir, &volume.config_map) {
            (Some(source), _) if source.medium.as_deref() != Some("Memory") => "kubernetes.io/empty-dir",
            (None, Some(_)) => "kubernetes.io/configmap",
            _ => return None,
        };
        Some((volume.name.clone(), paths.volume(uid, plugin, &volume.name)))
    };
    spec::spec(pod).volumes.iter().flatten().filter_map(of).collect()
}

/// Blocks in use and entries below a folder, the folder among them, on its own file system only; a file with several
/// names counts once.
pub fn folder_size(folder: &Path) -> io::Result<VolumeUsage> {
    let top = fs::symlink_metadata(folder)?;
    let mut seen = std::collections::HashSet::from([top.ino()]);
    let mut usage = VolumeUsage { bytes: blocks(&top), inodes: 1 };
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        // What vanishes while it is counted is not there.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != top.dev() || !seen.insert(meta.ino()) {
                continue;
            }
            usage.bytes += blocks(&meta);
            usage.inodes += 1;
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(usage)
}

fn blocks(meta: &fs::Metadata) -> i64 {
    i64::try_from(meta.blocks().saturating_mul(512)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_measured_in_blocks_and_hard_links_once() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("deep")).expect("a folder");
        let file = folder.path().join("deep/file");
        fs::write(&file, vec![1; 64 * 1024]).expect("a file");
        let one = folder_size(folder.path()).expect("a size");
        assert!(one.bytes >= 64 * 1024 && one.inodes == 3, "{one:?}");
        fs::hard_link(&file, folder.path().join("again")).expect("a link");
        assert_eq!(folder_size(folder.path()).expect("a size"), one);
        assert!(folder_size(Path::new("/nowhere")).is_err());
    }
}
