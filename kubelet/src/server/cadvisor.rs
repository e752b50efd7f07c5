//! `/metrics/cadvisor`: what containers, pods' networks and the machine use, under the names that cAdvisor gave them.
//!
//! [`render`] writes the text and is pure; the numbers are the runtime's, and for networks the kernel's.

use std::{collections::BTreeMap, fmt::Write as _};

use http::{Response, StatusCode};
use k8s_cri::v1::{ContainerStats, UInt64Value};

use super::body::{self, Body, text};
use crate::{
    net_usage::{self, Interface},
    node::machine::Space,
    pod::{node::Node, spec},
    runtime::labels::{CONTAINER_NAME, Identity},
};

/// One container with its numbers.
struct Row {
    labels: String,
    stats: ContainerStats,
    /// How many inodes the disk of its own layer has; None where that is not known.
    inodes: Option<i64>,
}

/// The interfaces of one pod, with the labels of its series.
struct Network {
    namespace: String,
    pod: String,
    interfaces: Vec<Interface>,
}

pub(super) async fn metrics(node: &Node) -> Response<Body> {
    let stats = match node.runtime.list_container_stats().await {
        Ok(stats) => stats,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.rpc()),
    };
    let images: BTreeMap<String, String> = match node.runtime.list_containers(None).await {
        Ok(list) => list.into_iter().map(|it| (it.id, it.image.map(|image| image.image).unwrap_or_default())).collect(),
        Err(_) => BTreeMap::new(),
    };
    let rows = stats.into_iter().filter_map(|stats| row(node, stats, &images)).collect();
    let pods = node.running.list();
    let networks = pods.iter().filter_map(|pod| {
        let interfaces = net_usage::of_pod(node, pod)?;
        let identity = spec::identity(pod);
        Some(Network { namespace: identity.namespace, pod: identity.name, interfaces })
    });
    let cores = node.facts.capacity_cpus;
    let out = render(rows, networks.collect(), cores, node.facts.memory_capacity_bytes);
    body::with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", out.into())
}

fn row(node: &Node, stats: ContainerStats, images: &BTreeMap<String, String>) -> Option<Row> {
    let attributes = stats.attributes.as_ref()?;
    let identity = Identity::from_labels(&attributes.labels)?;
    let container = attributes.labels.get(CONTAINER_NAME)?;
    let pod = node.running.find(&identity.namespace, &identity.name, &identity.uid);
    let class = pod.as_ref().map_or(crate::status::qos::BURSTABLE, |pod| crate::status::qos::of_pod(pod));
    let folder = node.facts.cgroups.pod(class, &identity.uid).folder();
    let image = images.get(&attributes.id).map(String::as_str).unwrap_or_default();
    let labels = format!(
        "container={container:?},id=\"/{}/{}\",image={image:?},name={:?},namespace={:?},pod={:?}",
        folder.display(),
        attributes.id,
        attributes.id,
        identity.namespace,
        identity.name
    );
    let disk = stats.writable_layer.as_ref().and_then(|layer| layer.fs_id.as_ref());
    let inodes = disk.filter(|id| !id.mountpoint.is_empty()).map(|id| Space::of(id.mountpoint.as_ref()).inodes);
    Some(Row { labels, stats, inodes: inodes.filter(|inodes| *inodes > 0) })
}

type Value = fn(&Row) -> Option<(f64, i64)>;

fn number(value: &Option<UInt64Value>) -> Option<f64> {
    value.as_ref().map(|value| value.value as f64)
}

/// Name, help, type, further labels and value of each metric of containers.
const OF_CONTAINERS: [(&str, &str, &str, &str, Value); 8] = [
    (
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed in seconds.",
        "counter",
        ",cpu=\"total\"",
        |it| {
            let cpu = it.stats.cpu.as_ref()?;
            Some((number(&cpu.usage_core_nano_seconds)? / 1e9, cpu.timestamp))
        },
    ),
    ("container_memory_working_set_bytes", "Current working set in bytes.", "gauge", "", |it| {
        let memory = it.stats.memory.as_ref()?;
        Some((number(&memory.working_set_bytes)?, memory.timestamp))
    }),
    ("container_memory_usage_bytes", "Current memory usage in bytes, including all memory.", "gauge", "", |it| {
        let memory = it.stats.memory.as_ref()?;
        Some((number(&memory.usage_bytes)?, memory.timestamp))
    }),
    ("container_memory_rss", "Size of RSS in bytes.", "gauge", "", |it| {
        let memory = it.stats.memory.as_ref()?;
        Some((number(&memory.rss_bytes)?, memory.timestamp))
    }),
    (
        "container_memory_failures_total",
        "Cumulative count of memory allocation failures.",
        "counter",
        ",failure_type=\"pgmajfault\",scope=\"container\"",
        |it| {
            let memory = it.stats.memory.as_ref()?;
            Some((number(&memory.major_page_faults)?, memory.timestamp))
        },
    ),
    (
        "container_fs_usage_bytes",
        "Number of bytes that are consumed by the container on this filesystem.",
        "gauge",
        "",
        |it| {
            let layer = it.stats.writable_layer.as_ref()?;
            Some((number(&layer.used_bytes)?, layer.timestamp))
        },
    ),
    ("container_fs_inodes_total", "Number of Inodes", "gauge", "", |it| {
        let layer = it.stats.writable_layer.as_ref()?;
        Some((it.inodes? as f64, layer.timestamp))
    }),
    ("container_last_seen", "Last time a container was seen by the exporter", "gauge", "", |it| {
        let at = it.stats.cpu.as_ref()?.timestamp;
        Some(((at / 1_000_000_000) as f64, at))
    }),
];

