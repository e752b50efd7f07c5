//! The table's text. Pure.
//!
//! Hooks: *forward* for what goes through the node, after Services were translated to endpoints, bridged packets too
//! (`bridge-nf-call-iptables`); *input* for what pods send to the node itself. What the node itself sends to its pods is
//! never stopped, so that the kubelet's probes work, as NetworkPolicy asks.
//!
//! Each restricted address leads to a chain; addresses with the same rules share one. A chain ends with `drop`, and what
//! it allows returns: a packet between two pods of this node must pass the sender's chain and the receiver's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::policy::{Allow, Direction, Peers, Plan, Ports};

pub(crate) const TABLE: &str = "inet skiff-router";

/// The way to have no table: made first, so that deleting it cannot fail.
pub(crate) fn removal() -> String {
    format!("table {TABLE}\ndelete table {TABLE}\n")
}

/// The transaction that puts the plan in the place of what is there.
pub(crate) fn transaction(plan: &Plan) -> String {
    let mut text = removal();
    if plan.is_empty() {
        return text;
    }
    let mut table = Table::default();
    let ingress = table.chains(Direction::Ingress, &plan.ingress);
    let egress = table.chains(Direction::Egress, &plan.egress);
    let mut lines = table.sets();
    lines.extend(own_sets(plan));
    lines.extend(table.text);
    lines.extend(base("forward", &[jumps("saddr", &egress), jumps("daddr", &ingress)].concat()));
    lines.extend(base("input", &jumps("saddr", &egress)));
    let _ = writeln!(text, "table {TABLE} {{");
    lines.iter().for_each(|line| {
        let _ = writeln!(text, "  {line}");
    });
    text.push_str("}\n");
    text
}

#[derive(Default)]
struct Table {
    /// Sets of peers by their content.
    peers: BTreeMap<(bool, BTreeSet<IpAddr>), String>,
    text: Vec<String>,
}

impl Table {
    /// Writes a chain for each different set of rules; returns which address leads to which.
    fn chains(
        &mut self,
        direction: Direction,
        addresses: &BTreeMap<IpAddr, BTreeSet<Allow>>,
    ) -> BTreeMap<IpAddr, String> {
        let prefix = if direction == Direction::Ingress { "ingress" } else { "egress" };
        let mut known: BTreeMap<(bool, &BTreeSet<Allow>), String> = BTreeMap::new();
        let mut leads = BTreeMap::new();
        for (address, allows) in addresses {
            let count = known.len();
            let chain = known.entry((address.is_ipv4(), allows)).or_insert_with(|| format!("{prefix}-{count}"));
            leads.insert(*address, chain.clone());
        }
        let mut chains: Vec<_> = known.into_iter().map(|((is_v4, allows), name)| (name, is_v4, allows)).collect();
        chains.sort_by_key(|(name, ..)| (name.len(), name.clone()));
        for (name, is_v4, allows) in chains {
            let rules: Vec<String> = allows.iter().filter_map(|allow| self.rule(direction, is_v4, allow)).collect();
            self.text.push(format!("chain {name} {{"));
            self.text.extend(rules.into_iter().map(|rule| format!("  {rule}")));
            self.text.extend(["  counter drop".to_owned(), "}".to_owned()]);
        }
        leads
    }

    /// `None` when the rule is about the other family only.
    fn rule(&mut self, direction: Direction, is_v4: bool, allow: &Allow) -> Option<String> {
        let side = if direction == Direction::Ingress { "saddr" } else { "daddr" };
        let family = family(is_v4);
        let peers = match &allow.peers {
            Peers::Everyone => String::new(),
            Peers::Addresses(addresses) => {
                let of_family: BTreeSet<IpAddr> =
                    addresses.iter().filter(|address| address.is_ipv4() == is_v4).copied().collect();
                if of_family.is_empty() {
                    return None;
                }
                let count = self.peers.len();
                let set = self.peers.entry((is_v4, of_family)).or_insert_with(|| format!("peers-{count}"));
                format!("{family} {side} @{set} ")
            }
            Peers::NameServer(server) if server.is_ipv4() != is_v4 => return None,
            Peers::NameServer(server) => {
                format!("meta l4proto {{ tcp, udp }} ct original {family} daddr {server} ct original proto-dst 53 ")
            }
            Peers::Block { block, .. } if is_of(block, !is_v4) => return None,
            Peers::Block { block, except } => {
                let except: Vec<String> =
                    except.iter().filter(|net| is_of(net, is_v4)).map(ToString::to_string).collect();
                let without = match except.is_empty() {
                    true => String::new(),
                    false => format!("{family} {side} != {{ {} }} ", except.join(", ")),
                };
                // A block of everyone is no match in this language.
                let within = match block.prefix_len() {
                    0 => String::new(),
                    _ => format!("{family} {side} {block} "),
                };
                format!("{within}{without}")
            }
        };
        Some(format!("{peers}{}return", ports(&allow.ports)))
    }

