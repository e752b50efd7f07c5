//! This host's addresses: which of them are served, and word when they change.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram as StdDatagram;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
use tokio::net::UnixDatagram;

use crate::iptables::NodePorts;
use crate::model::Family;

/// The family's own, or those of this host that are in the ranges.
pub(super) fn served(family: Family, node_ports: &NodePorts) -> io::Result<Vec<IpAddr>> {
    let NodePorts::Ranges(ranges) = node_ports else {
        return Ok(vec![match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }]);
    };
    let present = getifaddrs()?.filter_map(|link| {
        let address = link.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
    });
    let is_served = |ip: &IpAddr| Family::of(*ip) == family && ranges.iter().any(|range| range.contains(ip));
    Ok(present.filter(is_served).collect::<BTreeSet<IpAddr>>().into_iter().collect())
}

/// `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR`: the kernel's messages about addresses that come and go.
const GROUPS: u32 = 0x10 | 0x100;

/// Word of addresses that come and go. Netlink's sockets are read as any local ones are: only the opening differs.
pub(crate) struct Watch(UnixDatagram);

impl Watch {
    /// Must be called on a runtime.
    pub(crate) fn new() -> io::Result<Watch> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Watch(UnixDatagram::from_std(StdDatagram::from(socket))?))
    }

    /// Waits for a change since the last call; all that is queued counts as one. Cancel safe.
    pub(crate) async fn changed(&self) {
        let mut buffer = [0; 4096];
        // A queue that ran over is an error, and a change like any other.
        let _ = self.0.recv(&mut buffer).await;
        while self.0.try_recv(&mut buffer).is_ok() {}
    }
}
