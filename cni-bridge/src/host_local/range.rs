//! Ranges of addresses and sets of them, with upstream's rules for what is left out. Pure.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

/// A range as configured.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RangeConf {
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
    pub(super) subnet: Option<IpNet>,
    gateway: Option<IpAddr>,
}

/// A range with nothing left out; both ends are inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: IpAddr,
    pub(super) end: IpAddr,
    pub(super) subnet: IpNet,
    pub(super) gateway: IpAddr,
}

impl RangeConf {
    /// Fills in what is left out: the gateway is the subnet's first address, the range all but the network and (IPv4)
    /// broadcast address.
    pub(super) fn complete(&self) -> Result<Range, String> {
        let subnet = self.subnet.ok_or("IP range has no subnet")?;
        if subnet.prefix_len() > subnet.max_prefix_len() - 2 {
            return Err(format!("Network {subnet} too small to allocate from"));
        }
        if subnet.addr() != subnet.network() {
            return Err(format!(
                "Network has host bits set. For a subnet mask of length {} the network address is {}",
                subnet.prefix_len(),
                subnet.network()
            ));
        }
        let first = offset(subnet.network(), 1).ok_or("subnet has no first address")?;
        let last = match subnet {
            IpNet::V4(net) => IpAddr::V4((u32::from(net.broadcast()) - 1).into()),
            IpNet::V6(net) => IpAddr::V6(net.broadcast()),
        };
        let inside = |what: &str, ip: Option<IpAddr>, default: IpAddr| match ip {
            Some(ip) if !subnet.contains(&ip) => Err(format!("{what} {ip} not in network {subnet}")),
            other => Ok(other.unwrap_or(default)),
        };
        let start = inside("RangeStart", self.range_start, first)?;
        let end = inside("RangeEnd", self.range_end, last)?;
        if start > end {
            return Err(format!("RangeStart {start} is behind RangeEnd {end}"));
        }
        Ok(Range { start, end, subnet, gateway: self.gateway.unwrap_or(first) })
    }
}

impl Range {
    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        self.subnet.contains(&ip) && self.start <= ip && ip <= self.end
    }

    fn overlaps(&self, other: &Range) -> bool {
        self.start.is_ipv4() == other.start.is_ipv4() && self.start <= other.end && other.start <= self.end
    }
}

impl fmt::Display for Range {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.start, self.end)
    }
}

/// Ranges of one family that together give one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RangeSet(pub(super) Vec<Range>);

impl RangeSet {
    pub(super) fn complete(confs: &[RangeConf]) -> Result<RangeSet, String> {
        let ranges: Vec<Range> = confs.iter().map(RangeConf::complete).collect::<Result<_, _>>()?;
        let Some(first) = ranges.first() else { return Err("empty range set".to_string()) };
        if ranges.iter().any(|range| range.start.is_ipv4() != first.start.is_ipv4()) {
            return Err("mixed address families".to_string());
        }
        for (at, range) in ranges.iter().enumerate() {
            if let Some(other) = ranges[at + 1..].iter().find(|other| range.overlaps(other)) {
                return Err(format!("subnets {range} and {other} overlap"));
            }
        }
        Ok(RangeSet(ranges))
    }

    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        self.range_for(ip).is_some()
    }

    pub(super) fn range_for(&self, ip: IpAddr) -> Option<&Range> {
        self.0.iter().find(|range| range.contains(ip))
    }

    pub(super) fn overlaps(&self, other: &RangeSet) -> bool {
        self.0.iter().any(|range| other.0.iter().any(|theirs| range.overlaps(theirs)))
    }

    pub(super) fn is_ipv4(&self) -> bool {
        self.0.first().is_some_and(|range| range.start.is_ipv4())
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        out.write_str(&texts.join(","))
    }
}

/// The address `by` further on; `None` past the family's end.
pub(super) fn offset(ip: IpAddr, by: u128) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => Some(IpAddr::V4(u32::from(ip).checked_add(u32::try_from(by).ok()?)?.into())),
        IpAddr::V6(ip) => Some(IpAddr::V6(u128::from(ip).checked_add(by)?.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(json: &str) -> Result<Range, String> {
        serde_json::from_str::<RangeConf>(json).unwrap().complete()
    }

    #[test]
    fn what_is_left_out_has_upstreams_default() {
        let range = complete(r#"{"subnet":"10.1.1.0/24"}"#).unwrap();
        assert_eq!(range.to_string(), "10.1.1.1-10.1.1.254");
        assert_eq!(range.gateway.to_string(), "10.1.1.1");
        let range = complete(r#"{"subnet":"fd00::/120"}"#).unwrap();
        assert_eq!(range.to_string(), "fd00::1-fd00::ff");
    }

    #[test]
    fn bad_ranges_have_upstreams_words() {
        for (json, words) in [
            (r#"{"subnet":"10.1.1.0/31"}"#, "Network 10.1.1.0/31 too small to allocate from"),
            (
                r#"{"subnet":"10.1.1.7/24"}"#,
                "Network has host bits set. For a subnet mask of length 24 the network address is 10.1.1.0",
            ),
            (r#"{"subnet":"10.1.1.0/24","rangeStart":"10.1.2.1"}"#, "RangeStart 10.1.2.1 not in network 10.1.1.0/24"),
            (r#"{"subnet":"10.1.1.0/24","rangeEnd":"10.1.2.1"}"#, "RangeEnd 10.1.2.1 not in network 10.1.1.0/24"),
        ] {
            assert_eq!(complete(json).unwrap_err(), words);
        }
        let two: Vec<RangeConf> =
            serde_json::from_str(r#"[{"subnet":"10.1.1.0/24"},{"subnet":"10.1.0.0/16"}]"#).unwrap();
        assert!(RangeSet::complete(&two).unwrap_err().contains("overlap"));
        assert_eq!(RangeSet::complete(&[]).unwrap_err(), "empty range set");
    }
}
