//! `/metrics/resource`: what the machine, pods and containers use, as metrics-server reads it
//! (`pkg/kubelet/metrics/collectors/resource_metrics.go`).
//!
//! [`render`] writes the text and is pure. metrics-server passes over a container without a start, a node or container
//! without a time beside its value, and reads the labels by their places.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    path::Path,
    sync::Arc,
};

use http::{Response, StatusCode};
use k8s_cri::v1::ContainerStats;

use super::{
    body::{self, Body},
    look::{self, number},
    quoted::Quoted,
    stats::{self, measured::Measured},
};
use crate::{cgroups::swap::Swap, pod::node::Node, runtime::labels::Identity};

/// What the machine uses.
struct Machine {
    cpu_ns: u64,
    memory_bytes: i64,
    at_ms: i64,
}

type Pods = BTreeMap<Identity, Vec<Measured>>;

/// What is swapped out, by the kernel's word; what it does not tell is not there.
#[derive(Default)]
struct Swaps {
    node: Option<Swap>,
    /// By pod UID.
    pods: HashMap<String, Swap>,
    /// By container ID.
    containers: HashMap<String, Swap>,
}

pub(super) async fn metrics(node: &Arc<Node>) -> Response<Body> {
    let measured = stats::measured::measured(node).await;
    let (cpu_ns, (total, available)) = stats::of_machine();
    let at_ms = node.clock.now().as_millisecond();
    let machine = Machine { cpu_ns, memory_bytes: total - available, at_ms };
    let out = match measured {
        Ok(pods) => {
            let node = node.clone();
            let work = move || {
                let swaps = swaps(&node, &pods);
                render(Some((&machine, &pods, &swaps)))
            };
            tokio::task::spawn_blocking(work).await.unwrap_or_default()
        }
        Err(error) => {
            tracing::warn!(%error, "what the containers use cannot be told");
            render(None)
        }
    };
    body::with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", out.into())
}

/// Blocking: a file or two a cgroup.
fn swaps(node: &Node, pods: &Pods) -> Swaps {
    let Some(cgroups) = &node.cgroups else { return Swaps::default() };
    let of = |folder: &Path| cgroups.hierarchy().swap(folder);
    let mut swaps = Swaps { node: of(Path::new("")), ..Swaps::default() };
    for (identity, containers) in pods {
        let folder = look::pod_folder(node, identity);
        swaps.pods.extend(of(&folder).map(|swap| (identity.uid.clone(), swap)));
        for id in containers.iter().filter_map(Measured::id) {
            let own = cgroups.folder_of_container(&folder, id).and_then(|folder| of(&folder));
            swaps.containers.extend(own.map(|swap| (id.to_owned(), swap)));
        }
    }
    swaps
}

/// A value with its time in nanoseconds.
type Of = fn(&ContainerStats) -> Option<(f64, i64)>;

const RESOURCES: [(&str, &str, &str, Of); 2] = [
    ("cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the {} in core-seconds", |it| {
        let cpu = it.cpu.as_ref()?;
        Some((number(&cpu.usage_core_nano_seconds)? as f64 / 1e9, cpu.timestamp))
    }),
    ("memory_working_set_bytes", "gauge", "Current working set of the {} in bytes", |it| {
        let memory = it.memory.as_ref()?;
        Some((number(&memory.working_set_bytes)? as f64, memory.timestamp))
    }),
];

