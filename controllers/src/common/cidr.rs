//! Ranges of addresses.
//!
//! Pure. A range is a number and a prefix length, so that IPv4 and IPv6 are one case.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range in CIDR notation; its address has no bits beyond the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    pub(crate) fn prefix(&self) -> u8 {
        self.prefix
    }

    pub(crate) fn is_ipv6(&self) -> bool {
        self.address.is_ipv6()
    }

    pub(crate) fn bits(&self) -> u8 {
        if self.is_ipv6() { 128 } else { 32 }
    }

    pub(crate) fn number(&self) -> u128 {
        match self.address {
            IpAddr::V4(ip) => u32::from(ip).into(),
            IpAddr::V6(ip) => ip.into(),
        }
    }

    pub(crate) fn of(number: u128, prefix: u8, is_ipv6: bool) -> Self {
        let address =
            if is_ipv6 { IpAddr::V6(Ipv6Addr::from(number)) } else { IpAddr::V4(Ipv4Addr::from(number as u32)) };
        Cidr { address, prefix }
    }

    /// The last address.
    pub(crate) fn end(&self) -> u128 {
        let host = u32::from(self.bits() - self.prefix);
        self.number() | 1u128.checked_shl(host).map_or(u128::MAX, |size| size - 1)
    }

    /// Whether an address is in both.
    pub(crate) fn overlaps(&self, other: &Cidr) -> bool {
        self.is_ipv6() == other.is_ipv6() && self.number() <= other.end() && other.number() <= self.end()
    }

    /// Whether all of the other is in this one.
    pub(crate) fn covers(&self, other: &Cidr) -> bool {
        self.overlaps(other) && self.prefix <= other.prefix
    }

    /// Whether a Service may have this address of it: the network's own is nobody's, nor is IPv4's broadcast address.
    pub(crate) fn serves(&self, address: IpAddr) -> bool {
        let single = Cidr { address, prefix: if address.is_ipv6() { 128 } else { 32 } };
        let outer = single.number() == self.number() || (!self.is_ipv6() && single.number() == self.end());
        self.covers(&single) && !outer
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("invalid CIDR address: {text}");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let given = Cidr { address, prefix: prefix.parse().map_err(|_| wrong())? };
        if given.prefix > given.bits() {
            return Err(wrong());
        }
        let host = u32::from(given.bits() - given.prefix);
        let number = (given.number().checked_shr(host).unwrap_or(0)).checked_shl(host).unwrap_or(0);
        Ok(Cidr::of(number, given.prefix, given.is_ipv6()))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let cidr = |text: &str| text.parse::<Cidr>().unwrap();
        assert_eq!(cidr("10.1.2.3/16").to_string(), "10.1.0.0/16");
        let rows = [
            ("10.0.0.0/8", "10.1.0.0/16", true, true),
            ("10.1.0.0/16", "10.0.0.0/8", true, false),
            ("10.1.0.0/16", "10.1.0.0/16", true, true),
            ("10.1.0.0/16", "10.2.0.0/16", false, false),
            ("0.0.0.0/0", "::/0", false, false),
            ("::/0", "fd00::/108", true, true),
        ];
        for (one, other, overlaps, covers) in rows {
            let (one, other) = (cidr(one), cidr(other));
            assert_eq!((one.overlaps(&other), one.covers(&other)), (overlaps, covers), "{one} {other}");
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
        for (range, address, serves) in rows {
            assert_eq!(cidr(range).serves(address.parse().unwrap()), serves, "{range} {address}");
        }
    }
}
