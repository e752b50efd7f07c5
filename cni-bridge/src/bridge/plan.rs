//! What ADD does, decided before it is done: configuration and addresses in, steps out. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::conf::BridgeConf;
use crate::cni::Request;
use crate::cni::result::{CniResult, Route, is_ipv6};
use crate::packet_filter::{Backend, Family};

/// One change to the kernel. Names are links; a `Container…` step works in the container's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    EnsureBridge {
        name: String,
        mtu: u32,
        promiscuous: bool,
        vlan_filtering: bool,
    },
    /// Makes the pair with its host end a port of `bridge`, and sets the port's switches.
    AddVeth {
        bridge: String,
        container: String,
        mtu: u32,
        mac: Option<Vec<u8>>,
        hairpin: bool,
        isolated: bool,
    },
    /// VLAN tags of the pair's port: `access` untagged, `trunk` tagged; the bridge's default tag goes first.
    SetPortVlans {
        access: Option<u16>,
        trunk: Vec<u16>,
        keep_default: bool,
    },
    SpoofCheck,
    /// The gateway's own port for a VLAN: a veth pair with both ends on the host.
    EnsureVlanGateway {
        bridge: String,
        name: String,
        vlan: u16,
    },
    ContainerSysctl {
        key: String,
        value: &'static str,
        required: bool,
    },
    ContainerAddress {
        link: String,
        address: IpNet,
    },
    ContainerUp {
        link: String,
    },
    /// Waits until duplicate address detection let the IPv6 addresses go.
    ContainerSettle {
        link: String,
    },
    ContainerRoute {
        link: String,
        route: Route,
    },
    HostAddress {
        link: String,
        address: IpNet,
        force: bool,
    },
    HostSysctl {
        key: String,
        value: &'static str,
    },
    Masquerade {
        addresses: Vec<IpNet>,
        /// `None`: what the host has.
        backend: Option<Backend>,
    },
    WaitOperational,
}

/// The links, before an address is asked for.
pub(super) fn link_steps(conf: &BridgeConf, request: &Request) -> Vec<Step> {
    let mut steps = vec![
        Step::EnsureBridge {
            name: conf.bridge.clone(),
            mtu: conf.mtu,
            promiscuous: conf.promisc_mode,
            vlan_filtering: conf.vlan_filtering(),
        },
        Step::AddVeth {
            bridge: conf.bridge.clone(),
            container: request.ifname.clone(),
            mtu: conf.mtu,
            mac: conf.mac.clone(),
            hairpin: conf.hairpin_mode,
            isolated: conf.port_isolation,
        },
    ];
    if conf.vlan != 0 || !conf.trunk.is_empty() {
        // A trunk without an access VLAN keeps VLAN 1 as its native one, as configurations from before `vlan` expect.
        let access = u16::try_from(conf.vlan).ok().filter(|vlan| *vlan != 0).unwrap_or(1);
        steps.push(Step::SetPortVlans {
            access: Some(access),
            trunk: conf.trunk.clone(),
            keep_default: conf.preserve_default_vlan,
        });
    }
    if conf.macspoofchk {
        steps.push(Step::SpoofCheck);
    }
    steps
}

/// Fills in what the IPAM plugin left open: whose the addresses are, gateways, the default routes.
pub(super) fn complete(conf: &BridgeConf, result: &mut CniResult) {
    for at in 0..result.ips.len() {
        let ip = &mut result.ips[at];
        // Index of the container's interface among bridge, host end, container's end.
        ip.interface = Some(2);
        if ip.gateway.is_none() && conf.is_gateway {
            ip.gateway = first_address(&ip.address);
        }
        let (address, gateway) = (ip.address, ip.gateway);
        let default = default_route(&address);
        let has_default = result.routes.iter().any(|route| route.dst == default && route.gw.is_some());
        if conf.is_default_gateway && !has_default {
            result.routes.push(Route {
                dst: default,
                gw: gateway,
                mtu: None,
                advmss: None,
                priority: None,
                table: None,
                scope: None,
            });
        }
    }
}

/// Addresses, routes and rules.
pub(super) fn network_steps(conf: &BridgeConf, request: &Request, result: &CniResult) -> Vec<Step> {
    let mut steps = Vec::new();
    if conf.is_layer3() {
        container_steps(conf, &request.ifname, result, &mut steps);
        if conf.is_gateway {
            gateway_steps(conf, result, &mut steps);
        }
        if conf.ip_masq {
            steps.push(Step::Masquerade {
                addresses: result.ips.iter().map(|ip| ip.address).collect(),
                backend: conf.ip_masq_backend,
            });
        }
    } else if !conf.disable_container_interface {
        steps.push(Step::ContainerUp { link: request.ifname.clone() });
    }
    if !conf.disable_container_interface {
        steps.push(Step::WaitOperational);
    }
    steps
}

