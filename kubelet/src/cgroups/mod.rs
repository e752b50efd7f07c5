//! The cgroup tree above the containers: `kubepods`, the QoS classes, one folder a pod.
//!
//! Enter at [`Cgroups`]. The roots are arguments: the folder of each v1 controller, or the one unified v2 root. The
//! runtime makes the containers' own cgroups below. Nothing here knows CRI.

pub mod figures;
#[cfg(test)]
mod figures_tests;
pub mod huge_pages;
mod limits;
pub mod naming;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::Pod;

use crate::{
    pod::{configs::resources::PodTotal, spec},
    status::qos,
};
pub use figures::Figures;
use huge_pages::Sizes;
pub use limits::Limits;
use naming::{Name, Naming};

/// The v1 controllers in which pods get a folder, as upstream's; those that the machine lacks are left out.
const CONTROLLERS: [&str; 9] = ["cpu", "cpuacct", "cpuset", "memory", "pids", "hugetlb", "blkio", "devices", "freezer"];

/// Where cgroups are made.
#[derive(Debug, Clone)]
pub enum Hierarchy {
    V1 {
        /// Controller → its root folder.
        controllers: BTreeMap<String, PathBuf>,
        /// The rest: nothing is limited there, but runtimes make a container's folders, the pod's included, in all.
        others: Vec<PathBuf>,
    },
    /// The unified root.
    V2(PathBuf),
}

impl Hierarchy {
    /// Looks at what is mounted: v2 only if `cgroup_mount` itself is a cgroup2 file system (it then has
    /// `cgroup.controllers`); a hybrid tree counts as v1.
    pub fn detect(cgroup_mount: &Path) -> Self {
        if cgroup_mount.join("cgroup.controllers").exists() {
            return Self::V2(cgroup_mount.to_owned());
        }
        let entries = fs::read_dir(cgroup_mount).into_iter().flatten().flatten();
        let roots = entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
        let (controllers, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            roots.filter(|(_, root)| root.is_dir()).partition(|(name, _)| CONTROLLERS.contains(&name.as_str()));
        Self::V1 { controllers, others: others.into_values().collect() }
    }

    pub fn is_v2(&self) -> bool {
        matches!(self, Self::V2(_))
    }

    fn limits_huge_pages(&self) -> bool {
        match self {
            Self::V1 { controllers, .. } => controllers.contains_key("hugetlb"),
            Self::V2(root) => {
                let available = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
                available.split_whitespace().any(|controller| controller == "hugetlb")
            }
        }
    }

    /// Whether the kernel limits swap by cgroup. `root` is where /proc is read; on v2 the file is looked for in the
    /// process's own cgroup, as the topmost has none.
    pub fn limits_swap(&self, root: &Path) -> bool {
        match self {
            Self::V1 { controllers, .. } => {
                controllers.get("memory").is_some_and(|memory| memory.join("memory.memsw.limit_in_bytes").exists())
            }
            Self::V2(unified) => {
                let own = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
                let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
                own.is_some_and(|own| unified.join(own).join("memory.swap.max").exists())
            }
        }
    }
}

/// A cgroup operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} cgroup {path}: {source}")]
pub struct Error {
    pub operation: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

/// The kubelet's part of the cgroup tree.
#[derive(Debug, Clone)]
pub struct Cgroups {
    hierarchy: Hierarchy,
    naming: Naming,
    /// The period of CPU limits; None where they are not enforced.
    cpu_period_us: Option<i64>,
    huge_pages: Sizes,
}

impl Cgroups {
    pub fn new(hierarchy: Hierarchy, naming: Naming, cpu_period_us: Option<i64>) -> Self {
        Self { hierarchy, naming, cpu_period_us, huge_pages: Sizes::default() }
    }

    /// Has pods limited to the huge pages that they ask for, of the sizes (in KiB) that the machine has, where the kernel
    /// counts them by cgroup.
    pub fn with_huge_pages(mut self, sizes_kib: impl IntoIterator<Item = i64>) -> Self {
        if self.hierarchy.limits_huge_pages() {
            self.huge_pages = Sizes(sizes_kib.into_iter().collect());
        }
        self
    }

    pub fn huge_pages(&self) -> &Sizes {
        &self.huge_pages
    }

    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// Where a container stands, if it does; `pod` is its pod's folder.
    pub fn folder_of_container(&self, pod: &Path, id: &str) -> Option<PathBuf> {
        figures::of_container(&self.hierarchy, pod, id)
    }