/// None where the runtime did not tell: then that is all that is told.
fn render(found: Option<(&Machine, &Pods, &Swaps)>) -> String {
    let mut out = String::new();
    if let Some((machine, pods, swaps)) = found {
        for (name, kind, help, of) in RESOURCES {
            containers(&mut out, (name, kind, help), of, pods);
        }
        starts(&mut out, pods);
        let of_machine = [machine.cpu_ns as f64 / 1e9, machine.memory_bytes as f64];
        for ((name, kind, help, _), value) in RESOURCES.into_iter().zip(of_machine) {
            head(&mut out, &format!("node_{name}"), kind, &help.replace("{}", "node"));
            let _ = writeln!(out, "node_{name} {value} {}", machine.at_ms);
        }
        for (name, kind, help, of) in RESOURCES {
            sums(&mut out, (name, kind, help), of, pods);
        }
        swapped(&mut out, machine.at_ms, pods, swaps);
    }
    head(
        &mut out,
        "resource_scrape_error",
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
    );
    let _ = writeln!(out, "resource_scrape_error {}", i32::from(found.is_none()));
    out
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
}

fn containers(out: &mut String, (name, kind, help): (&str, &str, &str), of: Of, pods: &Pods) {
    head(out, &format!("container_{name}"), kind, &help.replace("{}", "container"));
    for (identity, container) in each(pods) {
        let Some((value, at)) = of(&container.stats) else { continue };
        let _ = writeln!(out, "container_{name}{} {value} {}", labels(identity, container), at / 1_000_000);
    }
}

fn starts(out: &mut String, pods: &Pods) {
    head(out, "container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds");
    for (identity, container) in each(pods).filter(|(_, container)| container.created_at_ns > 0) {
        let seconds = container.created_at_ns as f64 / 1e9;
        let _ = writeln!(out, "container_start_time_seconds{} {seconds}", labels(identity, container));
    }
}

fn sums(out: &mut String, (name, kind, help): (&str, &str, &str), of: Of, pods: &Pods) {
    head(out, &format!("pod_{name}"), kind, &help.replace("{}", "pod"));
    for (identity, containers) in pods {
        let values: Vec<(f64, i64)> = containers.iter().filter_map(|it| of(&it.stats)).collect();
        let Some(at) = values.iter().map(|(_, at)| *at).max() else { continue };
        let sum: f64 = values.iter().map(|(value, _)| value).sum();
        let [namespace, pod] = [&identity.namespace, &identity.name].map(|it| Quoted(it));
        let _ = writeln!(out, "pod_{name}{{namespace={namespace},pod={pod}}} {sum} {}", at / 1_000_000);
    }
}

fn swapped(out: &mut String, at_ms: i64, pods: &Pods, swaps: &Swaps) {
    let alpha = |out: &mut String, name: &str, help: &str| {
        let help = format!("{help} in bytes. Reported only on non-windows systems");
        let _ = writeln!(out, "# HELP {name} [ALPHA] {help}\n# TYPE {name} gauge");
    };
    let of = |container: &Measured| swaps.containers.get(container.id()?).copied();
    alpha(out, "container_swap_usage_bytes", "Current amount of the container swap usage");
    for (identity, container) in each(pods) {
        let Some(swap) = of(container) else { continue };
        let _ = writeln!(out, "container_swap_usage_bytes{} {} {at_ms}", labels(identity, container), swap.used);
    }
    alpha(out, "container_swap_limit_bytes", "Current amount of the container swap limit");
    for (identity, container) in each(pods) {
        let Some(limit) = of(container).and_then(|swap| swap.limit) else { continue };
        let _ = writeln!(out, "container_swap_limit_bytes{} {limit} {at_ms}", labels(identity, container));
    }
    alpha(out, "node_swap_usage_bytes", "Current swap usage of the node");
    if let Some(swap) = swaps.node {
        let _ = writeln!(out, "node_swap_usage_bytes {} {at_ms}", swap.used);
    }
    alpha(out, "pod_swap_usage_bytes", "Current amount of the pod swap usage");
    for identity in pods.keys() {
        let Some(swap) = swaps.pods.get(&identity.uid) else { continue };
        let [namespace, pod] = [&identity.namespace, &identity.name].map(|it| Quoted(it));
        let _ = writeln!(out, "pod_swap_usage_bytes{{namespace={namespace},pod={pod}}} {} {at_ms}", swap.used);
    }
}

