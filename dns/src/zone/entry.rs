//! What one Service gives to the zone, from the Service and its EndpointSlices. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice};

/// A Service by the kind of its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// With virtual addresses.
    Cluster { addresses: Vec<IpAddr>, ports: Vec<Port> },
    /// Without: its endpoints stand for it.
    Headless { endpoints: Vec<Endpoint> },
    /// Another name's other name.
    External { target: Name },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Empty for the only port of a Service, which then has no SRV name of its own.
    pub(crate) name: String,
    /// `tcp`, `udp` or `sctp`.
    pub(crate) protocol: String,
    pub(crate) number: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The label before the Service's name: the pod's `hostname`, or else made of the address.
    pub(crate) host: String,
    pub(crate) address: IpAddr,
    pub(crate) ports: Vec<Port>,
}

/// The Service's entry. `None` while it has no address yet, or a name to lead to that is none.
pub(crate) fn entry(service: &Service, slices: &[Arc<EndpointSlice>]) -> Option<Entry> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        let mut target = Name::from_ascii(spec.external_name.as_deref()?).ok()?;
        target.set_fqdn(true);
        return Some(Entry::External { target });
    }
    let texts = || spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    if texts().any(|text| text == "None") {
        return Some(Entry::Headless { endpoints: endpoints(slices) });
    }
    let mut addresses: Vec<IpAddr> = texts().filter_map(|text| text.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    (!addresses.is_empty()).then(|| Entry::Cluster { addresses, ports: ports(spec) })
}

fn ports(spec: &ServiceSpec) -> Vec<Port> {
    let convert = |port: &k8s_openapi::api::core::v1::ServicePort| port_of(&port.name, &port.protocol, Some(port.port));
    spec.ports.iter().flatten().filter_map(convert).collect()
}

fn port_of(name: &Option<String>, protocol: &Option<String>, number: Option<i32>) -> Option<Port> {
    Some(Port {
        name: name.as_deref().unwrap_or_default().to_lowercase(),
        protocol: protocol.as_deref().unwrap_or("TCP").to_lowercase(),
        number: u16::try_from(number?).ok()?,
    })
}

/// Each address once under each name, with the ports of all slices that it stands in. Ready ones only; the controller
/// calls all ready for a Service that publishes addresses that are not.
fn endpoints(slices: &[Arc<EndpointSlice>]) -> Vec<Endpoint> {
    let mut found: BTreeMap<(String, IpAddr), Vec<Port>> = BTreeMap::new();
    for slice in slices {
        let slice_ports = slice.ports.iter().flatten();
        let ports: Vec<Port> = slice_ports.filter_map(|port| port_of(&port.name, &port.protocol, port.port)).collect();
        for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| is_ready(endpoint)) {
            for address in endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok()) {
                let host = match &endpoint.hostname {
                    Some(hostname) if !hostname.is_empty() => hostname.to_lowercase(),
                    _ => dashed(address),
                };
                let known = found.entry((host, address)).or_default();
                known.extend(ports.iter().filter(|port| !known.contains(port)).cloned().collect::<Vec<_>>());
            }
        }
    }
    found.into_iter().map(|((host, address), ports)| Endpoint { host, address, ports }).collect()
}

/// EndpointSlice: a condition that is not given counts as true.
fn is_ready(endpoint: &ApiEndpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

/// An address as one label, as in pods' names: `10-1-0-7`, `fd00--7`.
pub(super) fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}
