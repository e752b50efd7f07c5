//! One Service's chains and elements. Pure: ports and endpoints in, values out.

use std::net::IpAddr;

use ipnet::IpNet;

use super::base::{MARK_CHAIN, REJECT_CHAIN};
use super::rule::{Part, Protocol, Rule, Side, Verdict};
use super::{Key, Map, Place, ServiceTable, names};
use crate::iptables::Settings;
use crate::model::{Categories, Endpoint, LocalDetector, NodeView, ServicePort, categorize};

/// With more endpoints the choice is one look into a map instead of a rule each. Not with fewer: such a map has no name,
/// and the kernel looks at all maps of the table to find it one. 10,000 of them took 40 s to load instead of 5.
const FLAT_ENDPOINTS_MAX: usize = 16;

/// What all of a Service's rules are made from.
pub(crate) struct Compiler<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) node: &'a NodeView,
}

/// One port with its endpoints sorted.
struct Port<'a> {
    port: &'a ServicePort,
    protocol: Protocol,
    endpoints: Categories<'a>,
    has_internal: bool,
    has_external: bool,
    uses_firewall: bool,
}

impl Compiler<'_> {
    pub(crate) fn service(&self, ports: &[(ServicePort, Vec<Endpoint>)]) -> ServiceTable {
        let mut table = ServiceTable::default();
        for (port, endpoints) in ports {
            // Validation lets no other protocol pass.
            let Some(protocol) = Protocol::of(&port.protocol) else { continue };
            table.shard = Place::Shard(names::shard(&port.name));
            let port = Port::new(port, protocol, categorize(port, endpoints, self.node));
            port.dispatch(&mut table);
            port.refuse(&mut table);
            self.external_chain(&port, &mut table);
            self.firewall_chain(&port, &mut table);
            self.service_chains(&port, &mut table);
        }
        table
    }

    /// Where everything from outside goes first. Under policy `Local` the node's own traffic and pods' are answered as
    /// if they had gone out to the balancer and come back, by all endpoints.
    fn external_chain(&self, port: &Port, table: &mut ServiceTable) {
        if !port.endpoints.has_any || !port.port.is_externally_accessible() {
            return;
        }
        let mut chain: Vec<Rule> = Vec::new();
        if port.port.external_policy_local {
            let cluster = port.chain("service");
            chain.extend(self.local(false).map(|matches| vec![matches, Part::goto(cluster.clone())]));
            chain.push(vec![Part::OfThisNode(Side::Source), mark()]);
            chain.push(vec![Part::OfThisNode(Side::Source), Part::goto(cluster)]);
        } else {
            chain.push(vec![mark()]);
        }
        if port.has_external {
            chain.push(vec![Part::goto(port.policy_chain(port.port.external_policy_local))]);
        }
        table.chains.insert((table.shard, port.chain("external")), chain);
    }

    /// Before translation: who is not in the source ranges is dropped.
    fn firewall_chain(&self, port: &Port, table: &mut ServiceTable) {
        if !port.uses_firewall {
            return;
        }
        let ranges = &port.port.load_balancer_source_ranges;
        let mut sources = ranges.clone();
        // A node that has the balancer's address as its own asks from that address.
        if self.settings.node_ip.is_some_and(|ip| ranges.iter().any(|net| net.contains(&ip))) {
            sources.extend(port.port.load_balancer_ips.iter().map(|ip| IpNet::from(*ip)));
        }
        let from = |net| Part::Address { side: Side::Source, net, is_negated: false };
        let mut chain: Vec<Rule> = sources.into_iter().map(|net| vec![from(net), Part::Do(Verdict::Return)]).collect();
        chain.push(vec![Part::Do(Verdict::Drop)]);
        table.chains.insert((Place::Main, port.chain("firewall")), chain);
    }

    fn service_chains(&self, port: &Port, table: &mut ServiceTable) {
        let is = port.port;
        for (is_local, is_used, endpoints) in [
            (false, is.uses_cluster_endpoints(), &port.endpoints.cluster),
            (true, is.uses_local_endpoints(), &port.endpoints.local),
        ] {
            if !is_used || endpoints.is_empty() {
                continue;
            }
            let mut chain = Vec::new();
            if is_local == is.internal_policy_local {
                chain.extend(self.masquerade_internal(port));
            }
            chain.extend(port.balance(endpoints));
            table.chains.insert((table.shard, port.policy_chain(is_local)), chain);
        }
        for endpoint in port.endpoints.reachable().into_iter().filter(|endpoint| port.needs_chain(endpoint)) {
            let mut chain = vec![vec![Part::is(Side::Source, endpoint.address.ip()), mark()]];
            if let Some(seconds) = is.affinity_seconds {
                let set = port.endpoint("affinity", endpoint);
                chain.push(vec![Part::Remember { set: set.clone(), seconds }]);
                table.sets.insert(set);
            }
            chain.push(vec![Part::Translate(port.protocol, endpoint.address)]);
            table.chains.insert((table.shard, port.endpoint("endpoint", endpoint)), chain);
        }
    }

    /// A client outside the cluster that routes the Service range to this node would not find the way back otherwise.
    fn masquerade_internal(&self, port: &Port) -> Option<Rule> {
        let mut rule =
            vec![Part::is(Side::Destination, port.port.cluster_ip), Part::Port(port.protocol, port.port.port)];
        if !self.settings.masquerade_all {
            rule.push(self.local(true)?);
        }
        rule.push(mark());
        Some(rule)
    }

    /// The match for pods' traffic, or for all other.
    fn local(&self, is_negated: bool) -> Option<Part> {
        match &self.settings.local_detector {
            LocalDetector::None => None,
            LocalDetector::Cidr(net) => Some(Part::Address { side: Side::Source, net: net.trunc(), is_negated }),
            LocalDetector::Interface(name) => Some(Part::Link { name: name.clone(), is_prefix: false, is_negated }),
            LocalDetector::InterfacePrefix(name) => {
                Some(Part::Link { name: name.clone(), is_prefix: true, is_negated })
            }
        }
    }
}

