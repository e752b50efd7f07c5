//! Ports of containers that get in each other's way, or mean nothing: words of warning.

use std::collections::HashMap;

use machinery::field::{Path, quote};
use machinery::meta;
use serde_json::Value;

/// Of all containers of a pod, each with its path: first what their numbers say, then their names.
pub fn of(containers: &[(&Value, Path)]) -> Vec<String> {
    let ports = containers.iter().flat_map(|(container, path)| {
        let ports = meta::list(container, "ports").iter().enumerate();
        ports.map(move |(position, port)| (port, path.child("ports").index(position)))
    });
    let ports: Vec<(&Value, Path)> = ports.collect();
    let mut warnings = numbers(&ports);
    warnings.extend(names(&ports));
    warnings
}

fn numbers(ports: &[(&Value, Path)]) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut by_number: HashMap<(i64, &str), Vec<&(&Value, Path)>> = HashMap::new();
    for entry @ (port, at) in ports {
        if !meta::text(port, "hostIP").is_empty() && host(port) == 0 {
            warnings.push(format!("{at}: hostIP set without hostPort: {}", shown(port)));
        }
        let others = by_number.entry((container(port), meta::text(port, "protocol"))).or_default();
        let clashes = others.iter().filter_map(|(other, other_at)| Some((clash(port, other)?, other_at)));
        warnings.extend(clashes.map(|(how, other_at)| format!("{at}: {how} {other_at}")));
        others.push(entry);
    }
    warnings
}

fn names(ports: &[(&Value, Path)]) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut by_name: HashMap<&str, &Path> = HashMap::new();
    for (port, at) in ports {
        let name = meta::text(port, "name");
        match by_name.get(name) {
            _ if name.is_empty() => {}
            Some(other) => warnings.push(format!(
                "{at}: duplicate port name {} with {other}, services and probes that select ports by name will use {other}",
                quote(name)
            )),
            None => {
                by_name.insert(name, at);
            }
        }
    }
    warnings
}

fn host(port: &Value) -> i64 {
    port["hostPort"].as_i64().unwrap_or(0)
}

fn container(port: &Value) -> i64 {
    port["containerPort"].as_i64().unwrap_or(0)
}

/// As Go prints the struct.
fn shown(port: &Value) -> String {
    let text = |field| meta::text(port, field);
    let (host, container) = (host(port), container(port));
    format!(
        "{{Name:{} HostPort:{host} ContainerPort:{container} Protocol:{} HostIP:{}}}",
        text("name"),
        text("protocol"),
        text("hostIP")
    )
}

/// How two definitions of one port are at odds.
fn clash(port: &Value, other: &Value) -> Option<&'static str> {
    let (address, other_address) = (meta::text(port, "hostIP"), meta::text(other, "hostIP"));
    if address == other_address && host(port) == host(other) {
        Some("duplicate port definition with")
    } else if host(port) == 0 || host(other) == 0 {
        Some("overlapping port definition with")
    } else if host(port) == host(other) && address.is_empty() != other_address.is_empty() {
        Some("dangerously ambiguous port definition with")
    } else {
        None
    }
}