    /// Makes `kubepods` and the folders of the QoS classes.
    ///
    /// # Errors
    /// The first folder or file that could not be written.
    pub fn ensure_top(&self, allocatable: &Limits) -> Result<(), Error> {
        self.ensure(&self.naming.kubepods(), allocatable)?;
        let least = Limits { cpu_shares: Some(2), huge_pages: self.huge_pages.unbounded(), ..Limits::default() };
        self.ensure(&self.naming.class(qos::BEST_EFFORT), &least)?;
        self.ensure(&self.naming.class(qos::BURSTABLE), &least)
    }

    /// Holds a cgroup that others have made to `limits`: what is reserved for the system, or for Kubernetes. `name` is a
    /// path as cgroupfs writes it, or the name of a systemd slice.
    ///
    /// # Errors
    /// That there is no such cgroup, or the file that could not be written.
    pub fn hold(&self, name: &str, limits: &Limits) -> Result<(), Error> {
        let name = self.naming.existing(name);
        for (controller, folder) in self.limited(&name) {
            if !folder.is_dir() {
                let source = io::Error::new(io::ErrorKind::NotFound, "there is no such cgroup");
                return Err(Error { operation: "limit", path: folder, source });
            }
            limits::write(&folder, &controller.map_or_else(|| limits.v2(), |controller| limits.v1(controller)))?;
        }
        Ok(())
    }

    /// The folders in which a cgroup has limits, with their v1 controller.
    fn limited(&self, name: &Name) -> Vec<(Option<&str>, PathBuf)> {
        match &self.hierarchy {
            Hierarchy::V1 { controllers, .. } => controllers
                .iter()
                .filter(|(controller, _)| matches!(controller.as_str(), "cpu" | "memory" | "pids" | "hugetlb"))
                .map(|(controller, root)| (Some(controller.as_str()), root.join(name.folder())))
                .collect(),
            Hierarchy::V2(root) => vec![(None, root.join(name.folder()))],
        }
    }

    /// Burstable pods weigh against the others by the sum of their requests.
    ///
    /// # Errors
    /// The file that could not be written.
    pub fn weigh_burstable(&self, pods: &[std::sync::Arc<Pod>]) -> Result<(), Error> {
        let burstable = pods.iter().filter(|pod| qos::of_pod(pod) == qos::BURSTABLE);
        let milli: i64 = burstable.map(|pod| PodTotal::of(pod).cpu_request_milli.unwrap_or(0)).sum();
        let shares = crate::pod::configs::resources::cpu_shares(milli);
        let limits = Limits { cpu_shares: Some(shares), ..Limits::default() };
        self.ensure(&self.naming.class(qos::BURSTABLE), &limits)
    }

    /// Makes the pod's cgroup with its limits.
    ///
    /// # Errors
    /// The first folder or file that could not be written.
    pub fn ensure_pod(&self, pod: &Pod, pids_max: Option<i64>) -> Result<(), Error> {
        let mut limits = Limits::of_pod(pod, self.cpu_period_us, pids_max);
        limits.huge_pages = self.huge_pages.of_pod(pod);
        self.ensure(&self.naming.pod(qos::of_pod(pod), spec::uid(pod)), &limits)
    }

    /// Before a resize: raises the limits of the pod's cgroup to those of the pod where they are higher, lowers none.
    ///
    /// # Errors
    /// The first folder or file that could not be written.
    pub fn widen_pod(&self, pod: &Pod) -> Result<(), Error> {
        let name = self.naming.pod(qos::of_pod(pod), spec::uid(pod));
        let limits = Limits::of_pod(pod, self.cpu_period_us, None);
        for (controller, folder) in self.limited(&name).iter().filter(|(_, folder)| folder.is_dir()) {
            let wider = limits.wider_than(&limits::read(folder));
            limits::write(folder, &controller.map_or_else(|| wider.v2(), |controller| wider.v1(controller)))?;
        }
        Ok(())
    }

    /// One of the pod's processes.
    pub fn any_process(&self, pod: &Pod) -> Option<u32> {
        let name = self.naming.pod(qos::of_pod(pod), spec::uid(pod));
        first_process(self.folders(&name).first()?)
    }

