//! The records that stand at a place of the zone. Pure.

use std::net::IpAddr;

use hickory_proto::rr::rdata::{A, AAAA, NS, SRV, TXT};
use hickory_proto::rr::{Name, RData, RecordType};

use super::labels_below;
use crate::zone::{Endpoint, Entry, Place, Zone};

/// Told each address that a record's target has, for the additional section.
type Additional<'a> = &'a mut dyn FnMut(Name, IpAddr);

/// The records of one type at a place that `owner` names. An ExternalName has none: it is another name's name.
pub(super) fn at(
    place: &Place<'_>,
    kind: RecordType,
    owner: &Name,
    zone: &Zone,
    additional: Additional<'_>,
) -> Vec<RData> {
    match (place, kind) {
        (_, RecordType::SRV) | (Place::Port(_) | Place::EndpointPorts(_), RecordType::ANY) => {
            services(place, owner, zone, additional)
        }
        (Place::Apex, RecordType::NS) => {
            let Some(name) = zone.name(&["ns", "dns"]) else { return Vec::new() };
            zone.servers.iter().for_each(|address| additional(name.clone(), *address));
            vec![RData::NS(NS(name))]
        }
        (Place::Version, RecordType::TXT) => vec![RData::TXT(TXT::new(vec!["1.1.0".to_owned()]))],
        (Place::Server, _) => addresses(kind, zone.servers.iter()),
        (Place::Pod(address), _) => addresses(kind, [address]),
        (Place::Endpoints(endpoints), _) => addresses(kind, endpoints.iter().map(|endpoint| &endpoint.address)),
        (Place::Service(Entry::Cluster { addresses: all, .. }), _) => addresses(kind, all),
        (Place::Service(Entry::Headless { endpoints }), _) => {
            let mut all: Vec<IpAddr> = endpoints.iter().map(|endpoint| endpoint.address).collect();
            all.sort_unstable();
            all.dedup();
            addresses(kind, &all)
        }
        _ => Vec::new(),
    }
}

/// SRV. A Service's own name has those of all its ports, and an endpoint's name those of its own: programs that look
/// for their peers ask so, and CoreDNS answers it.
fn services(place: &Place<'_>, owner: &Name, zone: &Zone, additional: Additional<'_>) -> Vec<RData> {
    match place {
        Place::Service(Entry::Cluster { addresses, ports }) => {
            addresses.iter().for_each(|address| additional(owner.clone(), *address));
            let weight = weight(ports.len());
            ports.iter().map(|port| srv(weight, port.number, owner.clone())).collect()
        }
        Place::Port(port) => {
            let service = above_port(owner);
            cluster_addresses(zone, &service).iter().for_each(|address| additional(service.clone(), *address));
            vec![srv(weight(1), port.number, service)]
        }
        Place::Service(Entry::Headless { endpoints }) => {
            let pairs =
                endpoints.iter().flat_map(|endpoint| endpoint.ports.iter().map(move |port| (endpoint, port.number)));
            of_endpoints(pairs.collect(), owner, additional)
        }
        Place::EndpointPorts(pairs) => {
            let pairs = pairs.iter().map(|(endpoint, port)| (*endpoint, port.number));
            of_endpoints(pairs.collect(), &above_port(owner), additional)
        }
        Place::Endpoints(endpoints) => {
            let pairs =
                endpoints.iter().flat_map(|endpoint| endpoint.ports.iter().map(move |port| (*endpoint, port.number)));
            of_endpoints(pairs.collect(), &owner.base_name(), additional)
        }
        _ => Vec::new(),
    }
}

/// One record an endpoint and port; its target is the endpoint's own name below the Service's.
fn of_endpoints(pairs: Vec<(&Endpoint, u16)>, service: &Name, additional: Additional<'_>) -> Vec<RData> {
    let weight = weight(pairs.len());
    let mut records = Vec::new();
    for (endpoint, port) in pairs {
        let Ok(name) = service.prepend_label(endpoint.host.as_bytes()) else { continue };
        let data = srv(weight, port, name.clone());
        if !records.contains(&data) {
            records.push(data);
        }
        additional(name, endpoint.address);
    }
    records
}

/// The Service's name in `_port._protocol.<Service's name>`.
fn above_port(owner: &Name) -> Name {
    owner.base_name().base_name()
}

fn cluster_addresses<'z>(zone: &'z Zone, service: &Name) -> &'z [IpAddr] {
    let lower = service.to_lowercase();
    match labels_below(&lower, &zone.origin).map(|labels| zone.at(&labels)) {
        Some(Place::Service(Entry::Cluster { addresses, .. })) => addresses,
        _ => &[],
    }
}

fn addresses<'a>(kind: RecordType, all: impl IntoIterator<Item = &'a IpAddr>) -> Vec<RData> {
    let is_wanted = |address: &&IpAddr| match kind {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        // RFC 8482: some of what is there is enough.
        RecordType::ANY => true,
        _ => false,
    };
    all.into_iter().filter(is_wanted).map(|one| address(*one)).collect()
}

pub(super) fn address(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

fn srv(weight: u16, port: u16, target: Name) -> RData {
    RData::SRV(SRV::new(0, weight, port, target))
}

/// Shares of a hundred, as CoreDNS gives them.
fn weight(count: usize) -> u16 {
    u16::try_from(100 / count.max(1)).unwrap_or(1).max(1)
}
