//! `portmap`'s iptables rules, with upstream's chains and comments. Pure: lines for `iptables-restore`.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::conf::PortmapConf;
use crate::cni::conf::Attachment;
use crate::packet_filter::{names, rules};

const DNAT: &str = "CNI-HOSTPORT-DNAT";
const SETMARK: &str = "CNI-HOSTPORT-SETMARK";
const MASQ: &str = "CNI-HOSTPORT-MASQ";
const OLD_SNAT: &str = "CNI-HOSTPORT-SNAT";

/// The ports of one container address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) conf: &'a PortmapConf,
    pub(super) address: IpNet,
}

impl Target<'_> {
    fn is_v4(&self) -> bool {
        self.address.addr().is_ipv4()
    }
}

fn chain(conf: &PortmapConf) -> String {
    names::chain("DN-", &conf.name, &conf.container_id)
}

/// The chains in which anything of a container may stand.
pub(super) fn chains(conf: &PortmapConf) -> Vec<String> {
    let shared = ["PREROUTING", "OUTPUT", "POSTROUTING", DNAT, SETMARK, MASQ, OLD_SNAT].map(str::to_string);
    shared.into_iter().chain([chain(conf), old_chain(conf)]).collect()
}

/// Upstream's versions before 0.7 had chains for source translation, too.
fn old_chain(conf: &PortmapConf) -> String {
    names::chain("SN-", &conf.name, &conf.container_id)
}

/// A chain and the rules that must be there, in upstream's order.
#[derive(Debug, Default)]
struct Wanted {
    chains: Vec<String>,
    /// `-A …`, or `-I …` where the rule must come first.
    rules: Vec<String>,
}

fn wanted(target: &Target) -> Wanted {
    let mut wanted = Wanted::default();
    if target.conf.snat && target.conf.external_set_mark_chain.is_none() {
        mark_rules(target.conf.mark_bit, &mut wanted);
    }
    wanted.chains.push(DNAT.to_string());
    for entry in ["PREROUTING", "OUTPUT"] {
        wanted.rules.push(format!("-A {entry} -m addrtype --dst-type LOCAL -j {DNAT}"));
    }
    wanted.chains.push(chain(target.conf));
    entry_rules(target, &mut wanted.rules);
    forward_rules(target, &mut wanted.rules);
    wanted
}

/// The mark, and masquerading by it. MASQ goes first in POSTROUTING: `bridge`'s `ipMasq` chains would accept the packet
/// before.
fn mark_rules(bit: u32, wanted: &mut Wanted) {
    let mark = 1u32 << bit;
    wanted.chains.extend([SETMARK.to_string(), MASQ.to_string()]);
    wanted.rules.push(format!(
        "-A {SETMARK} -m comment --comment \"CNI portfwd masquerade mark\" -j MARK --set-xmark {mark:#x}/{mark:#x}"
    ));
    wanted.rules.push(format!("-A {MASQ} -m mark --mark {mark:#x}/{mark:#x} -j MASQUERADE"));
    wanted.rules.push(format!("-I POSTROUTING 1 -m comment --comment \"CNI portfwd requiring masquerade\" -j {MASQ}"));
}

/// The way into the container's chain: `multiport` holds 15 ports a rule.
fn entry_rules(target: &Target, out: &mut Vec<String>) {
    let conf = target.conf;
    let comment = format!("dnat name: \"{}\" id: \"{}\"", conf.name, conf.container_id);
    let comment = names::quote(&names::trim(comment));
    let conditions = if target.is_v4() { &conf.conditions_v4 } else { &conf.conditions_v6 };
    let conditions: String = conditions.iter().map(|word| format!(" {word}")).collect();
    let mut ports: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for mapping in &conf.mappings {
        ports.entry(&mapping.protocol).or_default().push(mapping.host_port.to_string());
    }
    for (protocol, ports) in ports {
        for ports in ports.chunks(15) {
            out.push(format!(
                "-A {DNAT} -p {protocol} -m comment --comment {comment} -m multiport --dports {}{conditions} -j {}",
                ports.join(","),
                chain(conf)
            ));
        }
    }
}

