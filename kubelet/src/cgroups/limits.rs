//! Limits as the files of a cgroup. Pure, but for [`write`].

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::Pod;

use super::Error;
use crate::{
    pod::configs::resources::{PodTotal, cpu_quota_us, cpu_shares},
    status::qos,
};

/// File → text.
type Files = Vec<(String, String)>;

/// What a cgroup is held to; None writes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// On the v1 scale.
    pub cpu_shares: Option<i64>,
    /// Of each period; -1 for none.
    pub cpu_quota_us: Option<i64>,
    pub cpu_period_us: Option<i64>,
    /// -1 for none.
    pub memory_bytes: Option<i64>,
    pub pids_max: Option<i64>,
    /// Bytes by the kernel's name of a size of huge pages; what is not named is left as it is.
    pub huge_pages: Vec<(String, i64)>,
    /// A list as the kernel writes it (`0-3,8`); on v1 the parent's are inherited.
    pub cpus: Option<String>,
}

impl Limits {
    /// The pod's own cgroup: shares always, quota and memory where every container has a limit. Without `cpu_period_us`
    /// no quota is enforced.
    pub fn of_pod(pod: &Pod, cpu_period_us: Option<i64>, pids_max: Option<i64>) -> Self {
        if qos::of_pod(pod) == qos::BEST_EFFORT {
            return Self { cpu_shares: Some(2), pids_max, ..Self::default() };
        }
        let total = PodTotal::of(pod);
        Self {
            cpu_shares: Some(cpu_shares(total.cpu_request_milli.unwrap_or(total.cpu_limit_milli))),
            cpu_quota_us: cpu_period_us
                .filter(|_| total.cpu_limit_milli > 0)
                .map(|period_us| cpu_quota_us(total.cpu_limit_milli, period_us)),
            cpu_period_us,
            memory_bytes: (total.memory_limit_bytes > 0).then_some(total.memory_limit_bytes),
            pids_max,
            ..Self::default()
        }
    }

    /// These where they are more than `now`; None where nothing has to change. -1 is more than anything.
    pub(super) fn wider_than(&self, now: &Self) -> Self {
        let wider = |wanted: Option<i64>, now: Option<i64>| match (wanted, now) {
            (Some(wanted), Some(now)) if now >= 0 && (wanted < 0 || wanted > now) => Some(wanted),
            _ => None,
        };
        Self {
            cpu_quota_us: wider(self.cpu_quota_us, now.cpu_quota_us),
            cpu_period_us: self.cpu_period_us,
            memory_bytes: wider(self.memory_bytes, now.memory_bytes),
            ..Self::default()
        }
    }

    /// Of one v1 controller, or of the unified hierarchy.
    pub(super) fn files(&self, controller: Option<&str>) -> Files {
        controller.map_or_else(|| self.v2(), |controller| self.v1(controller))
    }

    fn v1(&self, controller: &str) -> Files {
        let rows = match controller {
            "cpu" => vec![
                ("cpu.shares", self.cpu_shares),
                ("cpu.cfs_period_us", self.cpu_quota_us.and(self.cpu_period_us)),
                ("cpu.cfs_quota_us", self.cpu_quota_us),
            ],
            "memory" => vec![("memory.limit_in_bytes", self.memory_bytes)],
            "pids" => vec![("pids.max", self.pids_max)],
            "hugetlb" => return self.huge_page_files("limit_in_bytes").collect(),
            _ => vec![],
        };
        rows.into_iter().filter_map(|(file, value)| Some((file.to_owned(), value?.to_string()))).collect()
    }

    fn v2(&self) -> Files {
        let or_max = |value: i64| if value < 0 { "max".to_owned() } else { value.to_string() };
        let rows = [
            ("cpu.weight", self.cpu_shares.map(|shares| cpu_weight(shares).to_string())),
            (
                "cpu.max",
                self.cpu_quota_us.zip(self.cpu_period_us).map(|(quota, period)| format!("{} {period}", or_max(quota))),
            ),
            ("memory.max", self.memory_bytes.map(or_max)),
            ("pids.max", self.pids_max.map(or_max)),
            ("cpuset.cpus", self.cpus.clone()),
        ];
        let rows = rows.into_iter().filter_map(|(file, text)| Some((file.to_owned(), text?)));
        rows.chain(self.huge_page_files("max")).collect()
    }

    /// Pages that are used, and pages that are promised: older kernels count the first alone.
    fn huge_page_files(&self, file: &str) -> impl Iterator<Item = (String, String)> {
        self.huge_pages.iter().flat_map(move |(size, bytes)| {
            [format!("hugetlb.{size}.{file}"), format!("hugetlb.{size}.rsvd.{file}")].map(|it| (it, bytes.to_string()))
        })
    }
}

/// The v2 weight of v1 shares: [2, 262144] onto [1, 10000], linear.
pub fn cpu_weight(shares: i64) -> i64 {
    1 + ((shares - 2) * 9999) / 262_142
}

/// The CPU quota and memory limit that a cgroup has in its folders, of either version.
pub(super) fn read(folders: &[PathBuf]) -> Limits {
    let first = |file: &str| {
        let text = folders.iter().find_map(|folder| fs::read_to_string(folder.join(file)).ok())?;
        let word = text.split_whitespace().next()?.to_owned();
        if word == "max" { Some(-1) } else { word.parse().ok() }
    };
    Limits {
        cpu_quota_us: first("cpu.cfs_quota_us").or_else(|| first("cpu.max")),
        memory_bytes: first("memory.limit_in_bytes").or_else(|| first("memory.max")),
        ..Limits::default()
    }
}

/// Whether the files say so already.
pub(super) fn are_held(folder: &Path, files: &[(String, String)]) -> bool {
    files.iter().all(|(file, text)| fs::read_to_string(folder.join(file)).is_ok_and(|found| found.trim() == text))
}

/// Writes the files. One that the kernel does not have (a controller that is off) is passed over.
pub(super) fn write(folder: &Path, files: &[(String, String)]) -> Result<(), Error> {
    for (file, text) in files {
        let path = folder.join(file);
        match fs::write(&path, text) {
            Err(source) if !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                return Err(Error::File { operation: "write", path, source });
            }
            Err(_) if !path.exists() => {
                tracing::debug!(file, folder = %folder.display(), "this cgroup has no such limit");
            }
            Err(source) => return Err(Error::File { operation: "write", path, source }),
            Ok(()) => {}
        }
    }
    Ok(())
}
