//! The cgroup tree above the containers: `kubepods`, the QoS classes, one folder a pod.
//!
//! Enter at [`Cgroups`]. The roots are arguments: the folder of each v1 controller, or the one unified v2 root. With the
//! systemd driver [`systemd`] makes them, and what systemd does not carry is written here. The runtime makes the
//! containers' own cgroups below. Nothing here knows CRI.

pub mod figures;
#[cfg(test)]
mod figures_tests;
mod folders;
pub mod huge_pages;
mod limits;
pub mod naming;
pub mod swap;
pub mod systemd;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
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
use systemd::{Systemd, properties};

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
pub enum Error {
    #[error("{operation} cgroup {path}: {source}")]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Systemd(#[from] systemd::Error),
}

/// The kubelet's part of the cgroup tree.
#[derive(Debug, Clone)]
pub struct Cgroups {
    hierarchy: Hierarchy,
    naming: Naming,
    /// The period of CPU limits; None where they are not enforced.
    cpu_period_us: Option<i64>,
    huge_pages: Sizes,
    /// With the systemd driver.
    systemd: Option<Arc<Systemd>>,
}

impl Cgroups {
    pub fn new(hierarchy: Hierarchy, naming: Naming, cpu_period_us: Option<i64>) -> Self {
        Self { hierarchy, naming, cpu_period_us, huge_pages: Sizes::default(), systemd: None }
    }

    /// Has pods limited to the huge pages that they ask for, of the sizes (in KiB) that the machine has, where the kernel
    /// counts them by cgroup.
    pub fn with_huge_pages(mut self, sizes_kib: impl IntoIterator<Item = i64>) -> Self {
        if self.hierarchy.limits_huge_pages() {
            self.huge_pages = Sizes(sizes_kib.into_iter().collect());
        }
        self
    }

