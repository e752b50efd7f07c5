//! The CRI messages for a pod: sandbox and container configuration.
//!
//! Enter at [`sandbox::config`] and [`container::config`]. [`NodeFacts`] is what a configuration may know of the node.
//! Pure: files that a container needs (its hosts file, its termination log) are made by the worker before.

pub mod container;
pub mod dns;
pub mod hosts;
pub mod resources;
pub mod sandbox;
pub mod security;
#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use machinery::quantity::Quantity;

use crate::{cgroups::naming::Naming, node::machine::Machine, paths::Paths};

/// What is the same for all pods of the node.
#[derive(Debug, Clone)]
pub struct NodeFacts {
    pub node_name: String,
    /// The first is the primary address.
    pub host_ips: Vec<String>,
    pub cluster_dns: Vec<String>,
    pub cluster_domain: String,
    /// The node's own resolver settings (`--resolv-conf`).
    pub host_dns: dns::DnsConfig,
    pub paths: Paths,
    pub cgroups: Naming,
    /// The one that the runtime's processes are in, where it is known.
    pub runtime_cgroup: Option<PathBuf>,
    pub cgroup_v2: bool,
    /// The kernel limits swap by cgroup: then containers get none.
    pub limits_swap: bool,
    /// The period of CPU limits; None where they are not enforced.
    pub cpu_period_us: Option<i64>,
    /// On cgroup v2 a process that runs out of memory does not take its container along.
    pub single_process_oom_kill: bool,
    pub memory_capacity_bytes: i64,
    pub machine: Machine,
    pub allocatable: BTreeMap<String, Quantity>,
    pub seccomp_default: bool,
    pub abilities: Abilities,
    /// The kernel enforces AppArmor profiles.
    pub has_app_armor: bool,
    /// The longest wait before a container that crashes again and again is started once more.
    pub restart_delay_max: Duration,
    /// What of /sys tells a container of the CPUs' heat, and so of what others do: it is masked.
    pub heat_paths: Vec<String>,
    /// Unsafe sysctls that pods may set all the same; a name may end in `*`.
    pub allowed_unsafe_sysctls: Vec<String>,
}

/// What the runtime can do that not every runtime can (CRI `Status`), for its default handler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    pub recursive_read_only: bool,
    /// `supplementalGroupsPolicy: Strict`.
    pub strict_supplemental_groups: bool,
}
