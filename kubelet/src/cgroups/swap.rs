//! What of a cgroup is swapped out, where that is all that is asked for. Knows no pods.

use std::path::Path;

use super::{
    Hierarchy,
    figures::{is_limit, limit, number, rows_of, text},
};

/// What of a cgroup's memory is swapped out, and how much may be; None where there is no limit, or the kernel keeps none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swap {
    pub used: u64,
    pub limit: Option<u64>,
}

impl Hierarchy {
    /// Of [`Hierarchy::figures`] only this, which is two files. None where there is no such cgroup.
    pub fn swap(&self, name: &Path) -> Option<Swap> {
        match self {
            Self::V1 { controllers, .. } => {
                let folder = controllers.get("memory")?.join(name);
                let limit = limit(&folder, "memory.memsw.limit_in_bytes").filter(|limit| is_limit(*limit));
                Some(Swap { used: v1_swap(&text(&folder, "memory.stat")?), limit })
            }
            Self::V2(root) => {
                let folder = root.join(name);
                folder.join("memory.stat").exists().then(|| Swap {
                    used: number(&folder, "memory.swap.current").unwrap_or(0),
                    limit: limit(&folder, "memory.swap.max").filter(|limit| is_limit(*limit)),
                })
            }
        }
    }
}

/// A kernel that does not count swap by cgroup tells of none, and cAdvisor of 0.
pub(super) fn v1_swap(stat: &str) -> u64 {
    let [whole, own] = rows_of(stat, ["total_swap", "swap"]);
    whole.or(own).unwrap_or(0)
}
