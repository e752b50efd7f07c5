//! The difference between two plans, as lines for `ip -batch` and `bridge -batch`. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::IpNet;
use serde_json::Value;

use super::{DEVICE, Hop, PROTOCOL, Plan, tunnel_mac};

/// Lines for `ip -batch`, given the routes of ours that are there.
pub(super) fn of_routes(wanted: &Plan, present: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for (range, hop) in present.iter().filter(|(range, _)| !wanted.contains_key(*range)) {
        lines.push(format!("route del {range} proto {PROTOCOL}"));
        lines.extend(hop.tunnel_to.map(|_| format!("neigh del {} dev {DEVICE}", hop.gateway)));
    }
    for (range, hop) in wanted.iter().filter(|(range, hop)| present.get(*range) != Some(*hop)) {
        match hop.tunnel_to {
            None => lines.push(format!("route replace {range} via {} proto {PROTOCOL}", hop.gateway)),
            Some(remote) => lines.extend([
                // Nobody could be asked for the hardware address of the other end.
                format!("neigh replace {} lladdr {} dev {DEVICE} nud permanent", hop.gateway, tunnel_mac(remote)),
                format!("route replace {range} via {} dev {DEVICE} onlink proto {PROTOCOL}", hop.gateway),
            ]),
        }
    }
    lines
}

/// Lines for `bridge -batch`: behind which node each end of the tunnel is.
pub(super) fn of_tunnel(wanted: &Plan, present: &Plan) -> Vec<String> {
    let ends = |plan: &Plan| -> BTreeSet<Ipv4Addr> { plan.values().filter_map(|hop| hop.tunnel_to).collect() };
    let (wanted, present) = (ends(wanted), ends(present));
    let gone = present.difference(&wanted);
    let gone = gone.map(|remote| format!("fdb del {} dev {DEVICE} dst {remote}", tunnel_mac(*remote)));
    let new = wanted.difference(&present);
    let new = new.map(|remote| format!("fdb replace {} dev {DEVICE} dst {remote}", tunnel_mac(*remote)));
    gone.chain(new).collect()
}

/// What the kernel has of ours: the JSON of `ip route show`, `ip neigh show` and `bridge fdb show` of the tunnel. A route of
/// the tunnel whose end is not told counts as another than wanted, and is written again.
pub(super) fn present(routes: &str, neighbours: &str, ends: &str) -> Plan {
    let rows = |json: &str| -> Vec<Value> { serde_json::from_str(json).unwrap_or_default() };
    let text = |row: &Value, key: &str| row[key].as_str().map(str::to_owned);
    let macs: BTreeMap<String, String> =
        rows(neighbours).iter().filter_map(|row| Some((text(row, "dst")?, text(row, "lladdr")?))).collect();
    let ends: BTreeMap<String, Ipv4Addr> =
        rows(ends).iter().filter_map(|row| Some((text(row, "mac")?, text(row, "dst")?.parse().ok()?))).collect();
    let parsed = rows(routes).into_iter().filter_map(|route| {
        let destination = route["dst"].as_str()?;
        let range = destination
            .parse::<IpNet>()
            .ok()
            .or_else(|| destination.parse::<std::net::IpAddr>().ok().map(IpNet::from))?;
        let gateway = route["gateway"].as_str()?;
        let in_tunnel = route["dev"] == DEVICE;
        let tunnel_to = macs.get(gateway).filter(|_| in_tunnel).and_then(|mac| ends.get(mac)).copied();
        Some((range, Hop { gateway: gateway.parse().ok()?, tunnel_to }))
    });
    parsed.collect()
}
