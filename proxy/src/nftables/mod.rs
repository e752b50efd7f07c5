//! Mode nftables: the same decisions as maps, in tables of our own for each family.
//!
//! `rules` writes one Service's chains and map elements, `base` what is there without any Service, `transaction` the
//! steps to all of it or from one state to the next, `inventory` what the kernel should count then (all pure: golden
//! texts), `netlink` carries a transaction to the kernel, and `backend` is what the loop sees of all this. A packet's way is a look into some maps, however many
//! Services there are; and a change writes what it changes, in one transaction, and reads nothing. Chains and maps have
//! upstream's names.
//!
//! Services are spread over several tables ([`Place`]): when a transaction adds a rule or a verdict the kernel walks
//! through all chains that can be reached in that table, and with 10,000 Services in one this takes it 60 ms.

pub(crate) mod backend;
pub(crate) mod base;
pub(crate) mod inventory;
pub(crate) mod names;
mod netlink;
pub(crate) mod operation;
pub(crate) mod rule;
pub(crate) mod rules;
pub(crate) mod transaction;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::model::Family;
pub(crate) use netlink::Error;
use rule::{Protocol, Rule, Verdict};

/// The maps that lead to all Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Map {
    ServiceIps,
    ServiceNodePorts,
    NoEndpointServices,
    NoEndpointNodePorts,
    FirewallIps,
}

impl Map {
    pub(crate) const ALL: [Map; 5] =
        [Map::ServiceIps, Map::ServiceNodePorts, Map::NoEndpointServices, Map::NoEndpointNodePorts, Map::FirewallIps];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Map::ServiceIps => "service-ips",
            Map::ServiceNodePorts => "service-nodeports",
            Map::NoEndpointServices => "no-endpoint-services",
            Map::NoEndpointNodePorts => "no-endpoint-nodeports",
            Map::FirewallIps => "firewall-ips",
        }
    }

    /// Whether it stands in a shard: its verdicts lead to the chains there.
    pub(crate) fn is_of_shards(self) -> bool {
        matches!(self, Map::ServiceIps | Map::ServiceNodePorts)
    }

    /// Where a Service's elements of it are.
    pub(crate) fn place(self, table: &ServiceTable) -> Place {
        if self.is_of_shards() { table.shard } else { Place::Main }
    }

    /// Whether its keys are protocol and port, without an address.
    pub(crate) fn is_of_node_ports(self) -> bool {
        matches!(self, Map::ServiceNodePorts | Map::NoEndpointNodePorts)
    }
}

/// One of a family's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) enum Place {
    /// What is refused, and masquerading: what every packet passes stands once.
    #[default]
    Main,
    /// Translation of some of the Services: only a connection's first packet comes here.
    Shard(u8),
}

/// A first packet's cost grows with it, and a change's cost with the Services in a shard.
pub(crate) const SHARDS: u8 = 16;

impl Place {
    pub(crate) fn all() -> impl Iterator<Item = Place> {
        [Place::Main].into_iter().chain(Place::shards())
    }

    pub(crate) fn shards() -> impl Iterator<Item = Place> {
        (0..SHARDS).map(Place::Shard)
    }

    /// The name of the table.
    pub(crate) fn name(self) -> String {
        match self {
            Place::Main => "kube-proxy".to_owned(),
            Place::Shard(shard) => format!("kube-proxy-{shard}"),
        }
    }
}

/// What a map is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// None: any address of the node.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ip) = self.ip {
            write!(f, "{ip} . ")?;
        }
        write!(f, "{} . {}", self.protocol.name(), self.port)
    }
}

/// One Service's part of the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceTable {
    /// Where the Service is translated.
    pub(crate) shard: Place,
    pub(crate) chains: BTreeMap<(Place, String), Vec<Rule>>,
    /// Of clients that come back to the same endpoint. For how long is said by the rule that puts one in.
    pub(crate) sets: BTreeSet<String>,
    /// Verdicts by map and key.
    pub(crate) elements: BTreeMap<(Map, Key), Verdict>,
}

/// The family's word in the language: of tables and of addresses.
pub(crate) fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// A table's name with its family.
pub(crate) fn table(family: Family, place: Place) -> String {
    format!("{} {}", word(family), place.name())
}
