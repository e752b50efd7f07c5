//! A Service's ports, flattened: one value a port and family.
//!
//! Rules: Service, "Virtual IPs and service proxies" in the Kubernetes documentation. Headless and ExternalName
//! Services have no virtual address and give nothing.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Family;
use crate::objects::{Service, ServicePort as ApiPort, ServiceSpec};

/// One port of a Service in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServicePort {
    /// `namespace/name:port`, or `namespace/name` for a port without a name: in comments and chain hashes.
    pub(crate) name: String,
    pub(crate) port_name: String,
    /// `tcp`, `udp` or `sctp`.
    pub(crate) protocol: String,
    pub(crate) cluster_ip: IpAddr,
    pub(crate) port: u16,
    /// 0: none.
    pub(crate) node_port: u16,
    pub(crate) external_ips: Vec<IpAddr>,
    pub(crate) load_balancer_ips: Vec<IpAddr>,
    /// Empty: everyone.
    pub(crate) load_balancer_source_ranges: Vec<IpNet>,
    /// Session affinity by client address, and for how long.
    pub(crate) affinity_seconds: Option<u32>,
    /// 0: none.
    pub(crate) health_check_node_port: u16,
    pub(crate) external_policy_local: bool,
    pub(crate) internal_policy_local: bool,
}

impl ServicePort {
    /// By anything else than its cluster address.
    pub(crate) fn is_externally_accessible(&self) -> bool {
        self.node_port != 0 || !self.load_balancer_ips.is_empty() || !self.external_ips.is_empty()
    }

    /// Whether traffic may ever go to endpoints anywhere. Under an external policy of `Local` too: the node's own
    /// traffic and pods' go as if there were no policy.
    pub(crate) fn uses_cluster_endpoints(&self) -> bool {
        !self.internal_policy_local || self.is_externally_accessible()
    }

    pub(crate) fn uses_local_endpoints(&self) -> bool {
        self.internal_policy_local || (self.external_policy_local && self.is_externally_accessible())
    }
}

/// The ports of a Service in a family; empty when it has no address there.
pub(crate) fn service_ports(service: &Service, family: Family) -> Vec<ServicePort> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let Some(cluster_ip) = cluster_ip(spec, family) else { return Vec::new() };
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let ports = spec.ports.iter().flatten();
    ports.map(|port| service_port(service, spec, family, cluster_ip, &format!("{namespace}/{name}"), port)).collect()
}

fn cluster_ip(spec: &ServiceSpec, family: Family) -> Option<IpAddr> {
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    all.filter_map(|text| text.parse().ok()).find(|ip| Family::of(*ip) == family)
}

fn service_port(
    service: &Service,
    spec: &ServiceSpec,
    family: Family,
    cluster_ip: IpAddr,
    full_name: &str,
    port: &ApiPort,
) -> ServicePort {
    let port_name = port.name.clone().unwrap_or_default();
    let external_policy_local = is_external_policy_local(spec);
    let is_load_balancer = spec.type_.as_deref() == Some("LoadBalancer");
    ServicePort {
        name: if port_name.is_empty() { full_name.to_string() } else { format!("{full_name}:{port_name}") },
        port_name,
        protocol: port.protocol.as_deref().unwrap_or("TCP").to_lowercase(),
        cluster_ip,
        port: number(port.port),
        node_port: port.node_port.map(number).unwrap_or_default(),
        external_ips: of_family(spec.external_ips.iter().flatten(), family),
        load_balancer_ips: load_balancer_ips(service, family),
        load_balancer_source_ranges: source_ranges(spec, family),
        affinity_seconds: affinity_seconds(spec),
        health_check_node_port: match spec.health_check_node_port {
            Some(port) if is_load_balancer && external_policy_local => number(port),
            _ => 0,
        },
        external_policy_local,
        internal_policy_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
    }
}

fn is_external_policy_local(spec: &ServiceSpec) -> bool {
    let is_reachable = match spec.type_.as_deref() {
        Some("LoadBalancer" | "NodePort") => true,
        _ => spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty()),
    };
    is_reachable && spec.external_traffic_policy.as_deref() == Some("Local")
}

/// Addresses that a balancer delivers to nodes unchanged (`ipMode: VIP`, the default). Those in mode `Proxy` must not
/// be caught here: the balancer wants to see that traffic itself.
fn load_balancer_ips(service: &Service, family: Family) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    let vips = ingress.filter(|entry| entry.ip_mode.as_deref().is_none_or(|mode| mode == "VIP"));
    of_family(vips.filter_map(|entry| entry.ip.as_ref()), family)
}

/// A range that holds everyone is as good as none. Validation lets blanks around a range pass.
fn source_ranges(spec: &ServiceSpec, family: Family) -> Vec<IpNet> {
    let texts = spec.load_balancer_source_ranges.iter().flatten();
    let ranges = texts.filter_map(|text| text.trim().parse::<IpNet>().ok());
    let ranges: Vec<IpNet> = ranges.filter(|net| Family::of(net.addr()) == family).map(|net| net.trunc()).collect();
    if ranges.iter().any(|net| net.prefix_len() == 0) { Vec::new() } else { ranges }
}

fn affinity_seconds(spec: &ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|config| config.timeout_seconds);
    Some(seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(10800))
}

fn of_family<'a>(texts: impl Iterator<Item = &'a String>, family: Family) -> Vec<IpAddr> {
    texts.filter_map(|text| text.parse().ok()).filter(|ip| Family::of(*ip) == family).collect()
}

fn number(port: i32) -> u16 {
    u16::try_from(port).unwrap_or_default()
}
