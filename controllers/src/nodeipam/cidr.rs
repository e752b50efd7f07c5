//! A cluster's range as a set of equal parts.
//!
//! Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::common::ranges::is_ipv6;

/// A cluster range cut into parts of one size.
#[derive(Debug)]
pub(super) struct CidrSet {
    cluster: IpNet,
    part_prefix: u8,
    count: u64,
    used: BTreeSet<u64>,
    /// Parts that were freed are used again only after all others.
    next: u64,
}

impl CidrSet {
    pub(super) fn new(cluster: IpNet, part_prefix: u8) -> Result<Self, String> {
        if part_prefix < cluster.prefix_len() || part_prefix > cluster.max_prefix_len() {
            return Err(format!("the node CIDR mask size {part_prefix} does not fit the cluster CIDR {cluster}"));
        }
        let width = part_prefix - cluster.prefix_len();
        if width > 16 && is_ipv6(&cluster) {
            return Err("New CIDR set failed; the node CIDR size is too big".to_owned());
        }
        Ok(CidrSet { cluster, part_prefix, count: 1 << width, used: BTreeSet::new(), next: 0 })
    }

    fn part(&self, index: u64) -> IpNet {
        let offset = u128::from(index).checked_shl(self.part_bits()).unwrap_or(0);
        let first = number(self.cluster.network()) + offset;
        let address = match self.cluster {
            IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from(first as u32)),
            IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from(first)),
        };
        IpNet::new_assert(address, self.part_prefix)
    }

    /// How many bits count addresses within a part.
    fn part_bits(&self) -> u32 {
        u32::from(self.cluster.max_prefix_len() - self.part_prefix)
    }

    /// A part that nobody has, or None.
    pub(super) fn allocate(&mut self) -> Option<IpNet> {
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
    fn touched(&self, range: IpNet) -> Option<std::ops::RangeInclusive<u64>> {
        let inner = if self.cluster.contains(&range) { range } else { self.cluster };
        if !range.contains(&inner) {
            return None;
        }
        let base = number(self.cluster.network());
        let index = |address| (number(address) - base).checked_shr(self.part_bits()).unwrap_or(0) as u64;
        Some(index(inner.network())..=index(inner.broadcast()))
    }

    /// False when the range is not of this cluster range.
    pub(super) fn occupy(&mut self, range: IpNet) -> bool {
        let Some(parts) = self.touched(range) else { return false };
        self.used.extend(parts);
        true
    }

    pub(super) fn release(&mut self, range: IpNet) {
        for index in self.touched(range).into_iter().flatten() {
            self.used.remove(&index);
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
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
        assert!(v4.occupy("0.0.0.0/0".parse().unwrap()) && take(&mut v4).is_none(), "all of it and more");
        let mut v6 = set("fd00:10::/56", 64);
        assert_eq!(take(&mut v6).as_deref(), Some("fd00:10::/64"));
        assert_eq!(take(&mut v6).as_deref(), Some("fd00:10:0:1::/64"));
        let mut one = set("10.1.1.0/24", 24);
        assert_eq!((take(&mut one).as_deref(), take(&mut one)), (Some("10.1.1.0/24"), None));
        assert!(CidrSet::new("10.0.0.0/24".parse().unwrap(), 16).is_err());
        assert!(CidrSet::new("fd00::/32".parse().unwrap(), 64).is_err());
    }
}
