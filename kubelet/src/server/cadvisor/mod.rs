//! `/metrics/cadvisor`: what the node's cgroups use (the topmost, those of classes, pods, sandboxes and containers),
//! what pods' networks carry, and what the machine has, under the names that cAdvisor gave them.
//!
//! Enter at [`metrics`]. [`rows`] gathers, [`families`] names and explains the numbers; [`render`] writes the text and is
//! pure. The numbers are the kernel's; where a container has no cgroup that can be found, the runtime's.

mod families;
mod rows;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use http::{Response, StatusCode};

use self::{
    families::{CPU_LIMITED, DISKS, NETWORKS, PLAIN},
    rows::{Network, Row},
};
use super::body::{self, Body, text};
use crate::pod::node::Node;

pub(super) async fn metrics(node: &std::sync::Arc<Node>) -> Response<Body> {
    let (rows, networks) = match rows::gather(node).await {
        Ok(found) => found,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.rpc()),
    };
    let out = render(&rows, &networks, node.facts.capacity_cpus, node.facts.memory_capacity_bytes);
    body::with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", out.into())
}

fn render(rows: &[Row], networks: &[Network], cores: i64, memory_bytes: i64) -> String {
    let mut out = String::new();
    for family in PLAIN {
        head(&mut out, family.name, family.help, family.kind);
        for row in rows {
            for (labels, value) in family.values {
                write_one(&mut out, family.name, row, labels, value(row), family.is_timed);
            }
        }
    }
    for (name, help, value) in CPU_LIMITED {
        head(&mut out, name, help, "counter");
        for row in rows {
            let cpu = row.figures.cpu.as_ref().filter(|cpu| cpu.quota_us.is_some());
            write_one(&mut out, name, row, "", cpu.map(value), true);
        }
    }
    for (name, help, value) in DISKS {
        head(&mut out, name, help, "counter");
        for row in rows {
            for disk in &row.figures.disks {
                let labels = format!(",device={:?}", disk.device);
                write_one(&mut out, name, row, &labels, Some(value(disk) as f64), true);
            }
        }
    }
    for (name, help, value) in NETWORKS {
        let name = format!("container_network_{name}_total");
        head(&mut out, &name, help, "counter");
        for network in networks {
            for interface in &network.interfaces {
                let labels = format!("{},interface={:?}", network.labels, interface.name);
                let _ = writeln!(out, "{name}{{{labels}}} {} {}", value(interface), network.at_ms);
            }
        }
    }
    for (name, help, value) in [
        ("machine_cpu_cores", "Number of logical CPU cores.", cores),
        ("machine_memory_bytes", "Amount of memory installed on the machine.", memory_bytes),
    ] {
        head(&mut out, name, help, "gauge");
        let _ = writeln!(out, "{name} {value}");
    }
    out
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// What is not known is not made up: no value, no line.
fn write_one(out: &mut String, name: &str, row: &Row, labels: &str, value: Option<f64>, is_timed: bool) {
    let Some(value) = value else { return };
    let _ = write!(out, "{name}{{{}{labels}}} {value}", row.labels);
    let _ = if is_timed { writeln!(out, " {}", row.at_ms) } else { writeln!(out) };
}
