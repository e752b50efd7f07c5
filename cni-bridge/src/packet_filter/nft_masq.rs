//! `ipMasq` with nftables: upstream's table `inet cni_plugins_masquerade`, a rule an address, found again by comment.

use ipnet::IpNet;

use super::masq::Owner;
use super::{names, nft};
use crate::cni::Failure;
use crate::cni::conf::Attachment;

const TABLE: &str = "inet cni_plugins_masquerade";
const CHAIN: &str = "masq_checks";

/// 16 digits for the network, 16 for the attachment.
fn hashes(owner: Owner, ifname: &str) -> String {
    let instance = names::hash(&format!("{ifname}:{}", owner.container_id));
    format!("{}-{}", network_hash(owner.network), &instance[..16])
}

fn network_hash(network: &str) -> String {
    names::hash(network)[..16].to_string()
}

fn comment(owner: Owner, ifname: &str) -> String {
    let mut text = format!(
        "{}, net: {}, if: {ifname}, id: {}",
        hashes(owner, ifname),
        owner.network.replace('"', ""),
        owner.container_id.replace('"', "")
    );
    // nftables comments hold 128 bytes.
    text.truncate(128);
    text
}

/// Masquerades what comes from `addresses`; rules that an earlier ADD of the same attachment left go.
pub(crate) fn ensure(owner: Owner, ifname: &str, addresses: &[IpNet]) -> Result<(), Failure> {
    let stale = deletions(|comment| comment.starts_with(&hashes(owner, ifname)));
    let script = format!("{}{}{}", base(), stale, rules(owner, ifname, addresses));
    nft::apply(&script)?.map_err(|error| Failure::internal(format!("failed to masquerade {addresses:?}: {error}")))
}

pub(crate) fn remove(owner: Owner, ifname: &str) -> Result<(), Failure> {
    delete(deletions(|comment| comment.starts_with(&hashes(owner, ifname))))
}

/// GC: removes the network's rules of every attachment that is not in `valid`.
pub(crate) fn retain(network: &str, valid: &[Attachment]) -> Result<(), Failure> {
    let keep: Vec<String> = valid
        .iter()
        .map(|attachment| hashes(Owner { network, container_id: &attachment.container_id }, &attachment.ifname))
        .collect();
    let of_network = network_hash(network);
    delete(deletions(|comment| comment.starts_with(&of_network) && !keep.iter().any(|hash| comment.starts_with(hash))))
}

fn delete(script: String) -> Result<(), Failure> {
    if script.is_empty() {
        return Ok(());
    }
    nft::apply(&script)?.map_err(|error| Failure::internal(format!("failed to remove masquerading rules: {error}")))
}

fn deletions(is_gone: impl Fn(&str) -> bool) -> String {
    let rules = nft::list("inet", "cni_plugins_masquerade", CHAIN).into_iter().filter(|rule| is_gone(&rule.comment));
    rules.map(|rule| format!("delete rule {TABLE} {CHAIN} handle {}\n", rule.handle)).collect()
}

fn base() -> String {
    format!(
        "add table {TABLE}\n\
         add chain {TABLE} {CHAIN}\n\
         add chain {TABLE} postrouting {{ type nat hook postrouting priority 100; }}\n\
         flush chain {TABLE} postrouting\n\
         add rule {TABLE} postrouting ip daddr == 224.0.0.0/4 return\n\
         add rule {TABLE} postrouting ip6 daddr == ff00::/8 return\n\
         add rule {TABLE} postrouting goto {CHAIN}\n"
    )
}

fn rules(owner: Owner, ifname: &str, addresses: &[IpNet]) -> String {
    let lines = addresses.iter().map(|net| {
        let ip = if net.addr().is_ipv4() { "ip" } else { "ip6" };
        let comment = comment(owner, ifname);
        format!(
            "add rule {TABLE} {CHAIN} {ip} saddr == {} {ip} daddr != {} masquerade comment \"{comment}\"\n",
            net.addr(),
            net.trunc()
        )
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rule_an_address_with_its_owner_in_the_comment() {
        let owner = Owner { network: "kube", container_id: "abc" };
        let text = rules(owner, "eth0", &["10.1.1.2/24".parse().unwrap(), "fd00::2/64".parse().unwrap()]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("add rule inet cni_plugins_masquerade masq_checks ip saddr == 10.1.1.2 ip daddr != 10.1.1.0/24 masquerade comment \""));
        assert!(lines[1].contains("ip6 saddr == fd00::2 ip6 daddr != fd00::/64 masquerade"));
        assert!(lines[0].ends_with(", net: kube, if: eth0, id: abc\""));
        assert!(comment(Owner { network: "kube", container_id: &"a".repeat(200) }, "eth0").len() == 128);
    }
}
