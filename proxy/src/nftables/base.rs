//! What the table holds without any Service: maps, hooks, masquerading. Pure.

use super::{Map, word};
use crate::iptables::{NodePorts, Settings};

/// The body of the table, a line each.
pub(crate) fn body(settings: &Settings) -> Vec<String> {
    let mut lines: Vec<String> = Map::ALL.iter().flat_map(|map| declaration(settings, *map)).collect();
    let mark = format!("{:#x}", settings.masquerade_mark);
    let random = if settings.random_fully { " fully-random" } else { "" };
    let to_service = format!("{} daddr . meta l4proto . th dport", word(settings.family));
    let mut chain = |name: &str, rules: &[String]| {
        lines.push(format!("chain {name} {{"));
        lines.extend(rules.iter().map(|rule| format!("  {rule}")));
        lines.push("}".to_owned());
    };
    chain("mark-for-masquerade", &[format!("meta mark set meta mark or {mark}")]);
    // The mark goes before masquerading, or a packet that passes again (through a tunnel) would be masqueraded twice.
    chain(
        "masquerading",
        &[
            format!("meta mark and {mark} == 0 return"),
            format!("meta mark set meta mark xor {mark}"),
            format!("masquerade{random}"),
        ],
    );
    chain("reject-chain", &["reject".to_owned()]);
    let node_ports = node_ports(settings);
    chain(
        "services",
        &[
            format!("{to_service} vmap @{}", Map::ServiceIps.name()),
            format!("{node_ports} meta l4proto . th dport vmap @{}", Map::ServiceNodePorts.name()),
        ],
    );
    chain("firewall-check", &[format!("{to_service} vmap @{}", Map::FirewallIps.name())]);
    chain("service-endpoints-check", &[format!("{to_service} vmap @{}", Map::NoEndpointServices.name())]);
    chain(
        "nodeport-endpoints-check",
        &[format!("{node_ports} meta l4proto . th dport vmap @{}", Map::NoEndpointNodePorts.name())],
    );
    for (name, hook, rules) in HOOKS {
        let rules: Vec<String> = [*hook].iter().chain(*rules).map(|rule| (*rule).to_owned()).collect();
        chain(name, &rules);
    }
    lines
}

/// The kernel's hooks. Firewalls look before translation, at the address that was asked for; refusals come after it, for
/// what was not translated.
const HOOKS: &[(&str, &str, &[&str])] = &[
    ("filter-prerouting-pre-dnat", "type filter hook prerouting priority -110;", &["ct state new jump firewall-check"]),
    ("filter-output-pre-dnat", "type filter hook output priority -110;", &["ct state new jump firewall-check"]),
    (
        "filter-input",
        "type filter hook input priority 0;",
        &["ct state new jump nodeport-endpoints-check", "ct state new jump service-endpoints-check"],
    ),
    ("filter-forward", "type filter hook forward priority 0;", &["ct state new jump service-endpoints-check"]),
    ("filter-output", "type filter hook output priority 0;", &["ct state new jump service-endpoints-check"]),
    ("nat-prerouting", "type nat hook prerouting priority -100;", &["jump services"]),
    ("nat-output", "type nat hook output priority -100;", &["jump services"]),
    ("nat-postrouting", "type nat hook postrouting priority 100;", &["jump masquerading"]),
];

/// A map is declared with its kind; elements come with the Services.
fn declaration(settings: &Settings, map: Map) -> [String; 3] {
    let address = if settings.is_v6() { "ipv6_addr . " } else { "ipv4_addr . " };
    let address = if map.is_of_node_ports() { "" } else { address };
    [format!("map {} {{", map.name()), format!("  type {address}inet_proto . inet_service : verdict"), "}".to_owned()]
}

/// The match for a packet to an address of this node that serves NodePorts. Never a loopback one: its packets cannot
/// leave by another device with that source.
fn node_ports(settings: &Settings) -> String {
    let family = word(settings.family);
    let loopback = if settings.is_v6() { "::1" } else { "127.0.0.0/8" };
    let own = format!("fib daddr type local {family} daddr != {loopback}");
    match &settings.node_ports {
        NodePorts::Everywhere => own,
        NodePorts::Ranges(ranges) => {
            let ranges = ranges.iter().filter(|net| net.addr().is_ipv6() == settings.is_v6());
            let ranges: Vec<String> = ranges.map(ToString::to_string).collect();
            format!("{own} {family} daddr {{ {} }}", ranges.join(", "))
        }
    }
}