    fn sets(&self) -> Vec<String> {
        let mut sets: Vec<_> = self.peers.iter().map(|((is_v4, addresses), name)| (name, is_v4, addresses)).collect();
        sets.sort_by_key(|(name, ..)| (name.len(), (*name).clone()));
        sets.into_iter().flat_map(|(name, is_v4, addresses)| set(name, kind(*is_v4), addresses)).collect()
    }
}

fn ports(ports: &Ports) -> String {
    match ports {
        Ports::All => String::new(),
        Ports::AllOf(protocol) => format!("meta l4proto {} ", protocol.name()),
        Ports::Some { protocol, ranges } => {
            let ranges = merged(ranges).into_iter().map(|(first, last)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            });
            format!("{} dport {{ {} }} ", protocol.name(), ranges.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Ranges without overlaps: a set refuses them.
fn merged(ranges: &BTreeSet<(u16, u16)>) -> Vec<(u16, u16)> {
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(known) if *first <= known.1 => known.1 = known.1.max(*last),
            _ => merged.push((*first, *last)),
        }
    }
    merged
}

/// Pods that talk to themselves by their Service, whom no policy may keep from it.
fn own_sets(plan: &Plan) -> Vec<String> {
    let all: BTreeSet<IpAddr> = plan.ingress.keys().chain(plan.egress.keys()).copied().collect();
    let mut lines = Vec::new();
    for is_v4 in [true, false] {
        let own =
            all.iter().filter(|address| address.is_ipv4() == is_v4).map(|address| format!("{address} . {address}"));
        lines.extend(set(&format!("own-{}", family(is_v4)), &format!("{0} . {0}", kind(is_v4)), own));
    }
    lines
}

fn jumps(side: &str, leads: &BTreeMap<IpAddr, String>) -> Vec<String> {
    let mut lines = Vec::new();
    for is_v4 in [true, false] {
        let of_family = leads.iter().filter(|(address, _)| address.is_ipv4() == is_v4);
        let elements: Vec<String> = of_family.map(|(address, chain)| format!("{address} : jump {chain}")).collect();
        if !elements.is_empty() {
            lines.push(format!("{} {side} vmap {{ {} }}", family(is_v4), elements.join(", ")));
        }
    }
    lines
}

/// A chain on a hook. Replies belong to what was let through when it began.
fn base(hook: &str, rules: &[String]) -> Vec<String> {
    let mut lines = vec![
        format!("chain {hook} {{"),
        format!("  type filter hook {hook} priority filter; policy accept;"),
        "  ct state established,related accept".to_owned(),
        "  ip saddr . ip daddr @own-ip accept".to_owned(),
        "  ip6 saddr . ip6 daddr @own-ip6 accept".to_owned(),
        // Without these no address of a neighbour or router is found.
        "  icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept"
            .to_owned(),
    ];
    lines.extend(rules.iter().map(|rule| format!("  {rule}")));
    lines.push("}".to_owned());
    lines
}

fn set(name: &str, kind: &str, elements: impl IntoIterator<Item = impl ToString>) -> Vec<String> {
    let elements: Vec<String> = elements.into_iter().map(|element| element.to_string()).collect();
    let mut lines = vec![format!("set {name} {{"), format!("  type {kind}")];
    if !elements.is_empty() {
        lines.push(format!("  elements = {{ {} }}", elements.join(", ")));
    }
    lines.push("}".to_owned());
    lines
}

fn is_of(net: &IpNet, is_v4: bool) -> bool {
    net.addr().is_ipv4() == is_v4
}

fn family(is_v4: bool) -> &'static str {
    if is_v4 { "ip" } else { "ip6" }
}

fn kind(is_v4: bool) -> &'static str {
    if is_v4 { "ipv4_addr" } else { "ipv6_addr" }
}

#[cfg(test)]
mod tests;
