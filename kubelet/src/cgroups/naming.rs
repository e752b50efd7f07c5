//! The names of cgroups: where a QoS class and a pod stand in the tree, and how CRI is told so. Pure.
//!
//! cgroupfs: `/kubepods/burstable/pod<uid>`. systemd: `kubepods.slice/kubepods-burstable.slice/…-pod<uid>.slice`, where
//! CRI gets the last slice's name only (with the UID's dashes as underscores: a dash parts slices).

use std::path::PathBuf;

use crate::status::qos;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Driver {
    #[default]
    Cgroupfs,
    Systemd,
}

/// How this kubelet names its cgroups: the driver and the folder names of `--cgroup-root`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Naming {
    pub driver: Driver,
    pub root: Vec<String>,
}

/// One cgroup as the path of its plain names (`["kubepods", "burstable", "pod<uid>"]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    driver: Driver,
    parts: Vec<String>,
}

impl Naming {
    /// `root` is the value of `--cgroup-root`: empty or `/` for the top.
    pub fn new(driver: Driver, root: &str) -> Self {
        Self { driver, root: root.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect() }
    }

    /// The cgroup above all pods.
    pub fn kubepods(&self) -> Name {
        self.name(["kubepods".to_owned()])
    }

    /// The cgroup of a QoS class; Guaranteed pods stand right under the top.
    pub fn class(&self, class: &str) -> Name {
        match class {
            qos::GUARANTEED => self.kubepods(),
            class => self.name(["kubepods".to_owned(), class.to_lowercase()]),
        }
    }

    pub fn pod(&self, class: &str, uid: &str) -> Name {
        let mut name = self.class(class);
        name.parts.push(format!("pod{uid}"));
        name
    }

    /// A cgroup that others made, as `system.slice` or `/a/b`: of systemd's the last name says where it stands.
    pub(super) fn existing(&self, name: &str) -> Name {
        let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let parts = match self.driver {
            Driver::Cgroupfs => name.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            Driver::Systemd => last.trim_end_matches(".slice").split('-').map(|part| part.replace('_', "-")).collect(),
        };
        Name { driver: self.driver, parts }
    }

    fn name(&self, parts: impl IntoIterator<Item = String>) -> Name {
        Name { driver: self.driver, parts: self.root.iter().cloned().chain(parts).collect() }
    }
}

impl Name {
    /// The folder below a controller's root (v1) or the unified root (v2).
    pub fn folder(&self) -> PathBuf {
        match self.driver {
            Driver::Cgroupfs => self.parts.iter().collect(),
            Driver::Systemd => (1..=self.parts.len()).map(|depth| self.slice(depth)).collect(),
        }
    }

    /// `cgroup_parent` of CRI.
    pub fn cri_parent(&self) -> String {
        match self.driver {
            Driver::Cgroupfs => format!("/{}", self.parts.join("/")),
            Driver::Systemd => self.unit(),
        }
    }

    /// The last slice: a unit of systemd's.
    pub(super) fn unit(&self) -> String {
        self.slice(self.parts.len())
    }

    /// The slice that it stands in.
    pub(super) fn parent_unit(&self) -> String {
        match self.parts.len() {
            0 | 1 => "-.slice".to_owned(),
            depth => self.slice(depth - 1),
        }
    }

    fn slice(&self, depth: usize) -> String {
        let parts: Vec<String> = self.parts[..depth].iter().map(|part| part.replace('-', "_")).collect();
        format!("{}.slice", parts.join("-"))
    }
}

/// The pod UID in a folder's name, of either driver.
pub fn uid_of_folder(folder: &str) -> Option<String> {
    match folder.strip_suffix(".slice") {
        Some(slice) => Some(slice.rsplit_once("-pod")?.1.replace('_', "-")),
        None => folder.strip_prefix("pod").map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_both_drivers() {
        let plain = Naming::new(Driver::Cgroupfs, "/");
        let slices = Naming::new(Driver::Systemd, "");
        let below = Naming::new(Driver::Cgroupfs, "/test/node");
        for (name, folder, parent) in [
            (plain.pod(qos::BURSTABLE, "a-b"), "kubepods/burstable/poda-b", "/kubepods/burstable/poda-b"),
            (plain.pod(qos::GUARANTEED, "a-b"), "kubepods/poda-b", "/kubepods/poda-b"),
            (
                slices.pod(qos::BEST_EFFORT, "a-b"),
                "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-poda_b.slice",
                "kubepods-besteffort-poda_b.slice",
            ),
            (below.class(qos::BURSTABLE), "test/node/kubepods/burstable", "/test/node/kubepods/burstable"),
        ] {
            assert_eq!(name.folder(), PathBuf::from(folder));
            assert_eq!(name.cri_parent(), parent);
        }
        for (naming, given, folder) in [
            (&below, "/system.slice", "system.slice"),
            (&slices, "/system.slice", "system.slice"),
            (&slices, "/kube.slice/kube-reserved.slice", "kube.slice/kube-reserved.slice"),
        ] {
            assert_eq!(naming.existing(given).folder(), PathBuf::from(folder));
        }
        assert_eq!(uid_of_folder("kubepods-besteffort-poda_b.slice").as_deref(), Some("a-b"));
        assert_eq!(uid_of_folder("poda-b").as_deref(), Some("a-b"));
        assert_eq!(uid_of_folder("burstable"), None);
    }
}