impl<'a> Port<'a> {
    fn new(port: &'a ServicePort, protocol: Protocol, endpoints: Categories<'a>) -> Port<'a> {
        let has = |is_local: bool| endpoints.has_any && !(is_local && endpoints.local.is_empty());
        let is_restricted = !port.load_balancer_ips.is_empty() && !port.load_balancer_source_ranges.is_empty();
        Port {
            has_internal: has(port.internal_policy_local),
            has_external: has(port.external_policy_local),
            uses_firewall: endpoints.has_any && is_restricted,
            port,
            protocol,
            endpoints,
        }
    }

    /// The way from the maps into the port's own chains.
    fn dispatch(&self, table: &mut ServiceTable) {
        let is = self.port;
        if self.has_internal {
            let chain = self.policy_chain(is.internal_policy_local);
            table.elements.insert((Map::ServiceIps, self.key(is.cluster_ip)), Verdict::Goto(chain));
        }
        if !self.endpoints.has_any {
            return;
        }
        for ip in is.external_ips.iter().chain(&is.load_balancer_ips) {
            table.elements.insert((Map::ServiceIps, self.key(*ip)), Verdict::Goto(self.chain("external")));
        }
        for ip in is.load_balancer_ips.iter().filter(|_| self.uses_firewall) {
            table.elements.insert((Map::FirewallIps, self.key(*ip)), Verdict::Goto(self.chain("firewall")));
        }
        if let Some(key) = self.node_port_key() {
            table.elements.insert((Map::ServiceNodePorts, key), Verdict::Goto(self.chain("external")));
        }
    }

    /// Without any endpoint clients are told at once. With endpoints on other nodes only, policy `Local` drops: a
    /// balancer takes that as a sign to try another node.
    fn refuse(&self, table: &mut ServiceTable) {
        let is = self.port;
        let verdict = if self.endpoints.has_any { Verdict::Drop } else { Verdict::Goto(REJECT_CHAIN.to_owned()) };
        if !self.has_internal {
            table.elements.insert((Map::NoEndpointServices, self.key(is.cluster_ip)), verdict.clone());
        }
        if self.has_external {
            return;
        }
        for ip in is.external_ips.iter().chain(&is.load_balancer_ips) {
            table.elements.insert((Map::NoEndpointServices, self.key(*ip)), verdict.clone());
        }
        if let Some(key) = self.node_port_key() {
            table.elements.insert((Map::NoEndpointNodePorts, key), verdict);
        }
    }

    /// An endpoint has a chain of its own only for what more is done than translating: for clients that come back, and
    /// to hide the source where a packet may return to the pod that sent it. Pods send from their own nodes, and from
    /// others only what policy `Local` does not masquerade.
    ///
    /// Each chain costs every later change something, as the kernel walks through all of them to commit it: a change
    /// among 10,000 Services with five endpoints takes it 15 ms with a chain for each endpoint, and 1 ms without.
    fn needs_chain(&self, endpoint: &Endpoint) -> bool {
        let is = self.port;
        !endpoint.is_elsewhere
            || is.affinity_seconds.is_some()
            || (is.external_policy_local && is.is_externally_accessible())
            || [&self.endpoints.cluster, &self.endpoints.local].iter().any(|list| list.len() > FLAT_ENDPOINTS_MAX)
    }

    fn lead_to(&self, endpoint: &Endpoint) -> Part {
        match self.needs_chain(endpoint) {
            true => Part::goto(self.endpoint("endpoint", endpoint)),
            false => Part::Translate(self.protocol, endpoint.address),
        }
    }

    /// First whoever was here before goes to the same endpoint; then each endpoint has an equal chance.
    fn balance(&self, endpoints: &[&Endpoint]) -> Vec<Rule> {
        let chain = |endpoint: &Endpoint| self.endpoint("endpoint", endpoint);
        let mut rules: Vec<Rule> = match self.port.affinity_seconds {
            None => Vec::new(),
            Some(_) => {
                let again = |endpoint: &&Endpoint| {
                    vec![Part::SourceIn(self.endpoint("affinity", endpoint)), Part::goto(chain(endpoint))]
                };
                endpoints.iter().map(again).collect()
            }
        };
        let count = endpoints.len();
        if count > FLAT_ENDPOINTS_MAX {
            rules.push(vec![Part::Choose(endpoints.iter().map(|endpoint| chain(endpoint)).collect())]);
            return rules;
        }
        rules.extend(endpoints.iter().enumerate().map(|(at, endpoint)| match count - at {
            1 => vec![self.lead_to(endpoint)],
            left => vec![Part::OneIn(left as u32), self.lead_to(endpoint)],
        }));
        rules
    }

    fn chain(&self, purpose: &str) -> String {
        names::port(purpose, &self.port.name, &self.port.protocol)
    }

    fn policy_chain(&self, is_local: bool) -> String {
        self.chain(if is_local { "local" } else { "service" })
    }

    fn endpoint(&self, purpose: &str, endpoint: &Endpoint) -> String {
        names::endpoint(purpose, &self.port.name, &self.port.protocol, &endpoint.address)
    }

    fn key(&self, ip: IpAddr) -> Key {
        Key { ip: Some(ip), protocol: self.protocol, port: self.port.port }
    }

    fn node_port_key(&self) -> Option<Key> {
        let port = self.port.node_port;
        (port != 0).then_some(Key { ip: None, protocol: self.protocol, port })
    }
}

fn mark() -> Part {
    Part::jump(MARK_CHAIN)
}
