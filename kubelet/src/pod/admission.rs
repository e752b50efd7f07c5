//! May a pod that has just come run here? Pure.
//!
//! Enter at [`refuse`]. The scheduler has looked already; this is for pods that name their node themselves, for races,
//! and for what this kubelet does not build: a pod that asks for it is refused by name, never run as if it had it.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::Pod;
use machinery::sysctls;

use super::{
    configs::{NodeFacts, resources::PodTotal},
    spec,
};
use crate::eviction::{self, signal::Pressure};

/// Reason and message of a refusal. `others` are the pods that are here already, `pressures` what the node is short of.
pub fn refuse(
    pod: &Pod,
    others: &[Arc<Pod>],
    facts: &NodeFacts,
    pressures: &BTreeSet<Pressure>,
) -> Option<(String, String)> {
    not_built(pod)
        .or_else(|| eviction::rank::refuse(pod, pressures))
        .or_else(|| forbidden_sysctl(pod, facts))
        .or_else(|| other_platform(pod, facts))
        .or_else(|| lacks_resources(pod, others, facts))
        .or_else(|| taken_ports(pod, others))
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

/// What upstream asks of a pod before it looks at resources (`pkg/kubelet/lifecycle/predicate.go`).
fn other_platform(pod: &Pod, facts: &NodeFacts) -> Option<(String, String)> {
    const OS: &str = "kubernetes.io/os";
    let refused = |reason: &str, message: &str| Some((reason.to_owned(), message.to_owned()));
    if pod.metadata.labels.as_ref().and_then(|labels| labels.get(OS)).is_some_and(|os| os != "linux") {
        let message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return refused("PodOSSelectorNodeLabelDoesNotMatch", message);
    }
    if spec::spec(pod).os.as_ref().is_some_and(|os| os.name != "linux") {
        return refused("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS");
    }
    let context = spec::spec(pod).security_context.as_ref();
    let policy = context.and_then(|it| it.supplemental_groups_policy.as_deref());
    if policy == Some("Strict") && !facts.abilities.strict_supplemental_groups {
        let message = "SupplementalGroupsPolicy=Strict is not supported in this node";
        return refused("SupplementalGroupsPolicyNotSupported", message);
    }
    None
}

fn forbidden_sysctl(pod: &Pod, facts: &NodeFacts) -> Option<(String, String)> {
    let context = spec::spec(pod).security_context.as_ref()?;
    let names = context.sysctls.iter().flatten().map(|sysctl| dotted(&sysctl.name));
    let why = names.into_iter().find_map(|name| sysctl_problem(pod, &name, &facts.allowed_unsafe_sysctls))?;
    Some(("SysctlForbidden".into(), format!("forbidden sysctl: {why}")))
}

/// A name as the kernel's files have it; users may write slashes for dots (and then dots for slashes).
fn dotted(name: &str) -> String {
    let first = name.find(['.', '/']);
    match first.map(|at| &name[at..=at]) {
        Some("/") => name
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

fn sysctl_problem(pod: &Pod, name: &str, allowed: &[String]) -> Option<String> {
    let is_allowed = allowed.iter().map(|pattern| dotted(pattern)).any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    });
    if !sysctls::SAFE.contains(&name) && !is_allowed {
        return Some(format!("{name:?} not allowlisted"));
    }
    let is_ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix))
        || name == "kernel.sem";
    if spec::spec(pod).host_ipc == Some(true) && is_ipc {
        return Some(format!("{name:?} not allowed with host ipc enabled"));
    }
    (spec::is_host_network(pod) && name.starts_with("net."))
        .then(|| format!("{name:?} not allowed with host net enabled"))
}

