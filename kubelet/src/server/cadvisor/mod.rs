//! `/metrics/cadvisor`: what the node's cgroups use (the topmost, those of classes, pods, sandboxes and containers),
//! what pods' networks carry, and what the machine has, under the names that cAdvisor gave them.
//!
//! Enter at [`metrics`]. [`rows`] gathers, [`open`] counts open files, [`families`] names and explains the numbers,
//! [`machine`] those of the machine; [`render`] writes the text and is pure. The numbers are the kernel's; where a container
//! has no cgroup that can be found, the runtime's.

mod families;
mod machine;
mod open;
mod rows;
#[cfg(test)]
mod tests;

use std::{array, collections::HashMap, fmt::Write as _, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};

use self::{
    families::{CPU_LIMITED, DISKS, Family, NETWORKS, PLAIN},
    rows::{Network, Row},
};
use super::{
    body::{self, Body, text},
    quoted::Quoted,
};
use crate::{cgroups::figures::Disk, node::machine::Machine, pod::node::Node};

/// What a scrape found.
struct Scrape {
    rows: Vec<Row>,
    networks: Vec<Network>,
    /// By their numbers.
    device_names: HashMap<String, String>,
    machine: Machine,
}

impl Scrape {
    fn device<'a>(&'a self, disk: &'a Disk) -> &'a str {
        self.device_names.get(&disk.numbers).unwrap_or(&disk.numbers)
    }
}

pub(super) async fn metrics(node: &Arc<Node>) -> Response<Body> {
    let (rows, networks, device_names) = match rows::gather(node).await {
        Ok(found) => found,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.rpc()),
    };
    let families = render(Scrape { rows, networks, device_names, machine: node.facts.machine.clone() });
    let pieces = families.map(|family| Ok(Bytes::from(family)));
    let mut response = Response::new(body::of_stream(futures::stream::iter(pieces)));
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// One family after the other, each made when it is asked for: on a large node they are megabytes together.
fn render(scrape: Scrape) -> impl Iterator<Item = String> + Send + 'static {
    let scrape = Arc::new(scrape);
    let [plain, limited, disks, usage, networks] = array::from_fn(|_| scrape.clone());
    let plain = PLAIN.iter().map(move |family| of_family(&plain.rows, family));
    let limited = CPU_LIMITED.into_iter().map(move |(name, help, value)| {
        let mut out = head(name, help, "counter");
        for row in &limited.rows {
            let cpu = row.figures.cpu.as_ref().filter(|cpu| cpu.quota_us.is_some());
            write_one(&mut out, name, row, "", cpu.map(value), true);
        }
        out
    });
    let disks = DISKS.into_iter().map(move |(name, help, value)| {
        let mut out = head(name, help, "counter");
        for row in &disks.rows {
            for disk in &row.figures.disks {
                let labels = format!(",device={}", Quoted(disks.device(disk)));
                write_one(&mut out, name, row, &labels, Some(value(disk) as f64), true);
            }
        }
        out
    });
    let networks = NETWORKS.into_iter().map(move |(name, help, value)| {
        let name = format!("container_network_{name}_total");
        let mut out = head(&name, help, "counter");
        for network in &networks.networks {
            for interface in &network.interfaces {
                let labels = format!("{},interface={}", network.labels, Quoted(&interface.name));
                let _ = writeln!(out, "{name}{{{labels}}} {} {}", value(interface), network.at_ms);
            }
        }
        out
    });
    let machine = machine::families(&scrape.machine);
    let usage = std::iter::once_with(move || device_usage(&usage));
    plain.chain(limited).chain(disks).chain(usage).chain(networks).chain(machine)
}

fn device_usage(scrape: &Scrape) -> String {
    let name = "container_blkio_device_usage_total";
    let mut out = head(name, "Blkio Device bytes usage", "counter");
    for (row, disk) in scrape.rows.iter().flat_map(|row| row.figures.disks.iter().map(move |disk| (row, disk))) {
        let (major, minor) = disk.numbers.split_once(':').unwrap_or_default();
        let device = scrape.device(disk);
        for (operation, value) in [("Read", disk.read_bytes), ("Write", disk.written_bytes)] {
            let labels = [("device", device), ("major", major), ("minor", minor), ("operation", operation)];
            let labels: String = labels.iter().map(|(name, value)| format!(",{name}={}", Quoted(value))).collect();
            write_one(&mut out, name, row, &labels, Some(value as f64), true);
        }
    }
    out
}

fn of_family(rows: &[Row], family: &Family) -> String {
    let mut out = head(family.name, family.help, family.kind);
    for row in rows {
        for (labels, value) in family.values {
            write_one(&mut out, family.name, row, labels, value(row), family.is_timed);
        }
    }
    out
}

fn head(name: &str, help: &str, kind: &str) -> String {
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")
}

/// What is not known is not made up: no value, no line.
fn write_one(out: &mut String, name: &str, row: &Row, labels: &str, value: Option<f64>, is_timed: bool) {
    let Some(value) = value else { return };
    let _ = write!(out, "{name}{{{}{labels}}} {value}", row.labels);
    let _ = if is_timed { writeln!(out, " {}", row.at_ms) } else { writeln!(out) };
}
