//! What pods may know of their node, from the options and the machine. Reads the resolver configuration, nothing else.

use crate::{
    Options, Seams,
    cgroups::{
        Limits,
        naming::{Driver, Naming},
    },
    node::object::Identity,
    paths::Paths,
    pod::configs::{NodeFacts, dns},
};

/// The facts for all configurations of pods.
pub(crate) fn of_node(options: &Options, seams: &Seams, identity: &Identity, cgroup_v2: bool) -> NodeFacts {
    let c = &options.configuration;
    let driver = if c.cgroup_driver == "systemd" { Driver::Systemd } else { Driver::Cgroupfs };
    let resolv_conf = c.resolv_conf.clone().unwrap_or_else(|| "/etc/resolv.conf".into());
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
        paths: Paths { root: options.root_dir.clone(), pod_logs: c.pod_logs_dir.clone().into() },
        cgroups: Naming::new(driver, &c.cgroup_root),
        cgroup_v2,
        cpu_cfs_quota: c.cpu_cfs_quota,
        memory_capacity_bytes: identity.machine.memory_bytes,
        allocatable: identity.allocatable.clone(),
        seccomp_default: c.seccomp_default,
    }
}

/// All pods together may use what is allocatable; eviction thresholds are not taken off here, as upstream has it.
pub(crate) fn top_limits(identity: &Identity) -> Limits {
    Limits {
        cpu_shares: identity
            .allocatable
            .get("cpu")
            .map(|cpu| crate::pod::configs::resources::cpu_shares(cpu.milli_value())),
        memory_bytes: identity.capacity.get("memory").map(|memory| memory.value()),
        ..Limits::default()
    }
}
