//! The node's addresses.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, UdpSocket},
};

/// Why there is no address for this node.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("invalid value for --node-ip: {0:?}")]
    Invalid(String),
    #[error("no address of this machine can be told to others: it has no default route; give --node-ip")]
    None,
}

/// The addresses given by `--node-ip`, else the one that the default route leaves from, else the first of any
/// interface that is up and no loopback.
///
/// # Errors
/// A given address that is none; or no address at all.
pub fn of_node(given: &[String]) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for text in given.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        let address: IpAddr = text.parse().map_err(|_| Error::Invalid(text.to_owned()))?;
        if address.is_unspecified() {
            continue;
        }
        found.push(address.to_string());
    }
    if !found.is_empty() {
        return Ok(found);
    }
    by_route().or_else(first_of_interfaces).map(|address| vec![address.to_string()]).ok_or(Error::None)
}

/// The kernel picks the source address; nothing is sent. The target is a documentation address (RFC 5737).
fn by_route() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}

fn first_of_interfaces() -> Option<IpAddr> {
    let addresses = nix::ifaddrs::getifaddrs().ok()?;
    addresses
        .filter(|it| it.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP))
        .filter_map(|it| it.address?.as_sockaddr_in().map(|address| IpAddr::V4(address.ip())))
        .find(|address| !address.is_loopback())
}

/// The node's name: `--hostname-override`, else the host name; lower case.
pub fn node_name(given: Option<&str>) -> String {
    let name = given.map(str::to_owned);
    let name = name.unwrap_or_else(|| fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default());
    name.trim().to_lowercase()
}
