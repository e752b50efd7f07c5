//! What pods may know of their node, from the options and the machine. Reads the resolver configuration and what the
//! kernel shows of itself, nothing else.

use std::path::Path;

use k8s_cri::v1::StatusResponse;

use crate::{
    Options, Seams,
    cgroups::{
        Hierarchy,
        naming::{Driver, Naming},
    },
    node::object::Identity,
    paths::Paths,
    pod::{
        backoff,
        configs::{Abilities, NodeFacts, dns},
    },
};

/// The node's resolver configuration, unless another is named.
pub(crate) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The facts for all configurations of pods.
pub(crate) fn of_node(
    options: &Options,
    seams: &Seams,
    identity: &Identity,
    hierarchy: &Hierarchy,
    abilities: Abilities,
) -> NodeFacts {
    let c = &options.configuration;
    let driver = if c.cgroup_driver == "systemd" { Driver::Systemd } else { Driver::Cgroupfs };
    let resolv_conf = c.resolv_conf.clone().unwrap_or_else(|| RESOLV_CONF.into());
    let text = std::fs::read_to_string(seams.root.join(resolv_conf.trim_start_matches('/'))).unwrap_or_default();
    let host_dns = if resolv_conf.is_empty() {
        dns::DnsConfig { servers: vec!["127.0.0.1".into()], searches: vec![".".into()], options: Vec::new() }
    } else {
        dns::parse_resolv_conf(&text)
    };
    NodeFacts {
        node_name: identity.name.clone(),
        host_ips: identity.addresses.clone(),
        cluster_dns: c.cluster_dns.clone(),
        cluster_domain: c.cluster_domain.clone(),
        host_dns,
        paths: Paths {
            root: options.root_dir.clone(),
            pod_logs: c.pod_logs_dir.clone().into(),
            container_logs: seams.root.join("var/log/containers"),
        },
        cgroups: Naming::new(driver, &c.cgroup_root),
        runtime_cgroup: options.runtime_cgroup.as_ref().map(|name| name.trim_start_matches('/').into()),
        cgroup_v2: hierarchy.is_v2(),
        limits_swap: hierarchy.limits_swap(&seams.root),
        cpu_period_us: c.cpu_cfs_quota.then(|| i64::try_from(c.cpu_cfs_quota_period.0.as_micros()).unwrap_or(i64::MAX)),
        single_process_oom_kill: c.single_process_oom_kill == Some(true),
        memory_capacity_bytes: identity.machine.memory_bytes,
        machine: identity.machine.clone(),
        allocatable: identity.allocatable.clone(),
        seccomp_default: c.seccomp_default,
        abilities,
        has_app_armor: std::fs::read_to_string(seams.root.join("sys/module/apparmor/parameters/enabled"))
            .is_ok_and(|text| text.trim() == "Y"),
        restart_delay_max: c.crash_loop_back_off.max_container_restart_period.map_or(backoff::MAXIMUM, |it| it.0),
        heat_paths: heat_paths(&seams.root),
        allowed_unsafe_sysctls: c.allowed_unsafe_sysctls.clone(),
    }
}

/// One of each CPU that tells of its throttling.
fn heat_paths(root: &Path) -> Vec<String> {
    const CPUS: &str = "sys/devices/system/cpu";
    let entries = std::fs::read_dir(root.join(CPUS)).into_iter().flatten().flatten();
    let cpus = entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("cpu")?.parse::<u32>().ok());
    let mut cpus: Vec<u32> = cpus.collect();
    cpus.sort_unstable();
    let paths = cpus.into_iter().map(|cpu| format!("{CPUS}/cpu{cpu}/thermal_throttle"));
    paths.filter(|path| root.join(path).exists()).map(|path| format!("/{path}")).collect()
}

/// What the runtime's default handler can do; nothing special where it does not say.
pub(crate) fn abilities(status: &StatusResponse) -> Abilities {
    let default = status.runtime_handlers.iter().find(|handler| handler.name.is_empty());
    let features = default.and_then(|handler| handler.features.as_ref());
    Abilities {
        recursive_read_only: features.is_some_and(|it| it.recursive_read_only_mounts),
        strict_supplemental_groups: status.features.as_ref().is_some_and(|it| it.supplemental_groups_policy),
    }
}

#[test]
fn cpus_that_tell_of_their_heat_are_found() {
    let root = tempfile::tempdir().expect("a folder");
    for name in ["cpu10/thermal_throttle", "cpu2/thermal_throttle", "cpu3", "cpufreq", "cpuidle/thermal_throttle"] {
        std::fs::create_dir_all(root.path().join("sys/devices/system/cpu").join(name)).expect("a folder");
    }
    let of = |cpu: u32| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle");
    assert_eq!(heat_paths(root.path()), [of(2), of(10)]);
}
