//! What the kernel's messages say, in our words. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{AfSpecBridge, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};

use super::{Link, RouteEntry};

pub(super) fn link_of(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        is_up: message.header.flags.contains(LinkFlags::Up),
        is_promiscuous: message.header.flags.contains(LinkFlags::Promisc),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name.clone(),
            LinkAttribute::Address(mac) => link.mac = mac.clone(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.controller = *index,
            LinkAttribute::Link(index) => link.peer = *index,
            LinkAttribute::OperState(state) => link.is_operational = *state == State::Up,
            LinkAttribute::Promiscuity(count) => link.is_promiscuous |= *count > 0,
            LinkAttribute::LinkInfo(infos) => link.kind = kind_of(infos),
            _ => {}
        }
    }
    link
}

fn kind_of(infos: &[LinkInfo]) -> String {
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match kind {
        Some(InfoKind::Bridge) => "bridge".to_string(),
        Some(InfoKind::Veth) => "veth".to_string(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

pub(super) fn vlan_ids(attribute: LinkAttribute) -> Vec<u16> {
    let LinkAttribute::AfSpecBridge(specs) = attribute else { return Vec::new() };
    let ids = specs.into_iter().filter_map(|spec| match spec {
        AfSpecBridge::VlanInfo(info) => Some(info.vid),
        _ => None,
    });
    ids.collect()
}

/// The wide flags attribute where the kernel sends one, else the header's.
pub(super) fn flags_of(message: &AddressMessage) -> AddressFlags {
    let wide = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    wide.unwrap_or_else(|| AddressFlags::from_bits_retain(u32::from(message.header.flags.bits())))
}

/// `IFA_LOCAL` is the address itself, `IFA_ADDRESS` on a point-to-point link the other end's.
pub(super) fn address_of(message: &AddressMessage) -> Option<IpNet> {
    let find = |pick: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
    let local = find(|attribute| if let AddressAttribute::Local(ip) = attribute { Some(*ip) } else { None });
    let address = find(|attribute| if let AddressAttribute::Address(ip) = attribute { Some(*ip) } else { None });
    IpNet::new(local.or(address)?, message.header.prefix_len).ok()
}

pub(super) fn route_of(message: &RouteMessage, is_v6: bool) -> Option<RouteEntry> {
    let unspecified = if is_v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let (mut destination, mut gateway, mut link) = (unspecified, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip_of(address)?,
            RouteAttribute::Gateway(address) => gateway = ip_of(address),
            RouteAttribute::Oif(index) => link = *index,
            _ => {}
        }
    }
    let dst = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
    Some(RouteEntry { dst, gateway, link })
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}