fn each(pods: &Pods) -> impl Iterator<Item = (&Identity, &Measured)> {
    pods.iter().flat_map(|(identity, containers)| containers.iter().map(move |container| (identity, container)))
}

fn labels(identity: &Identity, container: &Measured) -> String {
    let [name, namespace, pod] = [&container.name, &identity.namespace, &identity.name].map(|it| Quoted(it));
    format!("{{container={name},namespace={namespace},pod={pod}}}")
}

#[cfg(test)]
mod tests {
    use k8s_cri::v1::{ContainerAttributes, CpuUsage, MemoryUsage, UInt64Value};

    use super::*;

    #[test]
    fn they_are_what_metrics_server_reads() {
        let container = |name: &str, cpu: u64, memory: u64| Measured {
            name: name.into(),
            created_at_ns: 1_700_000_000_500_000_000,
            stats: ContainerStats {
                attributes: Some(ContainerAttributes { id: name.into(), ..ContainerAttributes::default() }),
                cpu: Some(CpuUsage {
                    timestamp: 5_000_000_000,
                    usage_core_nano_seconds: Some(UInt64Value { value: cpu }),
                    ..CpuUsage::default()
                }),
                memory: Some(MemoryUsage {
                    timestamp: 6_000_000_000,
                    working_set_bytes: Some(UInt64Value { value: memory }),
                    ..MemoryUsage::default()
                }),
                ..ContainerStats::default()
            },
        };
        let identity = Identity { uid: "u".into(), namespace: "ns".into(), name: "p".into() };
        let pods =
            Pods::from([(identity, vec![container("a", 1_500_000_000, 1024), container("b", 500_000_000, 1024)])]);
        let machine = Machine { cpu_ns: 2_500_000_000, memory_bytes: 4096, at_ms: 7000 };
        let swaps = Swaps {
            node: Some(Swap { used: 9, limit: None }),
            pods: [("u".to_owned(), Swap { used: 7, limit: None })].into(),
            containers: [("a".to_owned(), Swap { used: 5, limit: Some(6) })].into(),
        };
        let text = render(Some((&machine, &pods, &swaps)));
        for wanted in [
            "# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds\n\
             # TYPE container_cpu_usage_seconds_total counter\n\
             container_cpu_usage_seconds_total{container=\"a\",namespace=\"ns\",pod=\"p\"} 1.5 5000\n",
            "container_memory_working_set_bytes{container=\"b\",namespace=\"ns\",pod=\"p\"} 1024 6000\n",
            "container_start_time_seconds{container=\"a\",namespace=\"ns\",pod=\"p\"} 1700000000.5\n",
            "node_cpu_usage_seconds_total 2.5 7000\n",
            "node_memory_working_set_bytes 4096 7000\n",
            "pod_cpu_usage_seconds_total{namespace=\"ns\",pod=\"p\"} 2 5000\n",
            "pod_memory_working_set_bytes{namespace=\"ns\",pod=\"p\"} 2048 6000\n",
            "# HELP container_swap_usage_bytes [ALPHA] Current amount of the container swap usage in bytes. Reported only on \
             non-windows systems\n# TYPE container_swap_usage_bytes gauge\n\
             container_swap_usage_bytes{container=\"a\",namespace=\"ns\",pod=\"p\"} 5 7000\n",
            "container_swap_limit_bytes{container=\"a\",namespace=\"ns\",pod=\"p\"} 6 7000\n",
            "node_swap_usage_bytes 9 7000\n",
            "pod_swap_usage_bytes{namespace=\"ns\",pod=\"p\"} 7 7000\n",
            "# TYPE resource_scrape_error gauge\nresource_scrape_error 0\n",
        ] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
        assert!(!text.contains("container_swap_usage_bytes{container=\"b\""), "what nobody tells is not made up");
        let failed = render(None);
        assert!(failed.ends_with("resource_scrape_error 1\n") && !failed.contains("node_"), "{failed}");
    }
}
