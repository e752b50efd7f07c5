//! One Service's chains and elements. Pure: ports and endpoints in, texts out.

use std::net::IpAddr;

use super::{Map, ServiceTable, names, word};
use crate::iptables::Settings;
use crate::model::{Categories, Endpoint, LocalDetector, NodeView, ServicePort, categorize};

const MARK: &str = "jump mark-for-masquerade";

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
    endpoints: Categories<'a>,
    has_internal: bool,
    has_external: bool,
    uses_firewall: bool,
}

impl Compiler<'_> {
    pub(crate) fn service(&self, ports: &[(ServicePort, Vec<Endpoint>)]) -> ServiceTable {
        let mut table = ServiceTable::default();
        for (port, endpoints) in ports {
            let port = Port::new(port, categorize(port, endpoints, self.node));
            self.dispatch(&port, &mut table);
            self.refuse(&port, &mut table);
            self.external_chain(&port, &mut table);
            self.firewall_chain(&port, &mut table);
            self.service_chains(&port, &mut table);
        }
        table
    }

    /// The way from the maps into the port's own chains.
    fn dispatch(&self, port: &Port, table: &mut ServiceTable) {
        let (is, goto) = (port.port, |chain: String| format!("goto {chain}"));
        if port.has_internal {
            let chain = port.policy_chain(is.internal_policy_local);
            table.elements.insert((Map::ServiceIps, key(&is.cluster_ip, is, is.port)), goto(chain));
        }
        if !port.endpoints.has_any {
            return;
        }
        for ip in is.external_ips.iter().chain(&is.load_balancer_ips) {
            table.elements.insert((Map::ServiceIps, key(ip, is, is.port)), goto(port.chain("external")));
        }
        for ip in is.load_balancer_ips.iter().filter(|_| port.uses_firewall) {
            table.elements.insert((Map::FirewallIps, key(ip, is, is.port)), goto(port.chain("firewall")));
        }
        if is.node_port != 0 {
            let key = format!("{} . {}", is.protocol, is.node_port);
            table.elements.insert((Map::ServiceNodePorts, key), goto(port.chain("external")));
        }
    }

    /// Without any endpoint clients are told at once. With endpoints on other nodes only, policy `Local` drops: a
    /// balancer takes that as a sign to try another node.
    fn refuse(&self, port: &Port, table: &mut ServiceTable) {
        let is = port.port;
        let verdict = if port.endpoints.has_any { "drop" } else { "goto reject-chain" };
        if !port.has_internal {
            table.elements.insert((Map::NoEndpointServices, key(&is.cluster_ip, is, is.port)), verdict.to_owned());
        }
        if port.has_external {
            return;
        }
        for ip in is.external_ips.iter().chain(&is.load_balancer_ips) {
            table.elements.insert((Map::NoEndpointServices, key(ip, is, is.port)), verdict.to_owned());
        }
        if is.node_port != 0 {
            let key = format!("{} . {}", is.protocol, is.node_port);
            table.elements.insert((Map::NoEndpointNodePorts, key), verdict.to_owned());
        }
    }

    /// Where everything from outside goes first. Under policy `Local` the node's own traffic and pods' are answered as
    /// if they had gone out to the balancer and come back, by all endpoints.
    fn external_chain(&self, port: &Port, table: &mut ServiceTable) {
        if !port.endpoints.has_any || !port.port.is_externally_accessible() {
            return;
        }
        let mut chain = Vec::new();
        if port.port.external_policy_local {
            let cluster = port.chain("service");
            chain.extend(self.local(false).map(|matches| format!("{matches} goto {cluster}")));
            chain.push(format!("fib saddr type local {MARK}"));
            chain.push(format!("fib saddr type local goto {cluster}"));
        } else {
            chain.push(MARK.to_owned());
        }
        if port.has_external {
            chain.push(format!("goto {}", port.policy_chain(port.port.external_policy_local)));
        }
        table.chains.insert(port.chain("external"), chain);
    }

    /// Before translation: who is not in the source ranges is dropped.
    fn firewall_chain(&self, port: &Port, table: &mut ServiceTable) {
        if !port.uses_firewall {
            return;
        }
        let ranges = &port.port.load_balancer_source_ranges;
        let mut sources: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        // A node that has the balancer's address as its own asks from that address.
        if self.settings.node_ip.is_some_and(|ip| ranges.iter().any(|net| net.contains(&ip))) {
            sources.extend(port.port.load_balancer_ips.iter().map(ToString::to_string));
        }
        let family = word(self.settings.family);
        let rule = format!("{family} saddr != {{ {} }} drop", sources.join(", "));
        table.chains.insert(port.chain("firewall"), vec![rule]);
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
                chain.extend(self.masquerade_internal(is));
            }
            chain.extend(self.balance(port, endpoints));
            table.chains.insert(port.policy_chain(is_local), chain);
        }
        for endpoint in port.endpoints.reachable() {
            let family = word(self.settings.family);
            let mut chain = vec![format!("{family} saddr {} {MARK}", endpoint.address.ip())];
            if let Some(seconds) = is.affinity_seconds {
                let set = port.endpoint("affinity", endpoint);
                chain.push(format!("update @{set} {{ {family} saddr }}"));
                let kind = if family == "ip" { "ipv4_addr" } else { "ipv6_addr" };
                table.sets.insert(set, format!("type {kind}; flags dynamic,timeout; timeout {seconds}s;"));
            }
            chain.push(format!("meta l4proto {} dnat to {}", is.protocol, endpoint.address));
            table.chains.insert(port.endpoint("endpoint", endpoint), chain);
        }
    }

    /// A client outside the cluster that routes the Service range to this node would not find the way back otherwise.
    fn masquerade_internal(&self, port: &ServicePort) -> Option<String> {
        let matches = match self.settings.masquerade_all {
            true => String::new(),
            false => format!("{} ", self.local(true)?),
        };
        let family = word(self.settings.family);
        Some(format!("{family} daddr {} {} dport {} {matches}{MARK}", port.cluster_ip, port.protocol, port.port))
    }

    /// First whoever was here before goes to the same endpoint; then each endpoint has an equal chance.
    fn balance(&self, port: &Port, endpoints: &[&Endpoint]) -> Vec<String> {
        let chain = |endpoint: &Endpoint| port.endpoint("endpoint", endpoint);
        let family = word(self.settings.family);
        let mut lines: Vec<String> = match port.port.affinity_seconds {
            None => Vec::new(),
            Some(_) => {
                let again = |endpoint: &&Endpoint| {
                    format!("{family} saddr @{} goto {}", port.endpoint("affinity", endpoint), chain(endpoint))
                };
                endpoints.iter().map(again).collect()
            }
        };
        let count = endpoints.len();
        if count > FLAT_ENDPOINTS_MAX {
            let ways = endpoints.iter().enumerate().map(|(at, endpoint)| format!("{at} : goto {}", chain(endpoint)));
            lines.push(format!("numgen random mod {count} vmap {{ {} }}", ways.collect::<Vec<_>>().join(", ")));
            return lines;
        }
        lines.extend(endpoints.iter().enumerate().map(|(at, endpoint)| match count - at {
            1 => format!("goto {}", chain(endpoint)),
            left => format!("numgen random mod {left} 0 goto {}", chain(endpoint)),
        }));
        lines
    }

    /// The match for pods' traffic, or for all other.
    fn local(&self, is_negated: bool) -> Option<String> {
        let not = if is_negated { "!= " } else { "" };
        let family = word(self.settings.family);
        match &self.settings.local_detector {
            LocalDetector::None => None,
            LocalDetector::Cidr(net) => Some(format!("{family} saddr {not}{net}")),
            LocalDetector::Interface(name) => Some(format!("iifname {not}\"{name}\"")),
            LocalDetector::InterfacePrefix(prefix) => Some(format!("iifname {not}\"{prefix}*\"")),
        }
    }
}

impl<'a> Port<'a> {
    fn new(port: &'a ServicePort, endpoints: Categories<'a>) -> Port<'a> {
        let has = |is_local: bool| endpoints.has_any && !(is_local && endpoints.local.is_empty());
        let is_restricted = !port.load_balancer_ips.is_empty() && !port.load_balancer_source_ranges.is_empty();
        Port {
            has_internal: has(port.internal_policy_local),
            has_external: has(port.external_policy_local),
            uses_firewall: endpoints.has_any && is_restricted,
            port,
            endpoints,
        }
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
}

fn key(ip: &IpAddr, port: &ServicePort, number: u16) -> String {
    format!("{ip} . {} . {number}", port.protocol)
}
