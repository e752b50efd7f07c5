//! Ranges of addresses, as `ipnet` has them: what is asked of them here.
//!
//! Pure. A range has no bits beyond its prefix when it was read by [`parse`].

use std::net::IpAddr;

use ipnet::IpNet;

/// In CIDR notation.
pub(crate) fn parse(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>().map(|range| range.trunc()).map_err(|_| format!("invalid CIDR address: {text}"))
}

pub(crate) fn is_ipv6(range: &IpNet) -> bool {
    matches!(range, IpNet::V6(_))
}

/// Whether an address is in both: then one is in the other.
pub(crate) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// Whether a Service may have this address of it: the network's own is nobody's, nor is IPv4's broadcast address.
pub(crate) fn serves(range: &IpNet, address: IpAddr) -> bool {
    let is_outer = address == range.network() || (!is_ipv6(range) && address == range.broadcast());
    range.contains(&address) && !is_outer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let range = |text: &str| parse(text).unwrap();
        assert_eq!(range("10.1.2.3/16").to_string(), "10.1.0.0/16");
        assert_eq!(parse("10.0.0.0/33").unwrap_err(), "invalid CIDR address: 10.0.0.0/33");
        let rows = [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.0.0.0/8", true),
            ("10.1.0.0/16", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.2.0.0/16", false),
            ("0.0.0.0/0", "::/0", false),
            ("::/0", "fd00::/108", true),
        ];
        for (one, other, overlaps) in rows {
            assert_eq!(overlap(&range(one), &range(other)), overlaps, "{one} {other}");
        }
        let rows = [
            ("10.0.0.0/24", "10.0.0.0", false),
            ("10.0.0.0/24", "10.0.0.1", true),
            ("10.0.0.0/24", "10.0.0.255", false),
            ("10.0.0.0/24", "10.0.1.1", false),
            ("10.0.0.1/32", "10.0.0.1", false),
            ("fd00::/120", "fd00::", false),
            ("fd00::/120", "fd00::ff", true),
            ("fd00::/120", "10.0.0.1", false),
        ];
        for (one, address, expected) in rows {
            assert_eq!(serves(&range(one), address.parse().unwrap()), expected, "{one} {address}");
        }
    }
}