/// For each port: mark what comes back to the container itself, mark what comes from localhost, then translate.
fn forward_rules(target: &Target, out: &mut Vec<String>) {
    let conf = target.conf;
    let chain = chain(conf);
    let set_mark = conf.external_set_mark_chain.as_deref().unwrap_or(SETMARK);
    for mapping in &conf.mappings {
        let mut to = String::new();
        if let Some(ip) = mapping.host_address {
            if ip.is_ipv4() != target.is_v4() {
                continue;
            }
            if !ip.is_unspecified() {
                to = format!(" -d {ip}/{}", if target.is_v4() { 32 } else { 128 });
            }
        }
        let protocol = &mapping.protocol;
        let matches = format!("-p {protocol} -m {protocol} --dport {}", mapping.host_port);
        if conf.snat {
            let everyone = if target.is_v4() { "0.0.0.0/0" } else { "::/0" };
            let from = if conf.masq_all { everyone.to_string() } else { target.address.trunc().to_string() };
            out.push(format!("-A {chain} -s {from}{to} {matches} -j {set_mark}"));
            if target.is_v4() && !conf.masq_all {
                out.push(format!("-A {chain} -s 127.0.0.1/32{to} {matches} -j {set_mark}"));
            }
        }
        let ip = target.address.addr();
        let ip = if target.is_v4() { ip.to_string() } else { format!("[{ip}]") };
        let port = mapping.container_port;
        out.push(format!("-A {chain}{to} {matches} -j DNAT --to-destination {ip}:{port}"));
    }
}

/// The lines that make `listed` (`-S` of the nat table) hold all that is wanted; none when it does.
pub(super) fn missing(target: &Target, listed: &[String]) -> Vec<String> {
    let wanted = wanted(target);
    let has_chain = |chain: &String| listed.contains(&format!("-N {chain}"));
    let known: Vec<BTreeSet<String>> = listed.iter().map(|line| meaning(line)).collect();
    let chains = wanted.chains.iter().filter(|chain| !has_chain(chain)).map(|chain| format!("-N {chain}"));
    let rules = wanted.rules.iter().filter(|line| !known.contains(&meaning(line))).cloned();
    chains.chain(rules).collect()
}

/// A rule's words without their order: iptables lists a rule's parts in an order of its own, leaves out a source of
/// everywhere and writes out defaults.
fn meaning(line: &str) -> BTreeSet<String> {
    let line =
        line.replacen("-I POSTROUTING 1 ", "-A POSTROUTING ", 1).replace(" -s 0.0.0.0/0", "").replace(" -s ::/0", "");
    rules::words(&line).into_iter().collect()
}

/// The lines that remove what is left of the container's rules.
pub(super) fn removal(conf: &PortmapConf, listed: &[String]) -> Vec<String> {
    let mut lines = rules::removal(listed, &chain(conf));
    lines.extend(rules::removal(listed, &old_chain(conf)));
    lines
}

