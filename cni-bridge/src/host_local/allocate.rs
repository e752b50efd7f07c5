//! Which address a container gets. Pure: the store tells what is taken and what was given last.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::range::{Range, RangeSet, offset};

/// An address with its subnet's prefix length, and the gateway of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) address: IpNet,
    pub(super) gateway: IpAddr,
}

/// Chooses the requested address, or else the next free one behind the last that was given (round robin, so that an
/// address just freed rests as long as possible). `held`: what this container has already, which must not be in `set`.
pub(super) fn choose(
    set: &RangeSet,
    requested: Option<IpAddr>,
    held: &[IpAddr],
    used: &HashSet<IpAddr>,
    last: Option<IpAddr>,
    container_id: &str,
) -> Result<Pick, String> {
    if let Some(ip) = requested {
        return choose_requested(set, ip, used);
    }
    if let Some(ip) = held.iter().find(|ip| set.contains(**ip)) {
        return Err(format!("{ip} has been allocated to {container_id}, duplicate allocation is not allowed"));
    }
    from(set, last)
        .find(|(range, ip)| *ip != range.gateway && !used.contains(ip))
        .and_then(|(range, ip)| pick(range, ip))
        .ok_or_else(|| format!("no IP addresses available in range set: {set}"))
}

fn choose_requested(set: &RangeSet, ip: IpAddr, used: &HashSet<IpAddr>) -> Result<Pick, String> {
    let range = set.range_for(ip).ok_or_else(|| format!("{ip} not in range set {set}"))?;
    if ip == range.gateway {
        return Err(format!("requested ip {ip} is subnet's gateway"));
    }
    if used.contains(&ip) {
        return Err(format!("requested IP address {ip} is not available in range set {set}"));
    }
    pick(range, ip).ok_or_else(|| format!("{ip} not in range set {set}"))
}

fn pick(range: &Range, ip: IpAddr) -> Option<Pick> {
    let address = IpNet::new(ip, range.subnet.prefix_len()).ok()?;
    Some(Pick { address, gateway: range.gateway })
}

/// Every address of the set once, beginning behind `last` and going round.
fn from(set: &RangeSet, last: Option<IpAddr>) -> impl Iterator<Item = (&Range, IpAddr)> {
    let at = last.and_then(|ip| set.0.iter().position(|range| range.contains(ip)).map(|at| (at, ip)));
    let (first, rest, wrapped) = match at {
        Some((at, ip)) => {
            let behind = offset(ip, 1).map(|next| addresses(&set.0[at], next, set.0[at].end));
            let others = set.0[at + 1..].iter().chain(&set.0[..at]);
            (behind, others.collect::<Vec<_>>(), Some(addresses(&set.0[at], set.0[at].start, ip)))
        }
        None => (None, set.0.iter().collect(), None),
    };
    let rest = rest.into_iter().flat_map(|range| addresses(range, range.start, range.end));
    first.into_iter().flatten().chain(rest).chain(wrapped.into_iter().flatten())
}

fn addresses(range: &Range, start: IpAddr, end: IpAddr) -> impl Iterator<Item = (&Range, IpAddr)> {
    std::iter::successors(Some(start), |ip| offset(*ip, 1)).take_while(move |ip| *ip <= end).map(move |ip| (range, ip))
}

#[cfg(test)]
mod tests {
    use super::super::range::RangeConf;
    use super::*;

    fn set(json: &str) -> RangeSet {
        RangeSet::complete(&serde_json::from_str::<Vec<RangeConf>>(json).unwrap()).unwrap()
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn next(set: &RangeSet, used: &[&str], last: Option<&str>) -> Result<String, String> {
        let used = ips(used).into_iter().collect();
        choose(set, None, &[], &used, last.map(|text| text.parse().unwrap()), "c").map(|pick| pick.address.to_string())
    }

    #[test]
    fn round_robin_behind_the_last_skipping_gateway_and_taken() {
        let set = set(r#"[{"subnet":"10.1.1.0/29"}]"#);
        assert_eq!(next(&set, &[], None).unwrap(), "10.1.1.2/29");
        assert_eq!(next(&set, &["10.1.1.2"], Some("10.1.1.2")).unwrap(), "10.1.1.3/29");
        assert_eq!(next(&set, &[], Some("10.1.1.2")).unwrap(), "10.1.1.3/29");
        assert_eq!(next(&set, &["10.1.1.6"], Some("10.1.1.6")).unwrap(), "10.1.1.2/29");
        let all = ["10.1.1.2", "10.1.1.3", "10.1.1.4", "10.1.1.5", "10.1.1.6"];
        assert_eq!(
            next(&set, &all, Some("10.1.1.4")).unwrap_err(),
            "no IP addresses available in range set: 10.1.1.1-10.1.1.6"
        );
        assert_eq!(next(&set, &all[1..], Some("10.1.1.4")).unwrap(), "10.1.1.2/29");
    }

    #[test]
    fn a_set_goes_on_in_its_next_range() {
        let set = set(r#"[{"subnet":"10.1.1.0/30"},{"subnet":"10.1.2.0/30","gateway":"10.1.2.2"}]"#);
        assert_eq!(next(&set, &["10.1.1.2"], Some("10.1.1.2")).unwrap(), "10.1.2.1/30");
        assert_eq!(next(&set, &["10.1.2.1"], Some("10.1.2.1")).unwrap(), "10.1.1.2/30");
    }

    #[test]
    fn requests_are_met_or_refused() {
        let set = set(r#"[{"subnet":"10.1.1.0/24"}]"#);
        let ask = |ip: &str, used: &[&str]| {
            choose(&set, Some(ip.parse().unwrap()), &[], &ips(used).into_iter().collect(), None, "c")
        };
        assert_eq!(ask("10.1.1.9", &[]).unwrap().address.to_string(), "10.1.1.9/24");
        assert!(ask("10.1.1.1", &[]).unwrap_err().contains("is subnet's gateway"));
        assert!(ask("10.1.1.9", &["10.1.1.9"]).unwrap_err().contains("is not available"));
        let twice = choose(&set, None, &ips(&["10.1.1.9"]), &HashSet::new(), None, "c").unwrap_err();
        assert_eq!(twice, "10.1.1.9 has been allocated to c, duplicate allocation is not allowed");
    }
}
