//! The sysctls that stay inside a pod (Kubernetes task: "Using sysctls in a Kubernetes Cluster", safe and unsafe).

/// Safe ones, in the order in which they came to be allowed: version 1.0 of the pod security standards has the first
/// five, 1.27 one more, 1.29 the first ten, 1.32 all.
pub const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// A name with dots between its parts. Who writes slashes there writes the dots of a name as dots, and has them as slashes.
pub fn dotted(name: &str) -> String {
    let swapped = |c| match c {
        '/' => '.',
        '.' => '/',
        c => c,
    };
    match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('/') => name.chars().map(swapped).collect(),
        _ => name.to_owned(),
    }
}

#[test]
fn names_have_dots() {
    for (name, wanted) in [
        ("net.ipv4.conf.eth0/100.rp_filter", "net.ipv4.conf.eth0/100.rp_filter"),
        ("net/ipv4/conf/eth0.100/rp_filter", "net.ipv4.conf.eth0/100.rp_filter"),
        ("kernel/*", "kernel.*"),
        ("kernel", "kernel"),
    ] {
        assert_eq!(dotted(name), wanted);
    }
}