type OfInterface = fn(&Interface) -> u64;

const OF_NETWORKS: [(&str, &str, OfInterface); 8] = [
    ("receive_bytes", "Cumulative count of bytes received", |it| it.received.bytes),
    ("receive_packets", "Cumulative count of packets received", |it| it.received.packets),
    ("receive_errors", "Cumulative count of errors encountered while receiving", |it| it.received.errors),
    ("receive_packets_dropped", "Cumulative count of packets dropped while receiving", |it| it.received.dropped),
    ("transmit_bytes", "Cumulative count of bytes transmitted", |it| it.sent.bytes),
    ("transmit_packets", "Cumulative count of packets transmitted", |it| it.sent.packets),
    ("transmit_errors", "Cumulative count of errors encountered while transmitting", |it| it.sent.errors),
    ("transmit_packets_dropped", "Cumulative count of packets dropped while transmitting", |it| it.sent.dropped),
];

fn render(rows: Vec<Row>, networks: Vec<Network>, cores: i64, memory_bytes: i64) -> String {
    let mut out = String::new();
    for (name, help, kind, more, value) in OF_CONTAINERS {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for row in &rows {
            if let Some((value, at)) = value(row) {
                let _ = writeln!(out, "{name}{{{}{more}}} {value} {}", row.labels, at / 1_000_000);
            }
        }
    }
    for (name, help, value) in OF_NETWORKS {
        let name = format!("container_network_{name}_total");
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for network in &networks {
            for interface in &network.interfaces {
                let _ = writeln!(
                    out,
                    "{name}{{container=\"\",interface={:?},namespace={:?},pod={:?}}} {}",
                    interface.name,
                    network.namespace,
                    network.pod,
                    value(interface)
                );
            }
        }
    }
    let _ = writeln!(
        out,
        "# HELP machine_cpu_cores Number of logical CPU cores.\n# TYPE machine_cpu_cores gauge\nmachine_cpu_cores {cores}\n\
         # HELP machine_memory_bytes Amount of memory installed on the machine.\n# TYPE machine_memory_bytes gauge\n\
         machine_memory_bytes {memory_bytes}"
    );
    out
}

#[cfg(test)]
mod tests {
    use k8s_cri::v1::CpuUsage;

    use super::*;
    use crate::net_usage::Traffic;

    #[test]
    fn metrics_have_cadvisors_names_and_labels() {
        let cpu = CpuUsage {
            timestamp: 5_000_000_000,
            usage_core_nano_seconds: Some(UInt64Value { value: 1_500_000_000 }),
            ..CpuUsage::default()
        };
        let layer = k8s_cri::v1::FilesystemUsage {
            timestamp: 5_000_000_000,
            inodes_used: Some(UInt64Value { value: 7 }),
            ..Default::default()
        };
        let stats = ContainerStats { cpu: Some(cpu), writable_layer: Some(layer), ..ContainerStats::default() };
        let rows = vec![Row { labels: "container=\"c\",pod=\"p\"".into(), stats, inodes: Some(1000) }];
        let received = Traffic { bytes: 7, ..Traffic::default() };
        let interface = Interface { name: "eth0".into(), received, sent: Traffic::default() };
        let networks = vec![Network { namespace: "ns".into(), pod: "p".into(), interfaces: vec![interface] }];
        let text = render(rows, networks, 2, 1024);
        for wanted in [
            "container_fs_inodes_total{container=\"c\",pod=\"p\"} 1000 5000\n",
            "container_cpu_usage_seconds_total{container=\"c\",pod=\"p\",cpu=\"total\"} 1.5 5000\n",
            "container_network_receive_bytes_total{container=\"\",interface=\"eth0\",namespace=\"ns\",pod=\"p\"} 7\n",
            "machine_cpu_cores 2\n",
            "machine_memory_bytes 1024\n",
        ] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
        assert!(!text.contains("container_memory_rss{"), "what the runtime does not tell is not made up");
    }
}