    /// How many processes the pod has; zero where that is not counted.
    pub fn processes(&self, pod: &Pod) -> i64 {
        let name = self.naming.pod(qos::of_pod(pod), spec::uid(pod));
        let folder = match &self.hierarchy {
            Hierarchy::V1 { controllers, .. } => controllers.get("pids").map(|root| root.join(name.folder())),
            Hierarchy::V2(root) => Some(root.join(name.folder())),
        };
        let text = folder.and_then(|folder| fs::read_to_string(folder.join("pids.current")).ok());
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// Removes the pod's cgroup with everything below; processes that are left in it are an error.
    ///
    /// # Errors
    /// All folders that stayed, the first as the error.
    pub fn remove_pod(&self, class: &str, uid: &str) -> Result<(), Error> {
        self.remove(&self.naming.pod(class, uid))
    }

    /// UIDs of all pods that have a cgroup, with their class.
    pub fn pods(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for class in [qos::GUARANTEED, qos::BURSTABLE, qos::BEST_EFFORT] {
            for folder in self.folders(&self.naming.class(class)) {
                let entries = fs::read_dir(folder).into_iter().flatten().flatten();
                let uids = entries.filter_map(|entry| naming::uid_of_folder(&entry.file_name().to_string_lossy()));
                found.extend(uids.map(|uid| (class, uid)));
            }
        }
        found.sort();
        found.dedup();
        found
    }

    fn folders(&self, name: &Name) -> Vec<PathBuf> {
        match &self.hierarchy {
            Hierarchy::V1 { controllers, others } => {
                controllers.values().chain(others).map(|root| root.join(name.folder())).collect()
            }
            Hierarchy::V2(root) => vec![root.join(name.folder())],
        }
    }

    fn ensure(&self, name: &Name, limits: &Limits) -> Result<(), Error> {
        match &self.hierarchy {
            Hierarchy::V1 { controllers, .. } => {
                for (controller, root) in controllers {
                    let folder = root.join(name.folder());
                    make(&folder, controller == "cpuset", root)?;
                    limits::write(&folder, &limits.v1(controller))?;
                }
                Ok(())
            }
            Hierarchy::V2(root) => {
                let folder = root.join(name.folder());
                make(&folder, false, root)?;
                delegate(root, &folder);
                limits::write(&folder, &limits.v2())
            }
        }
    }

    fn remove(&self, name: &Name) -> Result<(), Error> {
        let failures: Vec<Error> = self.folders(name).iter().filter_map(|folder| remove_tree(folder).err()).collect();
        failures.into_iter().next().map_or(Ok(()), Err)
    }
}

/// Makes a folder and its parents. A new v1 cpuset takes no task until it has CPUs and memory nodes: they are copied
/// from the parent.
fn make(folder: &Path, is_cpuset: bool, root: &Path) -> Result<(), Error> {
    if !is_cpuset {
        return fs::create_dir_all(folder).map_err(|source| Error { operation: "make", path: folder.into(), source });
    }
    let Ok(relative) = folder.strip_prefix(root) else { return Ok(()) };
    let mut current = root.to_owned();
    for part in relative.components() {
        let parent = current.clone();
        current.push(part);
        fs::create_dir_all(&current).map_err(|source| Error { operation: "make", path: current.clone(), source })?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = fs::read_to_string(current.join(file)).unwrap_or_default();
            if own.trim().is_empty()
                && let Ok(inherited) = fs::read_to_string(parent.join(file))
            {
                let path = current.join(file);
                fs::write(&path, inherited.trim()).map_err(|source| Error { operation: "write", path, source })?;
            }
        }
    }
    Ok(())
}

/// v2: hands the controllers down, level by level, to the children of `folder`. A controller that cannot be handed down
/// (threaded siblings, no permission) is left: its limits are then not written either.
fn delegate(root: &Path, folder: &Path) {
    let Ok(relative) = folder.strip_prefix(root) else { return };
    let mut current = root.to_owned();
    let mut levels = vec![current.clone()];
    for part in relative.components() {
        current.push(part);
        levels.push(current.clone());
    }
    for level in levels {
        let available = fs::read_to_string(level.join("cgroup.controllers")).unwrap_or_default();
        for controller in available.split_whitespace() {
            if let Err(error) = fs::write(level.join("cgroup.subtree_control"), format!("+{controller}")) {
                tracing::debug!(%error, controller, folder = %level.display(), "a cgroup controller is not handed down");
            }
        }
    }
}

/// Of a cgroup or those below it.
fn first_process(folder: &Path) -> Option<u32> {
    let own = fs::read_to_string(folder.join("cgroup.procs")).ok()?;
    let below = || {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.find_map(|entry| first_process(&entry.path()))
    };
    // Zero stands for processes that this process namespace cannot see.
    own.lines().find_map(|line| line.parse().ok().filter(|process| *process != 0)).or_else(below)
}

/// Removes a cgroup and those below it, deepest first. Gone already is fine.
fn remove_tree(folder: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error { operation: "remove", path: folder.into(), source })
        }
        _ => Ok(()),
    }
}
