//! Mode iptables: rules with upstream's chain names, applied as differences by `iptables-restore --noflush`.
//!
//! `rules` writes one Service's rules, `base` what is there without any Service, `transaction` the text of a full or a
//! partial restore, `look` whether it still is there, in whichever `words` (all pure: golden texts), `tool` runs the
//! host's iptables, and `backend` is what the loop sees of all this.

pub(crate) mod backend;
pub(crate) mod base;
pub(crate) mod cleanup;
pub(crate) mod look;
pub(crate) mod names;
pub(crate) mod rules;
pub(crate) mod tool;
pub(crate) mod transaction;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

/// The chains that all Services share, in the tables where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shared {
    FilterServices,
    FilterExternalServices,
    FilterNodePorts,
    FilterProxyFirewall,
    NatServices,
    NatNodePorts,
}

impl Shared {
    pub(crate) fn chain(self) -> &'static str {
        match self {
            Shared::FilterServices | Shared::NatServices => "KUBE-SERVICES",
            Shared::FilterExternalServices => "KUBE-EXTERNAL-SERVICES",
            Shared::FilterNodePorts | Shared::NatNodePorts => "KUBE-NODEPORTS",
            Shared::FilterProxyFirewall => "KUBE-PROXY-FIREWALL",
        }
    }

    pub(crate) fn is_nat(self) -> bool {
        matches!(self, Shared::NatServices | Shared::NatNodePorts)
    }
}

/// One Service's rules: lines in the shared chains, and its own chains in the nat table. Rules are without `-A CHAIN`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceRules {
    pub(crate) shared: BTreeMap<Shared, Vec<String>>,
    pub(crate) chains: BTreeMap<String, Vec<String>>,
}

impl ServiceRules {
    fn push(&mut self, chain: Shared, rule: String) {
        self.shared.entry(chain).or_default().push(rule);
    }

    /// Rules in the filter and the nat table.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let shared = |is_nat| {
            self.shared
                .iter()
                .filter(|(chain, _)| chain.is_nat() == is_nat)
                .map(|(_, rules)| rules.len())
                .sum::<usize>()
        };
        (shared(false), shared(true) + self.chains.values().map(Vec::len).sum::<usize>())
    }
}

/// What the rules depend on, beside the Services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) family: crate::model::Family,
    pub(crate) masquerade_all: bool,
    /// The bit of the packet mark that asks for masquerading, as a mask.
    pub(crate) masquerade_mark: u32,
    pub(crate) random_fully: bool,
    pub(crate) local_detector: crate::model::LocalDetector,
    pub(crate) localhost_node_ports: bool,
    pub(crate) node_ports: NodePorts,
    /// `nf_conntrack_tcp_be_liberal` is set: then packets that conntrack calls invalid are let through.
    pub(crate) tcp_be_liberal: bool,
    /// This node's own address, for load balancer source ranges.
    pub(crate) node_ip: Option<std::net::IpAddr>,
}

/// Where NodePorts are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodePorts {
    Everywhere,
    /// On the node's addresses within these ranges.
    Ranges(Vec<ipnet::IpNet>),
}

impl Settings {
    pub(crate) fn is_v6(&self) -> bool {
        self.family == crate::model::Family::V6
    }

    /// As iptables writes marks: `0x4000/0x4000`.
    pub(crate) fn mark(&self) -> String {
        format!("{0:#x}/{0:#x}", self.masquerade_mark)
    }
}
