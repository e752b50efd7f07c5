//! The addresses that Services of type LoadBalancer can get: CIDRs and ranges that the user names.
//!
//! Pure.

use std::collections::HashSet;
use std::net::IpAddr;

/// A run of addresses of one family, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    first: u128,
    last: u128,
    v6: bool,
}

/// All addresses that can be given, in the order in which they were named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pool(Vec<Range>);

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn address(number: u128, v6: bool) -> IpAddr {
    match v6 {
        true => IpAddr::V6(number.into()),
        // Numbers of this family fit: ranges are made of addresses.
        false => IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into()),
    }
}

impl Pool {
    /// Each text is an address, a CIDR, or two addresses with a dash between them.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, String> {
        texts.iter().filter(|text| !text.is_empty()).map(|text| range(text.trim())).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let (number, v6) = (number(address), address.is_ipv6());
        self.0.iter().any(|range| range.v6 == v6 && (range.first..=range.last).contains(&number))
    }

    /// The first address of a family that nobody has.
    pub(super) fn free(&self, v6: bool, taken: &HashSet<IpAddr>) -> Option<IpAddr> {
        let ranges = self.0.iter().filter(|range| range.v6 == v6);
        // No more than one beyond those taken has to be looked at in each range.
        let all = ranges.flat_map(|range| (range.first..=range.last).take(taken.len() + 1));
        all.map(|number| address(number, v6)).find(|address| !taken.contains(address))
    }
}

fn range(text: &str) -> Result<Range, String> {
    let wrong = || format!("{text:?} is no address, CIDR or range of addresses");
    let parse = |part: &str| part.trim().parse::<IpAddr>().map_err(|_| wrong());
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (parse(first)?, parse(last)?);
        let range = Range { first: number(first), last: number(last), v6: first.is_ipv6() };
        return if first.is_ipv6() == last.is_ipv6() && range.first <= range.last { Ok(range) } else { Err(wrong()) };
    }
    let (base, prefix) = text.split_once('/').map_or((text, None), |(base, prefix)| (base, Some(prefix)));
    let base = parse(base)?;
    let bits: u32 = if base.is_ipv6() { 128 } else { 32 };
    let prefix: u32 = prefix.map_or(Ok(bits), str::parse).ok().filter(|prefix| *prefix <= bits).ok_or_else(wrong)?;
    let mask = 1_u128.checked_shl(bits - prefix).map_or(u128::MAX, |size| size - 1);
    let first = number(base) & !mask;
    Ok(Range { first, last: first | mask, v6: base.is_ipv6() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(texts: &[&str]) -> Result<Pool, String> {
        Pool::parse(&texts.iter().map(|t| t.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn addresses_are_given_in_order() {
        let pool = pool(&["192.0.2.8/31", "192.0.2.20-192.0.2.21", "2001:db8::5"]).unwrap();
        let mut taken = HashSet::new();
        let mut given = Vec::new();
        while let Some(address) = pool.free(false, &taken) {
            taken.insert(address);
            given.push(address.to_string());
        }
        assert_eq!(given, ["192.0.2.8", "192.0.2.9", "192.0.2.20", "192.0.2.21"]);
        assert_eq!(pool.free(true, &taken).unwrap().to_string(), "2001:db8::5");
        assert!(pool.contains("192.0.2.9".parse().unwrap()) && !pool.contains("192.0.2.10".parse().unwrap()));
        assert!(super::Pool::parse(&[String::new()]).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_pool() {
        for text in ["x", "192.0.2.0/33", "192.0.2.9-192.0.2.8", "192.0.2.1-2001:db8::", "192.0.2.0/", "1.2.3.4-"] {
            assert!(pool(&[text]).is_err(), "{text}");
        }
        assert!(pool(&["::/0", "0.0.0.0/0"]).is_ok());
    }
}
