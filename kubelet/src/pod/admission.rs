//! May a pod that has just come run here? Pure.
//!
//! Enter at [`refuse`]. The scheduler has looked already; this is for pods that name their node themselves, for races,
//! and for what this kubelet does not build: a pod that asks for it is refused by name, never run as if it had it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::{
    configs::{NodeFacts, resources::PodTotal},
    spec,
};

/// Sysctls that stay inside the pod (`pkg/kubelet/sysctl/safe_sysctls.go`).
const SAFE_SYSCTLS: [&str; 12] = [
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

/// Reason and message of a refusal. `others` are the pods that are here already.
pub fn refuse(pod: &Pod, others: &[Arc<Pod>], facts: &NodeFacts) -> Option<(String, String)> {
    not_built(pod).or_else(|| forbidden_sysctl(pod)).or_else(|| lacks_resources(pod, others, facts))
}

fn not_built(pod: &Pod) -> Option<(String, String)> {
    let pod_spec = spec::spec(pod);
    let asked = [
        (pod_spec.host_users == Some(false), "user namespaces (hostUsers: false)"),
        (
            pod_spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()),
            "dynamic resources (resourceClaims)",
        ),
    ];
    let (_, what) = asked.into_iter().find(|(is, _)| *is)?;
    Some(("UnsupportedPodSpec".into(), format!("{what} are not supported by this kubelet")))
}

fn forbidden_sysctl(pod: &Pod) -> Option<(String, String)> {
    let context = spec::spec(pod).security_context.as_ref()?;
    let names = context.sysctls.iter().flatten().map(|sysctl| sysctl.name.replace('/', "."));
    let forbidden = names.into_iter().find(|name| !SAFE_SYSCTLS.contains(&name.as_str()))?;
    Some(("SysctlForbidden".into(), format!("forbidden sysctl: {forbidden:?} not allowlisted")))
}

/// Upstream's `OutOf…` reasons, from requests against what is allocatable.
fn lacks_resources(pod: &Pod, others: &[Arc<Pod>], facts: &NodeFacts) -> Option<(String, String)> {
    let is_over = |it: &Pod| {
        matches!(it.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
    };
    let others = || others.iter().filter(|it| !is_over(it) && spec::uid(it) != spec::uid(pod));
    let total = |of: fn(&PodTotal) -> i64| others().map(|it| of(&PodTotal::of(it))).sum::<i64>();
    let own = PodTotal::of(pod);
    let cpu: fn(&PodTotal) -> i64 = |it| it.cpu_request_milli.unwrap_or(0);
    let memory: fn(&PodTotal) -> i64 = |it| it.memory_request_bytes;
    let rows = [
        ("pods", 1, i64::try_from(others().count()).unwrap_or(i64::MAX), false),
        ("cpu", cpu(&own), total(cpu), true),
        ("memory", memory(&own), total(memory), false),
    ];
    rows.into_iter().find_map(|(name, requested, used, milli)| {
        let amount = facts.allocatable.get(name)?;
        let capacity = if milli { amount.milli_value() } else { amount.value() };
        (requested > 0 && used.saturating_add(requested) > capacity).then(|| {
            let message = format!(
                "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
            );
            (format!("OutOf{name}"), message)
        })
    })
}
