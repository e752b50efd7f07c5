//! One range of cluster addresses: which address is free, and the IPAddress object that claims it.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use machinery::meta;
use serde_json::{Value, json};

/// A CIDR of which the first address is the network and, in IPv4, the last the broadcast: neither is given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRange(IpNet);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid CIDR address: {0}")]
pub struct Malformed(pub String);

impl AddressRange {
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let range = text.trim().parse::<IpNet>().map_err(|_| Malformed(text.to_owned()))?;
        Ok(Self(range.trunc()))
    }

    pub fn family(&self) -> &'static str {
        super::family_of(&self.0.addr())
    }

    pub fn contains(&self, address: &IpAddr) -> bool {
        self.0.contains(address)
    }

    /// Whether a Service can have it.
    pub fn gives(&self, address: &IpAddr) -> bool {
        let is_broadcast = address.is_ipv4() && *address == self.0.broadcast();
        self.contains(address) && *address != self.0.network() && !is_broadcast
    }

    /// How many bits vary.
    fn host_bits(&self) -> u8 {
        self.0.max_prefix_len() - self.0.prefix_len()
    }

    /// The address at an offset from the network's; `None` when that is outside.
    pub fn nth(&self, offset: u64) -> Option<IpAddr> {
        let address = match self.0.addr() {
            IpAddr::V4(first) => IpAddr::V4(first.to_bits().checked_add(offset.try_into().ok()?)?.into()),
            IpAddr::V6(first) => IpAddr::V6(first.to_bits().checked_add(offset.into())?.into()),
        };
        self.contains(&address).then_some(address)
    }

    /// How many addresses can be given out.
    fn size(&self) -> u64 {
        let all = if self.host_bits() >= 63 { u64::MAX >> 1 } else { 1u64 << self.host_bits() };
        all.saturating_sub(if self.0.addr().is_ipv4() { 2 } else { 1 })
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
        write!(f, "{}", self.0)
    }
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
        let given = |range: &str, address: &str| AddressRange::parse(range).unwrap().gives(&address.parse().unwrap());
        assert!(
            given("fd00::/108", "fd00::5") && given("fd00::/108", "fd00::f:ffff") && !given("fd00::/108", "fd00::")
        );
        assert!(given("10.0.0.0/24", "10.0.0.254"));
        assert!(!given("10.0.0.0/24", "10.0.0.0") && !given("10.0.0.0/24", "10.0.0.255"));
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
