//! Address ranges, and sets of equal parts of one.
//!
//! Pure. A range is a number and a prefix length, so that IPv4 and IPv6 are one case.

use std::collections::BTreeSet;
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
    pub(crate) fn is_ipv6(&self) -> bool {
        self.address.is_ipv6()
    }

    fn bits(&self) -> u8 {
        if self.is_ipv6() { 128 } else { 32 }
    }

    fn number(&self) -> u128 {
        match self.address {
            IpAddr::V4(ip) => u32::from(ip).into(),
            IpAddr::V6(ip) => ip.into(),
        }
    }

    fn of(number: u128, prefix: u8, is_ipv6: bool) -> Self {
        let address =
            if is_ipv6 { IpAddr::V6(Ipv6Addr::from(number)) } else { IpAddr::V4(Ipv4Addr::from(number as u32)) };
        Cidr { address, prefix }
    }

    /// The last address.
    fn end(&self) -> u128 {
        let host = u32::from(self.bits() - self.prefix);
        self.number() | 1u128.checked_shl(host).map_or(u128::MAX, |size| size - 1)
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

/// A cluster range cut into parts of one size.
#[derive(Debug)]
pub(super) struct CidrSet {
    cluster: Cidr,
    part_prefix: u8,
    count: u64,
    used: BTreeSet<u64>,
    /// Parts that were freed are used again only after all others.
    next: u64,
}

impl CidrSet {
    pub(super) fn new(cluster: Cidr, part_prefix: u8) -> Result<Self, String> {
        if part_prefix < cluster.prefix || part_prefix > cluster.bits() {
            return Err(format!("the node CIDR mask size {part_prefix} does not fit the cluster CIDR {cluster}"));
        }
        let width = part_prefix - cluster.prefix;
        if width > 16 && cluster.is_ipv6() {
            return Err("New CIDR set failed; the node CIDR size is too big".to_owned());
        }
        Ok(CidrSet { cluster, part_prefix, count: 1 << width, used: BTreeSet::new(), next: 0 })
    }

    fn part(&self, index: u64) -> Cidr {
        let shift = u32::from(self.cluster.bits() - self.part_prefix);
        let offset = u128::from(index).checked_shl(shift).unwrap_or(0);
        Cidr::of(self.cluster.number() + offset, self.part_prefix, self.cluster.is_ipv6())
    }

    /// A part that nobody has, or None.
    pub(super) fn allocate(&mut self) -> Option<Cidr> {
        if self.used.len() as u64 >= self.count {
            return None;
        }
        let mut index = self.next;
        while self.used.contains(&index) {
            index = (index + 1) % self.count;
        }
        self.used.insert(index);
        self.next = (index + 1) % self.count;
        Some(self.part(index))
    }

    /// The parts that a range touches; None when it is another family's, or outside.
    fn touched(&self, range: Cidr) -> Option<std::ops::RangeInclusive<u64>> {
        let (first, last) = (range.number().max(self.cluster.number()), range.end().min(self.cluster.end()));
        if range.is_ipv6() != self.cluster.is_ipv6() || first > last {
            return None;
        }
        let shift = u32::from(self.cluster.bits() - self.part_prefix);
        let index = |number: u128| (number - self.cluster.number()).checked_shr(shift).unwrap_or(0) as u64;
        Some(index(first)..=index(last))
    }

    /// False when the range is not of this cluster range.
    pub(super) fn occupy(&mut self, range: Cidr) -> bool {
        let Some(parts) = self.touched(range) else { return false };
        self.used.extend(parts);
        true
    }

    pub(super) fn release(&mut self, range: Cidr) {
        for index in self.touched(range).into_iter().flatten() {
            self.used.remove(&index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(cluster: &str, prefix: u8) -> CidrSet {
        CidrSet::new(cluster.parse().unwrap(), prefix).unwrap()
    }

    fn take(set: &mut CidrSet) -> Option<String> {
        set.allocate().map(|c| c.to_string())
    }

    #[test]
    fn parts_come_in_order_and_are_reused_last() {
        let mut v4 = set("10.244.0.0/22", 24);
        assert!(v4.occupy("10.244.1.0/24".parse().unwrap()));
        assert_eq!(take(&mut v4).as_deref(), Some("10.244.0.0/24"));
        assert_eq!(take(&mut v4).as_deref(), Some("10.244.2.0/24"));
        v4.release("10.244.0.0/24".parse().unwrap());
        assert_eq!(take(&mut v4).as_deref(), Some("10.244.3.0/24"));
        assert_eq!(take(&mut v4).as_deref(), Some("10.244.0.0/24"));
        assert_eq!(take(&mut v4), None);
    }

    #[test]
    fn ranges_and_families() {
        let mut v4 = set("10.0.0.0/8", 16);
        assert!(v4.occupy("10.0.0.0/12".parse().unwrap()), "a Service range inside");
        assert_eq!(take(&mut v4).as_deref(), Some("10.16.0.0/16"));
        assert!(!v4.occupy("192.168.0.0/16".parse().unwrap()));
        assert!(!v4.occupy("fd00::/64".parse().unwrap()));
        let mut v6 = set("fd00:10::/56", 64);
        assert_eq!(take(&mut v6).as_deref(), Some("fd00:10::/64"));
        assert_eq!(take(&mut v6).as_deref(), Some("fd00:10:0:1::/64"));
        let mut one = set("10.1.1.0/24", 24);
        assert_eq!((take(&mut one).as_deref(), take(&mut one)), (Some("10.1.1.0/24"), None));
        assert!(CidrSet::new("10.0.0.0/24".parse().unwrap(), 16).is_err());
        assert!(CidrSet::new("fd00::/32".parse().unwrap(), 64).is_err());
        assert_eq!("10.1.2.3/16".parse::<Cidr>().unwrap().to_string(), "10.1.0.0/16");
    }
}
