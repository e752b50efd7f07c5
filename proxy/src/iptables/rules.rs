//! The rules of one Service. Pure: ports and endpoints in, lines out.

use std::net::IpAddr;

use super::{ServiceRules, Settings, Shared, names};
use crate::model::{Categories, Endpoint, NodeView, ServicePort, categorize};

const MARK: &str = "-j KUBE-MARK-MASQ";

/// What all of a Service's rules are made from.
pub(crate) struct Compiler<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) node: &'a NodeView,
    /// Leaves out the comments of endpoints: with thousands of them they are a third of the table.
    pub(crate) brief: bool,
}

/// One port with its endpoints sorted, and where its traffic goes.
struct Port<'a> {
    port: &'a ServicePort,
    endpoints: Categories<'a>,
    cluster_chain: String,
    local_chain: String,
    external_chain: String,
    firewall_chain: String,
    has_internal: bool,
    has_external: bool,
    uses_firewall: bool,
}

impl Compiler<'_> {
    pub(crate) fn service(&self, ports: &[(ServicePort, Vec<Endpoint>)]) -> ServiceRules {
        let mut rules = ServiceRules::default();
        for (port, endpoints) in ports {
            let port = Port::new(port, categorize(port, endpoints, self.node));
            port.dispatch(&mut rules);
            port.refuse(&mut rules);
            self.internal_chain(&port, &mut rules);
            self.external_chain(&port, &mut rules);
            self.firewall_chain(&port, &mut rules);
            self.endpoint_chains(&port, &mut rules);
        }
        rules
    }

    /// Masquerading on the way to the cluster address. A client outside the cluster that routes the Service range to
    /// this node would not find the way back otherwise.
    fn internal_chain(&self, port: &Port, rules: &mut ServiceRules) {
        if !port.has_internal {
            return;
        }
        let Some(matches) = (if self.settings.masquerade_all {
            Some(String::new())
        } else {
            self.settings.local_detector.if_not_local()
        }) else {
            return;
        };
        let gap = if matches.is_empty() { "" } else { " " };
        let rule = format!("{}{gap}{matches} {MARK}", port.to("cluster IP", &port.port.cluster_ip, port.port.port));
        rules.chains.entry(port.internal_chain().to_string()).or_default().push(rule);
    }

    /// Where everything from outside goes first. Under policy `Local` the node's own traffic and pods' are answered as
    /// if they had gone out to the balancer and come back, by all endpoints.
    fn external_chain(&self, port: &Port, rules: &mut ServiceRules) {
        if !port.endpoints.has_any || !port.port.is_externally_accessible() {
            return;
        }
        let name = &port.port.name;
        let comment = |what: &str| comment(&format!("{what} {name} external destinations"));
        let mut chain = Vec::new();
        if !port.port.external_policy_local {
            chain.push(format!("{} {MARK}", comment("masquerade traffic for")));
        } else {
            if let Some(matches) = self.settings.local_detector.if_local() {
                chain.push(format!("{} {matches} -j {}", comment("pod traffic for"), port.cluster_chain));
            }
            let local = "-m addrtype --src-type LOCAL";
            chain.push(format!("{} {local} {MARK}", comment("masquerade LOCAL traffic for")));
            chain.push(format!("{} {local} -j {}", comment("route LOCAL traffic for"), port.cluster_chain));
        }
        if port.has_external {
            chain.push(format!("-j {}", port.external_policy_chain()));
        }
        rules.chains.insert(port.external_chain.clone(), chain);
    }

    /// Only clients in the source ranges go on; KUBE-PROXY-FIREWALL drops what comes out of here untranslated.
    fn firewall_chain(&self, port: &Port, rules: &mut ServiceRules) {
        if !port.uses_firewall {
            return;
        }
        let name = &port.port.name;
        let from = |source: String| {
            format!("{} -s {source} -j {}", comment(&format!("{name} loadbalancer IP")), port.external_chain)
        };
        let ranges = &port.port.load_balancer_source_ranges;
        let mut chain: Vec<String> = ranges.iter().map(|net| from(net.to_string())).collect();
        // A node that has the balancer's address as its own (as VIP balancers set it) asks from that address.
        if self.settings.node_ip.is_some_and(|ip| ranges.iter().any(|net| net.contains(&ip))) {
            chain.extend(port.port.load_balancer_ips.iter().map(|ip| from(host(ip))));
        }
        chain.push(comment(&format!("other traffic to {name} will be dropped by KUBE-PROXY-FIREWALL")));
        rules.chains.insert(port.firewall_chain.clone(), chain);
    }

    fn endpoint_chains(&self, port: &Port, rules: &mut ServiceRules) {
        for (is_used, chain, endpoints) in [
            (port.port.uses_cluster_endpoints(), &port.cluster_chain, &port.endpoints.cluster),
            (port.port.uses_local_endpoints(), &port.local_chain, &port.endpoints.local),
        ] {
            if is_used && !endpoints.is_empty() {
                let lines = self.balance(port, endpoints);
                rules.chains.entry(chain.clone()).or_default().extend(lines);
            }
        }
        for endpoint in port.endpoints.reachable() {
            rules.chains.insert(port.endpoint_chain(endpoint), self.endpoint_chain(port, endpoint));
        }
    }

    /// First whoever was here before goes to the same endpoint; then each endpoint has an equal chance.
    fn balance(&self, port: &Port, endpoints: &[&Endpoint]) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(seconds) = port.port.affinity_seconds {
            lines.extend(endpoints.iter().map(|endpoint| {
                let chain = port.endpoint_chain(endpoint);
                let recent = format!("-m recent --name {chain} --rcheck --seconds {seconds} --reap");
                format!("{}{recent} -j {chain}", self.endpoint_comment(port, endpoint))
            }));
        }
        let count = endpoints.len();
        lines.extend(endpoints.iter().enumerate().map(|(at, endpoint)| {
            let chance = match count - at {
                1 => String::new(),
                left => format!("-m statistic --mode random --probability {} ", probability(left)),
            };
            format!("{}{chance}-j {}", self.endpoint_comment(port, endpoint), port.endpoint_chain(endpoint))
        }));
        lines
    }

    /// A packet that comes back to the pod that sent it must look like the node's, or the pod would answer itself.
    fn endpoint_chain(&self, port: &Port, endpoint: &Endpoint) -> Vec<String> {
        let comment = if self.brief { String::new() } else { format!("{} ", comment(&port.port.name)) };
        let protocol = &port.port.protocol;
        let recent = match port.port.affinity_seconds {
            Some(_) => format!("-m recent --name {} --set ", port.endpoint_chain(endpoint)),
            None => String::new(),
        };
        vec![
            format!("{comment}-s {} {MARK}", host(&endpoint.address.ip())),
            format!("{comment}{recent}-m {protocol} -p {protocol} -j DNAT --to-destination {}", endpoint.address),
        ]
    }

    fn endpoint_comment(&self, port: &Port, endpoint: &Endpoint) -> String {
        if self.brief {
            return String::new();
        }
        format!("{} ", comment(&format!("{} -> {}", port.port.name, endpoint.address)))
    }
}

