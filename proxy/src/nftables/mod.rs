//! Mode nftables: the same decisions as maps, in a table of our own for each family.
//!
//! `rules` writes one Service's chains and map elements, `base` what is there without any Service, `transaction` the
//! texts for all and for a difference (all pure: golden texts), `syncer` keeps what was applied and hands texts to `nft`.
//! A packet's way is a look into a map, however many Services there are; and a change writes what it changes, in one
//! transaction. Chains and maps have upstream's names.

pub(crate) mod base;
pub(crate) mod names;
pub(crate) mod rules;
pub(crate) mod syncer;
pub(crate) mod transaction;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::model::Family;

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

    /// Whether its keys are protocol and port, without an address.
    fn is_of_node_ports(self) -> bool {
        matches!(self, Map::ServiceNodePorts | Map::NoEndpointNodePorts)
    }
}

/// One Service's part of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceTable {
    pub(crate) chains: BTreeMap<String, Vec<String>>,
    /// Of clients that come back to the same endpoint, by name, with their declaration.
    pub(crate) sets: BTreeMap<String, String>,
    /// Verdicts by map and key.
    pub(crate) elements: BTreeMap<(Map, String), String>,
}

/// The family's word in the language: of tables and of addresses.
pub(crate) fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// The name of the family's table, with its family.
pub(crate) fn table(family: Family) -> String {
    format!("{} kube-proxy", word(family))
}
