//! The address this machine is reached by: that of the device with the default route, as upstream's kubelet picks it; and
//! how long packets of a device may be.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, bail};

/// Reads the kernel's routing table; the error says which flag to give where no default route exists.
pub(crate) fn of_default_route() -> Result<IpAddr> {
    let table = std::fs::read_to_string("/proc/net/route").context("read /proc/net/route")?;
    let Some(device) = default_device(&table) else {
        bail!("there is no default route to tell this machine's address by: give it with --node-ip");
    };
    for interface in nix::ifaddrs::getifaddrs().context("list the network devices")? {
        let address = interface.address.as_ref().and_then(|address| address.as_sockaddr_in());
        if let Some(address) = address.filter(|_| interface.interface_name == device) {
            return Ok(IpAddr::V4(address.ip()));
        }
    }
    bail!("{device} has the default route but no IPv4 address: give this machine's address with --node-ip")
}

/// The longest packet that the device with this address takes.
pub(crate) fn mtu_of(address: IpAddr) -> Result<u32> {
    let mut interfaces = nix::ifaddrs::getifaddrs().context("list the network devices")?;
    let has = |interface: &nix::ifaddrs::InterfaceAddress| {
        let address = interface.address.as_ref();
        let v4 = address.and_then(|it| it.as_sockaddr_in()).map(|it| IpAddr::V4(it.ip()));
        v4.or_else(|| address.and_then(|it| it.as_sockaddr_in6()).map(|it| IpAddr::V6(it.ip())))
    };
    let device = interfaces.find(|interface| has(interface) == Some(address));
    let device = device.with_context(|| format!("no device has this node's address {address}"))?.interface_name;
    let path = format!("/sys/class/net/{device}/mtu");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    text.trim().parse().with_context(|| format!("{path} holds no number"))
}

/// The device of the default route with the lowest metric. Columns: Iface Destination Gateway Flags … Metric Mask, the
/// addresses in hexadecimal.
fn default_device(table: &str) -> Option<String> {
    const UP: u32 = 1;
    let routes = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (device, destination, mask) = (columns.first()?, columns.get(1)?, columns.get(7)?);
        let flags = u32::from_str_radix(columns.get(3)?, 16).ok()?;
        let metric: u32 = columns.get(6)?.parse().ok()?;
        let unspecified =
            |hex: &str| u32::from_str_radix(hex, 16).is_ok_and(|bits| Ipv4Addr::from(bits).is_unspecified());
        (unspecified(destination) && unspecified(mask) && flags & UP != 0).then(|| (metric, (*device).to_owned()))
    });
    routes.min().map(|(_, device)| device)
}

#[cfg(test)]
mod tests {
    use super::default_device;

    const HEADING: &str = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";

    #[test]
    fn the_default_route_of_lowest_metric_wins() {
        let cases = [
            ("", None),
            ("eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n", None),
            (
                "eth0 00000000 010200C0 0003 0 0 100 00000000 0 0 0\nwlan0 00000000 01 0003 0 0 50 00000000 0 0 0\n",
                Some("wlan0"),
            ),
            ("down0 00000000 010200C0 0002 0 0 0 00000000 0 0 0\n", None),
        ];
        for (routes, expected) in cases {
            assert_eq!(default_device(&format!("{HEADING}{routes}")).as_deref(), expected, "{routes}");
        }
    }
}
