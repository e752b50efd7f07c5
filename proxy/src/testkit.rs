//! What golden texts of both modes are made from. Only in tests.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::iptables::{NodePorts, Settings};
use crate::mode::Ports;
use crate::model::{Family, LocalDetector, NodeView, endpoints, service_ports};
use crate::objects::{EndpointSlice, Service};

pub(crate) fn settings(family: Family) -> Settings {
    let cidr = if family == Family::V4 { "10.0.0.0/8" } else { "fd00::/8" };
    Settings {
        family,
        masquerade_all: false,
        masquerade_mark: 0x4000,
        random_fully: false,
        local_detector: LocalDetector::Cidr(cidr.parse().unwrap()),
        localhost_node_ports: family == Family::V4,
        node_ports: NodePorts::Everywhere,
        tcp_be_liberal: false,
        node_ip: Some("192.168.0.2".parse().unwrap()),
    }
}

/// `name`'s spec with its port `p80`, merged with `spec`; `addresses` are endpoints, those of this node with a `*`,
/// terminating ones with a `-`.
pub(crate) fn service(name: &str, spec: Value, addresses: &[&str]) -> (Service, Vec<Arc<EndpointSlice>>) {
    let mut service = json!({
        "metadata": {"namespace": "ns", "name": name},
        "spec": {"ports": [{"name": "p80", "port": 80, "protocol": "TCP"}]},
    });
    for (key, value) in spec.as_object().unwrap() {
        if key == "ingress" {
            service["status"] = json!({"loadBalancer": {"ingress": value}});
        } else {
            service["spec"][key] = value.clone();
        }
    }
    let ports: Vec<Value> = service["spec"]["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| json!({"name": port["name"], "port": 8080, "protocol": port["protocol"]}))
        .collect();
    let slices = ["IPv4", "IPv6"].map(|family| {
        let ours = addresses.iter().filter(|address| address.contains("::") == (family == "IPv6"));
        let endpoints: Vec<Value> = ours
            .map(|address| {
                let is_terminating = address.ends_with('-');
                json!({
                    "addresses": [address.trim_end_matches(['*', '-'])],
                    "conditions": {"ready": !is_terminating, "serving": true, "terminating": is_terminating},
                    "nodeName": if address.ends_with('*') { "here" } else { "there" },
                })
            })
            .collect();
        let slice = json!({"metadata": {"name": "s"}, "addressType": family, "endpoints": endpoints, "ports": ports});
        Arc::new(serde_json::from_value(slice).unwrap())
    });
    (serde_json::from_value(service).unwrap(), slices.to_vec())
}

pub(crate) fn node() -> NodeView {
    NodeView { name: "here".into(), zone: String::new() }
}

pub(crate) fn ports_of(settings: &Settings, service: &Service, slices: &[Arc<EndpointSlice>]) -> Ports {
    let ports = service_ports(service, settings.family).into_iter();
    let with_endpoints = ports.map(|port| {
        let endpoints = endpoints(slices, &port, settings.family, &node());
        (port, endpoints)
    });
    with_endpoints.collect()
}