impl<'a> Port<'a> {
    fn new(port: &'a ServicePort, endpoints: Categories<'a>) -> Port<'a> {
        let (name, protocol) = (&port.name, &port.protocol);
        let has = |is_local: bool| endpoints.has_any && !(is_local && endpoints.local.is_empty());
        Port {
            cluster_chain: names::cluster(name, protocol),
            local_chain: names::local(name, protocol),
            external_chain: names::external(name, protocol),
            firewall_chain: names::firewall(name, protocol),
            has_internal: has(port.internal_policy_local),
            has_external: has(port.external_policy_local),
            uses_firewall: endpoints.has_any
                && !port.load_balancer_ips.is_empty()
                && !port.load_balancer_source_ranges.is_empty(),
            port,
            endpoints,
        }
    }

    fn internal_chain(&self) -> &str {
        if self.port.internal_policy_local { &self.local_chain } else { &self.cluster_chain }
    }

    fn external_policy_chain(&self) -> &str {
        if self.port.external_policy_local { &self.local_chain } else { &self.cluster_chain }
    }

    fn endpoint_chain(&self, endpoint: &Endpoint) -> String {
        names::endpoint(&self.port.name, &self.port.protocol, &endpoint.address.to_string())
    }

    /// The way from the shared chains into the port's own.
    fn dispatch(&self, rules: &mut ServiceRules) {
        let port = self.port;
        if self.has_internal {
            let target = self.internal_chain();
            rules.push(
                Shared::NatServices,
                format!("{} -j {target}", self.to("cluster IP", &port.cluster_ip, port.port)),
            );
        }
        if !self.endpoints.has_any {
            return;
        }
        for ip in &port.external_ips {
            let matches = self.to("external IP", ip, port.port);
            rules.push(Shared::NatServices, format!("{matches} -j {}", self.external_chain));
        }
        let balancer_chain = if self.uses_firewall { &self.firewall_chain } else { &self.external_chain };
        for ip in &port.load_balancer_ips {
            let matches = self.to("loadbalancer IP", ip, port.port);
            rules.push(Shared::NatServices, format!("{matches} -j {balancer_chain}"));
            if self.uses_firewall {
                let matches = self.to(&format!("traffic not accepted by {}", self.firewall_chain), ip, port.port);
                rules.push(Shared::FilterProxyFirewall, format!("{matches} -j DROP"));
            }
        }
        if port.node_port != 0 {
            let matches = self.matches(&port.name, "", port.node_port);
            rules.push(Shared::NatNodePorts, format!("{matches} -j {}", self.external_chain));
        }
    }

    /// Without any endpoint clients are told at once (REJECT). With endpoints on other nodes only, policy `Local` drops:
    /// a balancer takes that as a sign to try another node.
    fn refuse(&self, rules: &mut ServiceRules) {
        let port = self.port;
        let (target, words) = match self.endpoints.has_any {
            false => ("REJECT", "has no endpoints"),
            true => ("DROP", "has no local endpoints"),
        };
        if !self.has_internal {
            rules.push(Shared::FilterServices, format!("{} -j {target}", self.to(words, &port.cluster_ip, port.port)));
        }
        if !self.has_external {
            for ip in port.external_ips.iter().chain(&port.load_balancer_ips) {
                rules.push(Shared::FilterExternalServices, format!("{} -j {target}", self.to(words, ip, port.port)));
            }
            if port.node_port != 0 {
                let matches =
                    self.matches(&format!("{} {words}", port.name), " -m addrtype --dst-type LOCAL", port.node_port);
                rules.push(Shared::FilterExternalServices, format!("{matches} -j {target}"));
            }
        }
        if port.health_check_node_port != 0 {
            let comment = comment(&format!("{} health check node port", port.name));
            let number = port.health_check_node_port;
            rules.push(Shared::FilterNodePorts, format!("{comment} -m tcp -p tcp --dport {number} -j ACCEPT"));
        }
    }

    fn to(&self, what: &str, ip: &IpAddr, number: u16) -> String {
        let (name, protocol) = (&self.port.name, &self.port.protocol);
        let comment = comment(&format!("{name} {what}"));
        format!("{comment} -m {protocol} -p {protocol} -d {} --dport {number}", host(ip))
    }

    fn matches(&self, words: &str, extra: &str, number: u16) -> String {
        let protocol = &self.port.protocol;
        format!("{}{extra} -m {protocol} -p {protocol} --dport {number}", comment(words))
    }
}

/// Names have neither quotes nor backslashes (DNS labels), so a comment needs no escapes. iptables takes 255 bytes.
fn comment(text: &str) -> String {
    let text = text.get(..255).unwrap_or(text);
    format!("-m comment --comment \"{text}\"")
}

/// The address with its full prefix, as iptables lists it.
fn host(ip: &IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{ip}/32"),
        IpAddr::V6(ip) => format!("{ip}/128"),
    }
}

fn probability(left: usize) -> String {
    format!("{:.10}", 1.0 / left as f64)
}