    /// Has systemd make the cgroups, which are slices then.
    pub fn with_systemd(mut self, systemd: Arc<Systemd>) -> Self {
        self.systemd = Some(systemd);
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

    /// Makes `kubepods` and the folders of the QoS classes. Huge pages are limited for each pod, not for all of them.
    ///
    /// # Errors
    /// The first folder or file that could not be written.
    pub async fn ensure_top(&self, allocatable: &Limits) -> Result<(), Error> {
        let huge_pages = self.huge_pages.unbounded();
        let all = Limits { huge_pages: huge_pages.clone(), ..allocatable.clone() };
        self.ensure(&self.naming.kubepods(), &all).await?;
        let least = Limits { cpu_shares: Some(2), huge_pages, ..Limits::default() };
        self.ensure(&self.naming.class(qos::BEST_EFFORT), &least).await?;
        self.ensure(&self.naming.class(qos::BURSTABLE), &least).await
    }

    /// Holds a cgroup that others have made to `limits`: what is reserved for the system, or for Kubernetes. `name` is a
    /// path as cgroupfs writes it, or the name of a systemd slice.
    ///
    /// # Errors
    /// That there is no such cgroup, or the file that could not be written.
    pub async fn hold(&self, name: &str, limits: &Limits) -> Result<(), Error> {
        let name = self.naming.existing(name);
        if let Some((_, path)) = self.limited(&name).into_iter().find(|(_, folder)| !folder.is_dir()) {
            let source = io::Error::new(io::ErrorKind::NotFound, "there is no such cgroup");
            return Err(Error::File { operation: "limit", path, source });
        }
        self.set(&name, limits).await
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
    pub async fn weigh_burstable(&self, pods: &[std::sync::Arc<Pod>]) -> Result<(), Error> {
        let burstable = pods.iter().filter(|pod| qos::of_pod(pod) == qos::BURSTABLE);
        let milli: i64 = burstable.map(|pod| PodTotal::of(pod).cpu_request_milli.unwrap_or(0)).sum();
        let shares = crate::pod::configs::resources::cpu_shares(milli);
        let limits = Limits { cpu_shares: Some(shares), ..Limits::default() };
        let name = self.naming.class(qos::BURSTABLE);
        // Asked at every look: systemd is not bothered for what is so already.
        let mut files = self.limited(&name).into_iter().map(|(controller, folder)| (folder, limits.files(controller)));
        if files.all(|(folder, files)| limits::are_held(&folder, &files)) {
            return Ok(());
        }
        self.ensure(&name, &limits).await
    }

    /// Makes the pod's cgroup with its limits.
    ///
    /// # Errors
    /// The first folder or file that could not be written.
    pub async fn ensure_pod(&self, pod: &Pod, pids_max: Option<i64>) -> Result<(), Error> {
        let mut limits = Limits::of_pod(pod, self.cpu_period_us, pids_max);
        limits.huge_pages = self.huge_pages.of_pod(pod);
        self.ensure(&self.naming.pod(qos::of_pod(pod), spec::uid(pod)), &limits).await
    }

    /// Before a resize: raises the limits of the pod's cgroup to those of the pod where they are higher, lowers none.
    ///
    /// # Errors
    /// The first folder or file that could not be written.
    pub async fn widen_pod(&self, pod: &Pod) -> Result<(), Error> {
        let name = self.naming.pod(qos::of_pod(pod), spec::uid(pod));
        let folders: Vec<PathBuf> = self.limited(&name).into_iter().map(|(_, folder)| folder).collect();
        if !folders.iter().any(|folder| folder.is_dir()) {
            return Ok(());
        }
        let now = limits::read(&folders);
        self.set(&name, &Limits::of_pod(pod, self.cpu_period_us, None).wider_than(&now)).await
    }

    /// One of the pod's processes.
    pub fn any_process(&self, pod: &Pod) -> Option<u32> {
        let name = self.naming.pod(qos::of_pod(pod), spec::uid(pod));
        folders::first_process(self.folders(&name).first()?)
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
    pub async fn remove_pod(&self, class: &str, uid: &str) -> Result<(), Error> {
        self.remove(&self.naming.pod(class, uid)).await
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

    async fn ensure(&self, name: &Name, limits: &Limits) -> Result<(), Error> {
        if let Some(systemd) = &self.systemd {
            let (unit, parent) = (name.unit(), name.parent_unit());
            systemd.start(&unit, &properties::of_new(&unit, &parent, self.hierarchy.is_v2())).await?;
        }
        match &self.hierarchy {
            Hierarchy::V1 { controllers, .. } => {
                for (controller, root) in controllers {
                    folders::make(&root.join(name.folder()), controller == "cpuset", root)?;
                }
            }
            Hierarchy::V2(root) => {
                let folder = root.join(name.folder());
                folders::make(&folder, false, root)?;
                folders::delegate(root, &folder);
            }
        }
        self.set(name, limits).await
    }

    /// systemd first: what it does not carry, and what it would not do, is written after it.
    async fn set(&self, name: &Name, limits: &Limits) -> Result<(), Error> {
        let limits = match &self.systemd {
            None => limits.clone(),
            Some(systemd) => {
                let limits = properties::in_whole_percent(limits);
                let is_v2 = self.hierarchy.is_v2();
                systemd.set(&name.unit(), &properties::of_limits(&limits, is_v2, systemd.version())).await?;
                limits
            }
        };
        for (controller, folder) in self.limited(name) {
            limits::write(&folder, &limits.files(controller))?;
        }
        Ok(())
    }

    async fn remove(&self, name: &Name) -> Result<(), Error> {
        let stopped = match &self.systemd {
            Some(systemd) => systemd.stop(&name.unit()).await.map_err(Error::from),
            None => Ok(()),
        };
        // Runtimes made some of them, and old versions of systemd leave what is below a slice.
        let removed: Vec<_> = self.folders(name).iter().map(|folder| folders::remove_tree(folder)).collect();
        removed.into_iter().fold(stopped, Result::and)
    }
}
