//! One pod as an endpoint, and when two endpoints are the same.
//!
//! Pure. Concepts: "EndpointSlices", "Conditions".

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

use crate::common::pod::Pod;
use crate::common::pods;
use crate::common::service::{find_port, hostname, pod_ips, protocol, publishes_not_ready, target_ref};

/// What makes an endpoint the same one in two slices: addresses, host name, and the pod's namespace and name.
pub(super) type Identity = (Vec<String>, Option<String>, Option<String>, Option<String>);

pub(super) fn identity(endpoint: &Endpoint) -> Identity {
    let mut addresses = endpoint.addresses.clone();
    addresses.sort();
    let target = endpoint.target_ref.as_ref();
    let hostname = endpoint.hostname.clone();
    (addresses, hostname, target.and_then(|t| t.namespace.clone()), target.and_then(|t| t.name.clone()))
}

pub(super) fn equal_beyond_identity(a: &Endpoint, b: &Endpoint) -> bool {
    let uid = |e: &Endpoint| e.target_ref.as_ref().and_then(|t| t.uid.clone());
    a.node_name == b.node_name && a.zone == b.zone && a.conditions == b.conditions && uid(a) == uid(b)
}

/// Slices hold endpoints of one set of ports; this orders such sets.
pub(super) type PortKey = Vec<(String, String, i32, Option<String>)>;

pub(super) fn port_key(ports: &[EndpointPort]) -> PortKey {
    let mut key: PortKey = ports
        .iter()
        .map(|p| {
            let protocol = p.protocol.clone().unwrap_or_else(|| "TCP".into());
            (p.name.clone().unwrap_or_default(), protocol, p.port.unwrap_or(0), p.app_protocol.clone())
        })
        .collect();
    key.sort();
    key
}

/// The Service's ports as numbers on this pod; those that the pod does not have are left out.
pub(super) fn endpoint_ports(spec: &ServiceSpec, pod: &Pod) -> Vec<EndpointPort> {
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(find_port(pod, port)?),
            protocol: Some(protocol(port).to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
    });
    ports.collect()
}

/// None when the pod has no address of the family.
pub(super) fn endpoint(
    pod: &Pod,
    zone: Option<String>,
    service: &Service,
    spec: &ServiceSpec,
    family: &str,
) -> Option<Endpoint> {
    let addresses: Vec<String> =
        pod_ips(pod).filter(|ip| matches!(ip, IpAddr::V6(_)) == (family == "IPv6")).map(|ip| ip.to_string()).collect();
    if addresses.is_empty() {
        return None;
    }
    let serving = pods::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let ready = publishes_not_ready(spec) || (serving && !terminating);
    let node = pods::node_name(pod);
    Some(Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        target_ref: Some(target_ref(pod)),
        node_name: (!node.is_empty()).then(|| node.to_owned()),
        zone: zone.filter(|z| !z.is_empty()),
        hostname: hostname(pod, service).cloned(),
        ..Default::default()
    })
}
