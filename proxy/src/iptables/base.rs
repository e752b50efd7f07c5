//! The rules that are there without any Service: the jumps from the kernel's chains, masquerading, forwarding. Pure.

use super::{NodePorts, Settings};

/// A jump from one of the kernel's chains into one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Jump {
    pub(crate) table: &'static str,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    matches: &'static str,
}

impl Jump {
    pub(crate) fn rule(&self) -> String {
        let gap = if self.matches.is_empty() { "" } else { " " };
        format!("{}{gap}-j {}", self.matches, self.to)
    }
}

const fn jump(table: &'static str, from: &'static str, to: &'static str, matches: &'static str) -> Jump {
    Jump { table, from, to, matches }
}

const PORTALS: &str = "-m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\"";
const EXTERNAL: &str =
    "-m conntrack --ctstate NEW -m comment --comment \"kubernetes externally-visible service portals\"";
const FIREWALL: &str = "-m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\"";

/// In the order in which they are made; each goes to the head of its chain, so the last is first there.
pub(crate) const JUMPS: [Jump; 14] = [
    jump("filter", "INPUT", "KUBE-EXTERNAL-SERVICES", EXTERNAL),
    jump("filter", "FORWARD", "KUBE-EXTERNAL-SERVICES", EXTERNAL),
    jump("filter", "INPUT", "KUBE-NODEPORTS", "-m comment --comment \"kubernetes health check service ports\""),
    jump("filter", "FORWARD", "KUBE-SERVICES", PORTALS),
    jump("filter", "OUTPUT", "KUBE-SERVICES", PORTALS),
    jump("filter", "FORWARD", "KUBE-FORWARD", "-m comment --comment \"kubernetes forwarding rules\""),
    jump("filter", "INPUT", "KUBE-PROXY-FIREWALL", FIREWALL),
    jump("filter", "OUTPUT", "KUBE-PROXY-FIREWALL", FIREWALL),
    jump("filter", "FORWARD", "KUBE-PROXY-FIREWALL", FIREWALL),
    // The kubelet has the same two, and cleaning up leaves them to it.
    jump("filter", "INPUT", "KUBE-FIREWALL", ""),
    jump("filter", "OUTPUT", "KUBE-FIREWALL", ""),
    jump("nat", "OUTPUT", "KUBE-SERVICES", "-m comment --comment \"kubernetes service portals\""),
    jump("nat", "PREROUTING", "KUBE-SERVICES", "-m comment --comment \"kubernetes service portals\""),
    jump("nat", "POSTROUTING", "KUBE-POSTROUTING", "-m comment --comment \"kubernetes postrouting rules\""),
];

/// Chains that are made but not emptied: others may have rules in them.
pub(crate) const KEPT: [(&str, &str); 1] = [("filter", "KUBE-FIREWALL")];

/// The chains of a table that hold the same whatever Services there are.
pub(crate) fn own_chains(table: &str) -> &'static [&'static str] {
    match table {
        "filter" => &["KUBE-FORWARD"],
        "nat" => &["KUBE-POSTROUTING", "KUBE-MARK-MASQ"],
        _ => &[],
    }
}

/// The chains of a table that all Services share.
pub(crate) fn shared_chains(table: &str) -> &'static [&'static str] {
    match table {
        "filter" => &["KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-PROXY-FIREWALL"],
        "nat" => &["KUBE-SERVICES", "KUBE-NODEPORTS"],
        _ => &[],
    }
}

/// Stands in each table and is looked for again: when it is gone somebody flushed the table, and all rules with it.
pub(crate) const CANARY: &str = "KUBE-PROXY-CANARY";
pub(crate) const CANARY_TABLES: [&str; 3] = ["mangle", "nat", "filter"];

/// The kubelet's own rule against packets from elsewhere to loopback addresses, which `route_localnet` lets in.
pub(crate) const MARTIANS: &str = "-m comment --comment \"block incoming localnet connections\" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP";

/// The rules of the filter table's KUBE-FORWARD.
pub(crate) fn forward(settings: &Settings) -> Vec<String> {
    let mut rules = Vec::new();
    if !settings.tcp_be_liberal {
        // A packet that conntrack cannot place is not translated back; the client would answer it with a reset.
        rules.push("-m conntrack --ctstate INVALID -j DROP".to_string());
    }
    rules.push(format!(
        "-m comment --comment \"kubernetes forwarding rules\" -m mark --mark {} -j ACCEPT",
        settings.mark()
    ));
    rules.push(
        "-m comment --comment \"kubernetes forwarding conntrack rule\" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
            .to_string(),
    );
    rules
}

/// KUBE-POSTROUTING and KUBE-MARK-MASQ. The mark goes before masquerading, or a packet that passes the stack again
/// (through a tunnel) would be masqueraded twice.
pub(crate) fn masquerade(settings: &Settings) -> [(&'static str, Vec<String>); 2] {
    let mark = settings.mark();
    let bit = format!("{:#x}", settings.masquerade_mark);
    let random = if settings.random_fully { " --random-fully" } else { "" };
    [
        (
            "KUBE-POSTROUTING",
            vec![
                format!("-m mark ! --mark {mark} -j RETURN"),
                format!("-j MARK --xor-mark {bit}"),
                format!("-m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE{random}"),
            ],
        ),
        ("KUBE-MARK-MASQ", vec![format!("-j MARK --or-mark {bit}")]),
    ]
}

/// The end of the nat table's KUBE-SERVICES: what was for no Service may be for a NodePort.
pub(crate) fn node_port_tail(settings: &Settings) -> Vec<String> {
    let comment =
        "-m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\"";
    match &settings.node_ports {
        NodePorts::Everywhere => {
            let except = match (settings.is_v6(), settings.localhost_node_ports) {
                (true, _) => " ! -d ::1/128",
                (false, false) => " ! -d 127.0.0.0/8",
                (false, true) => "",
            };
            vec![format!("{comment} -m addrtype --dst-type LOCAL{except} -j KUBE-NODEPORTS")]
        }
        NodePorts::Ranges(ranges) => {
            let may_be_loopback = settings.localhost_node_ports && !settings.is_v6();
            let ours = ranges.iter().filter(|net| net.addr().is_ipv6() == settings.is_v6());
            let served = ours.filter(|net| may_be_loopback || !net.addr().is_loopback());
            served.map(|net| format!("{comment} -d {net} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS")).collect()
        }
    }
}