fn container_steps(conf: &BridgeConf, link: &str, result: &CniResult, steps: &mut Vec<Step>) {
    let sysctl = |key: String, value, required| Step::ContainerSysctl { key, value, required };
    let has_v6 = result.ips.iter().any(|ip| is_ipv6(&ip.address));
    if has_v6 {
        if conf.enable_dad {
            steps.push(sysctl(format!("net/ipv6/conf/{link}/enhanced_dad"), "1", false));
        }
        let accept_dad = if conf.enable_dad { "1" } else { "0" };
        steps.push(sysctl(format!("net/ipv6/conf/{link}/accept_dad"), accept_dad, false));
        for name in ["lo", link] {
            steps.push(sysctl(format!("net/ipv6/conf/{name}/disable_ipv6"), "0", true));
        }
        steps.push(sysctl(format!("net/ipv6/conf/{link}/keep_addr_on_down"), "1", true));
    }
    // An address that another container had a moment ago must not linger in the neighbours' tables.
    steps.push(sysctl(format!("net/ipv4/conf/{link}/arp_notify"), "1", false));
    for ip in &result.ips {
        steps.push(Step::ContainerAddress { link: link.to_string(), address: ip.address });
    }
    steps.push(Step::ContainerUp { link: link.to_string() });
    if has_v6 && conf.enable_dad {
        steps.push(Step::ContainerSettle { link: link.to_string() });
    }
    for route in &result.routes {
        let is_v6 = is_ipv6(&route.dst);
        let gateway = result.ips.iter().filter(|ip| is_ipv6(&ip.address) == is_v6).find_map(|ip| ip.gateway);
        let route = Route { gw: route.gw.or(gateway), ..route.clone() };
        steps.push(Step::ContainerRoute { link: link.to_string(), route });
    }
}

/// The bridge (or its VLAN's port) gets the gateway's address, and the host forwards.
fn gateway_steps(conf: &BridgeConf, result: &CniResult, steps: &mut Vec<Step>) {
    let mut link = conf.bridge.clone();
    if let Some(vlan) = u16::try_from(conf.vlan).ok().filter(|vlan| *vlan != 0) {
        link = format!("{}.{vlan}", conf.bridge);
        steps.push(Step::EnsureVlanGateway { bridge: conf.bridge.clone(), name: link.clone(), vlan });
    }
    for family in Family::ALL {
        let ours = result.ips.iter().filter(|ip| Family::of(ip.address.addr()) == family);
        let gateways: Vec<IpNet> =
            ours.filter_map(|ip| IpNet::new(ip.gateway?, ip.address.prefix_len()).ok()).collect();
        if gateways.is_empty() {
            continue;
        }
        let addresses = gateways.into_iter();
        steps.extend(addresses.map(|address| Step::HostAddress {
            link: link.clone(),
            address,
            force: conf.force_address,
        }));
        let key = match family {
            Family::V4 => "net/ipv4/ip_forward",
            Family::V6 => "net/ipv6/conf/all/forwarding",
        };
        steps.push(Step::HostSysctl { key: key.to_string(), value: "1" });
    }
}

fn first_address(net: &IpNet) -> Option<IpAddr> {
    match net {
        IpNet::V4(net) => u32::from(net.network()).checked_add(1).map(|ip| IpAddr::V4(Ipv4Addr::from(ip))),
        IpNet::V6(net) => u128::from(net.network()).checked_add(1).map(|ip| IpAddr::V6(Ipv6Addr::from(ip))),
    }
}

fn default_route(net: &IpNet) -> IpNet {
    match net {
        IpNet::V4(_) => IpNet::V4(Ipv4Net::default()),
        IpNet::V6(_) => IpNet::V6(Ipv6Net::default()),
    }
}

/// What to do with the gateway's address, given those that the link has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AddressChange {
    Keep,
    /// Remove these, then add it.
    Add {
        remove: Vec<IpNet>,
    },
    /// It would clash with this one.
    Refuse(IpNet),
}

/// A link holds one IPv4 address and any number of IPv6 ones whose subnets do not overlap; link-local ones are the
/// kernel's own.
pub(super) fn address_change(present: &[IpNet], wanted: IpNet, force: bool) -> AddressChange {
    if present.contains(&wanted) {
        return AddressChange::Keep;
    }
    let clashes: Vec<IpNet> = present
        .iter()
        .copied()
        .filter(|net| match (net, &wanted) {
            (IpNet::V4(_), IpNet::V4(_)) => true,
            (IpNet::V6(_), IpNet::V6(_)) => net.contains(&wanted.addr()) || wanted.contains(&net.addr()),
            _ => false,
        })
        .collect();
    match clashes.first() {
        Some(clash) if !force => AddressChange::Refuse(*clash),
        _ => AddressChange::Add { remove: clashes },
    }
}

#[cfg(test)]
mod tests;
