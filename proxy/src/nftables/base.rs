//! What the table holds without any Service: maps, hooks, masquerading. Pure.

use ipnet::IpNet;

use super::operation::{Hook, HookPoint, Operation, Step};
use super::rule::{Part, Rule, Side, Verdict};
use super::{Map, Place};
use crate::iptables::{NodePorts, Settings};

/// The chains of all tables, with their rules. Those that others name come first.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) chains: Vec<Chain>,
}

#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) place: Place,
    pub(crate) name: &'static str,
    hook: Option<Hook>,
    pub(crate) rules: Vec<Rule>,
}

impl Base {
    pub(crate) fn new(settings: &Settings) -> Base {
        let mut chains = Vec::new();
        for place in Place::all() {
            let inner = if place == Place::Main { main_chains(settings) } else { shard_chains(settings) };
            chains.extend(inner.into_iter().map(|(name, rules)| Chain { place, name, hook: None, rules }));
            let hooks = if place == Place::Main { MAIN_HOOKS } else { SHARD_HOOKS };
            chains.extend(hooks.iter().map(|(name, hook, calls)| {
                let call = |chain: &&str| match hook.kind {
                    "filter" => vec![Part::NewConnection, Part::jump(*chain)],
                    _ => vec![Part::jump(*chain)],
                };
                Chain { place, name, hook: Some(*hook), rules: calls.iter().map(call).collect() }
            }));
        }
        Base { chains }
    }

    pub(crate) fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let maps = Place::all().flat_map(|place| {
            let is_here = move |map: &Map| map.is_of_shards() == (place != Place::Main);
            Map::ALL.into_iter().filter(is_here).map(move |map| Operation::AddMap(map).at(place))
        });
        maps.chain(self.chains.iter().flat_map(|chain| {
            let rules = chain.rules.iter().map(|rule| Operation::AddRule { chain: chain.name, rule });
            let all = [Operation::AddChain { name: chain.name, hook: chain.hook }].into_iter().chain(rules);
            all.map(|operation| operation.at(chain.place))
        }))
    }
}

pub(crate) const MARK_CHAIN: &str = "mark-for-masquerade";
pub(crate) const REJECT_CHAIN: &str = "reject-chain";
const MASQUERADING: &str = "masquerading";
const SERVICES: &str = "services";
const FIREWALL: &str = "firewall-check";
const SERVICE_ENDPOINTS: &str = "service-endpoints-check";
const NODE_PORT_ENDPOINTS: &str = "nodeport-endpoints-check";

type NamedRules = (&'static str, Vec<Rule>);

fn main_chains(settings: &Settings) -> Vec<NamedRules> {
    let mark = settings.masquerade_mark;
    let look_up = |map| vec![vec![Part::LookUp(map)]];
    vec![
        // The mark goes before masquerading, or a packet that passes again (through a tunnel) would be masqueraded twice.
        (
            MASQUERADING,
            vec![
                vec![Part::Unmarked(mark), Part::Do(Verdict::Return)],
                vec![Part::FlipMark(mark)],
                vec![Part::Masquerade { fully_random: settings.random_fully }],
            ],
        ),
        (REJECT_CHAIN, vec![vec![Part::Reject]]),
        (FIREWALL, look_up(Map::FirewallIps)),
        (SERVICE_ENDPOINTS, look_up(Map::NoEndpointServices)),
        (NODE_PORT_ENDPOINTS, node_ports(settings, Map::NoEndpointNodePorts)),
    ]
}

fn shard_chains(settings: &Settings) -> Vec<NamedRules> {
    let mut services = vec![vec![Part::LookUp(Map::ServiceIps)]];
    services.extend(node_ports(settings, Map::ServiceNodePorts));
    vec![(MARK_CHAIN, vec![vec![Part::SetMark(settings.masquerade_mark)]]), (SERVICES, services)]
}

/// A hook's name, and the chains that are called there.
type HookRow = (&'static str, Hook, &'static [&'static str]);

const fn filter(point: HookPoint, priority: i32) -> Hook {
    Hook { kind: "filter", point, priority }
}

const fn nat(point: HookPoint, priority: i32) -> Hook {
    Hook { kind: "nat", point, priority }
}

/// Firewalls look before translation, at the address that was asked for; refusals come after it, for what was not
/// translated. Filters are asked only about a connection's first packet, and NAT sees no other.
const MAIN_HOOKS: &[HookRow] = &[
    ("filter-prerouting-pre-dnat", filter(HookPoint::Prerouting, -110), &[FIREWALL]),
    ("filter-output-pre-dnat", filter(HookPoint::Output, -110), &[FIREWALL]),
    ("filter-input", filter(HookPoint::Input, 0), &[NODE_PORT_ENDPOINTS, SERVICE_ENDPOINTS]),
    ("filter-forward", filter(HookPoint::Forward, 0), &[SERVICE_ENDPOINTS]),
    ("filter-output", filter(HookPoint::Output, 0), &[SERVICE_ENDPOINTS]),
    ("nat-postrouting", nat(HookPoint::Postrouting, 100), &[MASQUERADING]),
];

/// A shard that knows nothing of a packet leaves it to the next.
const SHARD_HOOKS: &[HookRow] = &[
    ("nat-prerouting", nat(HookPoint::Prerouting, -100), &[SERVICES]),
    ("nat-output", nat(HookPoint::Output, -100), &[SERVICES]),
];

/// The looks into a map for packets to an address of this node that serves NodePorts. Never a loopback one: its packets
/// cannot leave by another device with that source. A rule for each range, as a set of ranges would have to be cut
/// where they overlap.
fn node_ports(settings: &Settings, map: Map) -> Vec<Rule> {
    let loopback = if settings.is_v6() { [0, 0, 0, 0, 0, 0, 0, 1].into() } else { [127, 0, 0, 0].into() };
    let loopback = IpNet::new_assert(loopback, if settings.is_v6() { 128 } else { 8 });
    let is = |net: IpNet, is_negated| Part::Address { side: Side::Destination, net, is_negated };
    let own = vec![Part::OfThisNode(Side::Destination), is(loopback, true)];
    match &settings.node_ports {
        NodePorts::Everywhere => vec![[own, vec![Part::LookUp(map)]].concat()],
        NodePorts::Ranges(ranges) => {
            let ranges = ranges.iter().filter(|net| net.addr().is_ipv6() == settings.is_v6());
            ranges.map(|net| [own.clone(), vec![is(net.trunc(), false), Part::LookUp(map)]].concat()).collect()
        }
    }
}
