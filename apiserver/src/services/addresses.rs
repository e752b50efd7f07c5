//! One range of cluster addresses: which address is free, and the IPAddress object that claims it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use machinery::meta;
use serde_json::{Value, json};

/// A CIDR of which the first address is the network and, in IPv4, the last the broadcast: neither is given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: u128,
    /// How many bits vary, at most 64 of them used.
    host_bits: u32,
    is_v4: bool,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid CIDR address: {0}")]
pub struct Malformed(pub String);

impl AddressRange {
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed(text.to_owned());
        let (address, bits) = text.trim().split_once('/').ok_or_else(malformed)?;
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let bits: u32 = bits.parse().map_err(|_| malformed())?;
        let (value, width) = number(&address);
        if bits > width {
            return Err(malformed());
        }
        let host_bits = width - bits;
        let mask = if host_bits >= 128 { 0 } else { u128::MAX << host_bits };
        Ok(Self { first: value & mask, host_bits, is_v4: address.is_ipv4() })
    }

    pub fn family(&self) -> &'static str {
        if self.is_v4 { "IPv4" } else { "IPv6" }
    }

    pub fn contains(&self, address: &IpAddr) -> bool {
        let (value, _) = number(address);
        address.is_ipv4() == self.is_v4 && (value.wrapping_sub(self.first)) >> self.host_bits.min(127) == 0
    }

    /// The address at an offset from the network's; `None` when that is outside.
    pub fn nth(&self, offset: u64) -> Option<IpAddr> {
        (u128::from(offset) < (1u128 << self.host_bits.min(64)))
            .then(|| address(self.first + u128::from(offset), self.is_v4))
    }

    /// How many addresses can be given out.
    fn size(&self) -> u64 {
        let all = if self.host_bits >= 63 { u64::MAX >> 1 } else { 1u64 << self.host_bits };
        all.saturating_sub(if self.is_v4 { 2 } else { 1 })
    }

    /// The lower part is left for addresses that people choose, as long as the upper has a free one.
    fn reserved(&self) -> u64 {
        let size = self.size();
        if size <= 16 { 0 } else { (size / 16).clamp(16, 256) }
    }

    /// A free address, looked for from a random place in the upper part, then in the lower.
    pub fn choose(&self, random: u64, is_free: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
        let (size, reserved) = (self.size(), self.reserved());
        let upper = size.saturating_sub(reserved);
        let begin = if upper == 0 { 0 } else { random % upper };
        let upper = (0..upper).map(|step| reserved + 1 + (begin + step) % upper);
        upper.chain(1..=reserved).filter_map(|offset| self.nth(offset)).find(is_free)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = if self.is_v4 { 32 } else { 128 };
        write!(f, "{}/{}", address(self.first, self.is_v4), width - self.host_bits)
    }
}

fn number(address: &IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(*address)), 32),
        IpAddr::V6(address) => (u128::from(*address), 128),
    }
}

fn address(value: u128, is_v4: bool) -> IpAddr {
    // An IPv4 range never leaves 32 bits.
    if is_v4 { Ipv4Addr::from(value as u32).into() } else { Ipv6Addr::from(value).into() }
}

/// The object that says whose an address is.
pub fn object(service: &Value, address: &IpAddr, uid: &str, now: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {
            "name": address.to_string(), "uid": uid, "creationTimestamp": now,
            "labels": {
                "ipaddress.kubernetes.io/ip-family": super::family_of(address),
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {
            "resource": "services", "namespace": meta::namespace(service), "name": meta::name(service),
        }},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_addresses() {
        let range = AddressRange::parse("10.96.0.0/12").unwrap();
        assert_eq!(range.nth(1).unwrap().to_string(), "10.96.0.1");
        assert!(range.contains(&"10.111.255.255".parse().unwrap()));
        assert!(!range.contains(&"10.112.0.0".parse().unwrap()) && !range.contains(&"::1".parse().unwrap()));
        assert_eq!(range.to_string(), "10.96.0.0/12");
        assert!(AddressRange::parse("10.0.0.0/33").is_err() && AddressRange::parse("x").is_err());
        assert!(AddressRange::parse("fd00::/108").unwrap().contains(&"fd00::5".parse().unwrap()));
    }

    #[test]
    fn gives_every_address_once() {
        let range = AddressRange::parse("10.0.0.0/27").unwrap();
        let mut taken: Vec<IpAddr> = Vec::new();
        while let Some(found) = range.choose(7, |address| !taken.contains(address)) {
            taken.push(found);
        }
        taken.sort();
        taken.dedup();
        assert_eq!(taken.len(), 30);
        assert_eq!(taken[0].to_string(), "10.0.0.1");
    }
}
