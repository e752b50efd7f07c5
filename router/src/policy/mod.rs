//! NetworkPolicies as what each pod of this node lets through. Pure: objects in, a [`Plan`] out.
//!
//! `pod` and `view` reduce API objects to what policies look at, `resolve` finds out who the peers of a rule are. Nothing
//! here knows the packet filter's language. Rule: NetworkPolicy, networking.k8s.io/v1.
//!
//! A pod that no policy selects for a direction lets all of it through. One that is selected lets through what any rule
//! of any of its policies allows, and nothing else; policies only ever add.

mod pod;
mod resolve;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

pub(crate) use pod::Pod;
pub(crate) use view::{Cluster, Namespace, Policy};

/// One thing that is let through: from or to these addresses, at these ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Allow {
    pub(crate) peers: Peers,
    pub(crate) ports: Ports,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peers {
    Everyone,
    Addresses(BTreeSet<IpAddr>),
    Block {
        block: IpNet,
        except: Vec<IpNet>,
    },
    /// Cluster DNS, by the address that is asked: its server may listen elsewhere, and be no pod.
    NameServer(IpAddr),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ports {
    All,
    Some {
        protocol: Protocol,
        ranges: BTreeSet<(u16, u16)>,
    },
    /// Every port of a protocol.
    AllOf(Protocol),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// Of what the API calls it, which is TCP where it says nothing.
    fn of(name: Option<&str>) -> Option<Protocol> {
        match name.unwrap_or("TCP") {
            "TCP" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    Ingress,
    Egress,
}

/// What the node must let through and stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What is let through to or from each address that is restricted.
    pub(crate) ingress: BTreeMap<IpAddr, BTreeSet<Allow>>,
    pub(crate) egress: BTreeMap<IpAddr, BTreeSet<Allow>>,
}

impl Plan {
    pub(crate) fn is_empty(&self) -> bool {
        self.ingress.is_empty() && self.egress.is_empty()
    }
}

/// The plan for the pods of `node`; `name_servers` are the addresses at which cluster DNS is asked.
pub(crate) fn plan(cluster: &Cluster, policies: &[Policy], node: &str, name_servers: &BTreeSet<IpAddr>) -> Plan {
    let mut plan = Plan::default();
    let restricted = cluster.pods.iter().filter(|pod| *pod.node == *node && !pod.is_host_network && !pod.is_finished);
    for pod in restricted {
        let selecting = policies.iter().filter(|policy| policy.selects(pod));
        for policy in selecting {
            for direction in [Direction::Ingress, Direction::Egress] {
                let Some(rules) = policy.rules(direction) else { continue };
                let mut allows: Vec<Allow> =
                    rules.iter().flat_map(|rule| resolve::allows(cluster, policy, rule, direction, pod)).collect();
                if direction == Direction::Egress
                    && rules.iter().any(|rule| resolve::allows_names(cluster, policy, rule))
                {
                    let to = |server: &IpAddr| Allow { peers: Peers::NameServer(*server), ports: Ports::All };
                    allows.extend(name_servers.iter().map(to));
                }
                let table = match direction {
                    Direction::Ingress => &mut plan.ingress,
                    Direction::Egress => &mut plan.egress,
                };
                for address in pod.addresses.iter() {
                    table.entry(*address).or_default().extend(allows.iter().cloned());
                }
            }
        }
    }
    plan
}