/// The lines that remove the network's containers that are not in `valid`; the comment of the jump says whose it is.
pub(super) fn stale(network: &str, valid: &[Attachment], listed: &[String]) -> Vec<String> {
    let ours = format!("dnat name: \"{network}\" id: \"");
    let keep: Vec<String> =
        valid.iter().map(|attachment| names::chain("DN-", network, &attachment.container_id)).collect();
    let jumps = listed.iter().filter(|line| rules::words(line).iter().any(|word| word.starts_with(&ours)));
    let chains: BTreeSet<String> =
        jumps.filter_map(|line| rules::target(line)).filter(|chain| !keep.contains(chain)).collect();
    chains.iter().flat_map(|chain| rules::removal(listed, chain)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::conf::test_conf;
    use super::*;

    fn conf(extra: &str) -> PortmapConf {
        test_conf(&format!(
            r#"{{"cniVersion":"1.0.0","name":"kube"{extra},"runtimeConfig":{{"portMappings":[
                {{"hostPort":8080,"containerPort":80,"protocol":"tcp"}},
                {{"hostPort":53,"containerPort":53,"protocol":"UDP","hostIP":"192.0.2.1"}}]}}}}"#
        ))
        .unwrap()
    }

    fn lines(conf: &PortmapConf, address: &str, listed: &[String]) -> String {
        missing(&Target { conf, address: address.parse().unwrap() }, listed)
            .join("\n")
            .replace(&chain(conf), "CNI-DN-x")
    }

    #[test]
    fn a_host_without_rules() {
        assert_eq!(
            lines(&conf(""), "10.1.1.2/24", &[]),
            "-N CNI-HOSTPORT-SETMARK\n\
             -N CNI-HOSTPORT-MASQ\n\
             -N CNI-HOSTPORT-DNAT\n\
             -N CNI-DN-x\n\
             -A CNI-HOSTPORT-SETMARK -m comment --comment \"CNI portfwd masquerade mark\" -j MARK --set-xmark 0x2000/0x2000\n\
             -A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE\n\
             -I POSTROUTING 1 -m comment --comment \"CNI portfwd requiring masquerade\" -j CNI-HOSTPORT-MASQ\n\
             -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT\n\
             -A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT\n\
             -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment \"dnat name: \\\"kube\\\" id: \\\"abc\\\"\" -m multiport --dports 8080 -j CNI-DN-x\n\
             -A CNI-HOSTPORT-DNAT -p udp -m comment --comment \"dnat name: \\\"kube\\\" id: \\\"abc\\\"\" -m multiport --dports 53 -j CNI-DN-x\n\
             -A CNI-DN-x -s 10.1.1.0/24 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK\n\
             -A CNI-DN-x -s 127.0.0.1/32 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK\n\
             -A CNI-DN-x -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.1.1.2:80\n\
             -A CNI-DN-x -s 10.1.1.0/24 -d 192.0.2.1/32 -p udp -m udp --dport 53 -j CNI-HOSTPORT-SETMARK\n\
             -A CNI-DN-x -s 127.0.0.1/32 -d 192.0.2.1/32 -p udp -m udp --dport 53 -j CNI-HOSTPORT-SETMARK\n\
             -A CNI-DN-x -d 192.0.2.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.1.1.2:53"
        );
    }

    #[test]
    fn what_is_there_is_not_added_again() {
        let conf = conf("");
        let target = Target { conf: &conf, address: "10.1.1.2/24".parse().unwrap() };
        let listed: Vec<String> =
            missing(&target, &[]).iter().map(|line| line.replace("-I POSTROUTING 1", "-A POSTROUTING")).collect();
        assert_eq!(missing(&target, &listed), Vec::<String>::new());
        assert_eq!(missing(&target, &listed[..listed.len() - 1]).len(), 1);
    }

    #[test]
    fn other_families_and_options() {
        let text = lines(&conf(r#","snat":false"#), "fd00::2/64", &[]);
        assert!(
            text.ends_with("-A CNI-DN-x -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd00::2]:80"),
            "{text}"
        );
        assert!(!text.contains("SETMARK"));
        let text = lines(
            &conf(r#","externalSetMarkChain":"KUBE-MARK-MASQ","conditionsV4":["!","-d","192.0.2.0/24"]"#),
            "10.1.1.2/24",
            &[],
        );
        assert!(text.contains("--dports 8080 ! -d 192.0.2.0/24 -j CNI-DN-x"), "{text}");
        assert!(text.contains("-j KUBE-MARK-MASQ") && !text.contains("-N CNI-HOSTPORT-SETMARK"));
    }

    #[test]
    fn gc_and_del_take_the_containers_chain_only() {
        let conf = conf("");
        let target = Target { conf: &conf, address: "10.1.1.2/24".parse().unwrap() };
        let listed = missing(&target, &[]);
        let gone = removal(&conf, &listed);
        assert_eq!(gone.len(), 4, "{gone:?}");
        assert_eq!(stale("kube", &[], &listed), gone);
        let valid = [Attachment { container_id: "abc".into(), ifname: "eth0".into() }];
        assert!(stale("kube", &valid, &listed).is_empty() && stale("other", &[], &listed).is_empty());
    }
}