/// The pods that hold something of the node besides this one.
fn holding<'a>(pod: &'a Pod, others: &'a [Arc<Pod>]) -> impl Iterator<Item = &'a Pod> {
    let is_over = |it: &Pod| {
        matches!(it.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
    };
    others.iter().map(|it| &**it).filter(move |it| !is_over(it) && spec::uid(it) != spec::uid(pod))
}

/// Two pods cannot have one port of the node; the later one would take it from the first.
fn taken_ports(pod: &Pod, others: &[Arc<Pod>]) -> Option<(String, String)> {
    let is_any = |ip: &str| matches!(ip, "" | "0.0.0.0");
    let wanted = host_ports(pod);
    let is_taken = |(ip, protocol, port): &(&str, &str, i32)| {
        let clashes = |held: &(&str, &str, i32)| {
            (held.1, held.2) == (*protocol, *port) && (held.0 == *ip || is_any(held.0) || is_any(ip))
        };
        holding(pod, others).any(|other| host_ports(other).iter().any(clashes))
    };
    wanted.iter().any(is_taken).then(|| {
        let why = "node(s) didn't have free ports for the requested pod ports";
        ("NodePorts".to_owned(), format!("Predicate NodePorts failed: {why}"))
    })
}

/// Address, protocol and number of the node's ports that lead to a pod, of all containers that stay.
fn host_ports(pod: &Pod) -> Vec<(&str, &str, i32)> {
    let spec = spec::spec(pod);
    let sidecars = spec.init_containers.iter().flatten().filter(|it| it.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let of = |port: &'_ k8s_openapi::api::core::v1::ContainerPort| port.host_port.filter(|number| *number > 0);
    ports
        .filter_map(|port| {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            Some((port.host_ip.as_deref().unwrap_or_default(), protocol, of(port)?))
        })
        .collect()
}

/// Upstream's `OutOf…` reasons, from requests against what is allocatable.
pub(super) fn lacks_resources(pod: &Pod, others: &[Arc<Pod>], facts: &NodeFacts) -> Option<(String, String)> {
    let others = || holding(pod, others);
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pod::configs::tests::facts;

    fn refused(spec: Value, change: impl FnOnce(&mut NodeFacts)) -> String {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": spec})).expect("a pod");
        let mut facts = facts();
        change(&mut facts);
        refuse(&pod, &[], &facts, &BTreeSet::new())
            .map(|(reason, message)| format!("{reason}: {message}"))
            .unwrap_or_default()
    }

    #[test]
    fn what_is_not_to_be_had_is_refused_by_name() {
        let sysctl = |name: &str| json!({"sysctls": [{"name": name, "value": "1"}]});
        for (spec, wanted) in [
            (json!({"containers": []}), ""),
            (json!({"containers": [], "hostUsers": false}), "UnsupportedPodSpec: user namespaces"),
            (json!({"containers": [], "os": {"name": "windows"}}), "PodOSNotSupported: "),
            (
                json!({"containers": [], "securityContext": {"supplementalGroupsPolicy": "Strict"}}),
                "SupplementalGroupsPolicyNotSupported: SupplementalGroupsPolicy=Strict",
            ),
            (json!({"containers": [], "securityContext": sysctl("kernel/shm_rmid_forced")}), ""),
            (
                json!({"containers": [], "securityContext": sysctl("kernel.msgmax")}),
                "SysctlForbidden: forbidden sysctl: \"kernel.msgmax\" not allowlisted",
            ),
            (
                json!({"containers": [], "hostIPC": true, "securityContext": sysctl("kernel.shm_rmid_forced")}),
                "SysctlForbidden: forbidden sysctl: \"kernel.shm_rmid_forced\" not allowed with host ipc enabled",
            ),
        ] {
            let found = refused(spec.clone(), |_| {});
            assert!(found.starts_with(wanted) && found.is_empty() == wanted.is_empty(), "{spec}: {found}");
        }
    }

    #[test]
    fn ports_of_the_node_are_had_once() {
        let pod = |uid: &str, ports: Value, phase: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"uid": uid}, "status": {"phase": phase},
                "spec": {"containers": [{"name": "c", "ports": ports}]}}))
            .expect("a pod")
        };
        let port = |ip: &str, protocol: &str, number: i32| json!([{"containerPort": 1, "hostIP": ip, "protocol": protocol, "hostPort": number}]);
        let held = port("10.0.0.1", "TCP", 80);
        for (asked, phase, is_refused) in [
            (port("", "TCP", 80), "Running", true),
            (port("0.0.0.0", "TCP", 80), "Running", true),
            (port("10.0.0.1", "TCP", 80), "Pending", true),
            (port("10.0.0.2", "TCP", 80), "Running", false),
            (port("10.0.0.1", "UDP", 80), "Running", false),
            (port("10.0.0.1", "TCP", 81), "Running", false),
            (port("10.0.0.1", "TCP", 80), "Succeeded", false),
            (json!([{"containerPort": 80}]), "Running", false),
        ] {
            let others = [Arc::new(pod("other", held.clone(), phase))];
            let refusal = refuse(&pod("new", asked.clone(), "Pending"), &others, &facts(), &BTreeSet::new());
            assert_eq!(
                refusal.map(|(reason, _)| reason),
                is_refused.then(|| "NodePorts".to_owned()),
                "{asked} {phase}"
            );
        }
        let own = [Arc::new(pod("new", held.clone(), "Running"))];
        assert_eq!(refuse(&pod("new", held, "Running"), &own, &facts(), &BTreeSet::new()), None);
    }

    #[test]
    fn a_node_may_allow_unsafe_sysctls() {
        let spec = json!({"containers": [], "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}});
        let with =
            |pattern: &str| refused(spec.clone(), |facts| facts.allowed_unsafe_sysctls = vec![pattern.to_owned()]);
        assert_eq!(with("kernel.msg*"), "");
        assert_eq!(with("kernel.msgmax"), "");
        assert!(with("net.*").starts_with("SysctlForbidden"));
    }
}
