//! `ipMasq` with iptables: traffic that leaves the pod's network gets the node's address.
//!
//! The rules and names are upstream's. Enter at [`ensure`] and [`start_removal`].

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Family, Iptables, Restore, names, rules};
use crate::cni::Failure;
use crate::cni::conf::Attachment;

/// Whose rules: upstream names chain and comment by network and container (not by interface).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    pub(crate) network: &'a str,
    pub(crate) container_id: &'a str,
}

impl Owner<'_> {
    fn chain(self) -> String {
        names::chain("", self.network, self.container_id)
    }

    fn comment(self) -> String {
        names::quote(&names::comment(self.network, self.container_id))
    }
}

/// Masquerades what comes from `addresses`: one `iptables-restore` a family when the chain is new; when it is there
/// already (an ADD that was cut short, or a second interface of the container), what is missing is looked up first.
pub(crate) fn ensure(owner: Owner, addresses: &[IpNet]) -> Result<(), Failure> {
    for family in Family::ALL {
        let ours = of_family(addresses, family);
        if ours.is_empty() {
            continue;
        }
        let iptables = Iptables(family);
        let Err(_chain_exists) = iptables.restore("nat", &fresh(owner, &ours))? else { continue };
        let listed = iptables.list_chains("nat", &["POSTROUTING", &owner.chain()])?;
        iptables
            .restore("nat", &missing(owner, &ours, &listed))?
            .map_err(|error| Failure::internal(format!("failed to masquerade {ours:?}: {error}")))?;
    }
    Ok(())
}

/// Removing the owner's rules, begun; [`Removal::finish`] ends it.
pub(crate) struct Removal<'a> {
    owner: Owner<'a>,
    was_known: bool,
    begun: Vec<(Iptables, Option<Restore>)>,
}

/// Begins to remove the owner's rules.
///
/// `addresses`: those that the container had, as far as known. With them a listing is only needed when a rule is
/// missing; without any, both families are looked through.
pub(crate) fn start_removal<'a>(owner: Owner<'a>, addresses: &[IpNet]) -> Result<Removal<'a>, Failure> {
    let mut removal = Removal { owner, was_known: !addresses.is_empty(), begun: Vec::new() };
    for iptables in Family::ALL.map(Iptables).into_iter().filter(|iptables| iptables.is_there()) {
        let ours = of_family(addresses, iptables.0);
        if !ours.is_empty() {
            let restore = iptables.start_restore("nat", &known_removal(owner, &ours))?;
            removal.begun.push((iptables, Some(restore)));
        } else if addresses.is_empty() {
            removal.begun.push((iptables, None));
        }
    }
    Ok(removal)
}

impl Removal<'_> {
    /// Removes whatever is left; `true` when all rules were where they were expected.
    pub(crate) fn finish(self) -> Result<bool, Failure> {
        let mut failures = Vec::new();
        let mut was_whole = self.was_known;
        for (iptables, restore) in self.begun {
            let is_done = restore.map(Restore::finish).transpose();
            if !matches!(is_done, Ok(Some(Ok(())))) {
                was_whole = false;
                failures.extend(remove_listed(iptables, self.owner).err());
            }
        }
        Failure::all(failures).map(|()| was_whole)
    }
}

fn remove_listed(iptables: Iptables, owner: Owner) -> Result<(), Failure> {
    let chain = owner.chain();
    let lines = rules::removal(&iptables.list_chains("nat", &["POSTROUTING", &chain])?, &chain);
    if lines.is_empty() {
        return Ok(());
    }
    iptables
        .restore("nat", &lines)?
        .map_err(|error| Failure::internal(format!("failed to remove chain {chain}: {error}")))
}

/// GC: removes the chains of the network's containers that are not in `valid`. Chain names are hashes; the comment in
/// each rule says whose it is.
pub(crate) fn retain(network: &str, valid: &[Attachment]) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for iptables in Family::ALL.map(Iptables).into_iter().filter(|iptables| iptables.is_there()) {
        let listed = iptables.list("nat")?;
        let lines: Vec<String> =
            stale_chains(&listed, network, valid).iter().flat_map(|chain| rules::removal(&listed, chain)).collect();
        if !lines.is_empty() {
            failures.extend(iptables.restore("nat", &lines)?.err().map(Failure::internal));
        }
    }
    Failure::all(failures)
}

fn stale_chains(listed: &[String], network: &str, valid: &[Attachment]) -> Vec<String> {
    let ours = format!("name: \"{network}\" id: \"");
    let keep: Vec<String> =
        valid.iter().map(|attachment| Owner { network, container_id: &attachment.container_id }.chain()).collect();
    let mut chains = Vec::new();
    for words in listed.iter().filter(|line| line.starts_with("-A CNI-")).map(|line| rules::words(line)) {
        let chain = &words[1];
        let is_ours = words.iter().any(|word| word.starts_with(&ours));
        if is_ours && !keep.contains(chain) && !chains.contains(chain) {
            chains.push(chain.clone());
        }
    }
    chains
}

fn of_family(addresses: &[IpNet], family: Family) -> Vec<IpNet> {
    addresses.iter().copied().filter(|net| Family::of(net.addr()) == family).collect()
}

/// The owner's rules for one address: in its chain, and the jump to it.
///
/// The jump is appended. kube-proxy's KUBE-POSTROUTING must see a packet first: it masquerades by mark what this chain
/// would ACCEPT, a pod's packet to its own Service that was turned around to a pod of the same subnet.
fn rules_for(owner: Owner, net: &IpNet) -> [String; 3] {
    let (chain, comment) = (owner.chain(), owner.comment());
    let (multicast, bits) = match net {
        IpNet::V4(_) => ("224.0.0.0/4", 32),
        IpNet::V6(_) => ("ff00::/8", 128),
    };
    [
        format!("-A {chain} -d {} -m comment --comment {comment} -j ACCEPT", net.trunc()),
        format!("-A {chain} ! -d {multicast} -m comment --comment {comment} -j MASQUERADE"),
        jump(owner, net.addr(), bits),
    ]
}

fn jump(owner: Owner, address: IpAddr, bits: u8) -> String {
    format!("-A POSTROUTING -s {address}/{bits} -m comment --comment {} -j {}", owner.comment(), owner.chain())
}

/// `-N` (not `:chain`, which would empty a chain that is there) makes the transaction fail when it is not new.
fn fresh(owner: Owner, addresses: &[IpNet]) -> Vec<String> {
    let mut lines = vec![format!("-N {}", owner.chain())];
    for line in addresses.iter().flat_map(|net| rules_for(owner, net)) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

fn missing(owner: Owner, addresses: &[IpNet], listed: &[String]) -> Vec<String> {
    let known: Vec<Vec<String>> = listed.iter().map(|line| rules::words(line)).collect();
    let has_chain = listed.iter().any(|line| *line == format!("-N {}", owner.chain()));
    let wanted = fresh(owner, addresses).into_iter().enumerate();
    wanted
        .filter(|(at, line)| if *at == 0 { !has_chain } else { !known.contains(&rules::words(line)) })
        .map(|(_, line)| line)
        .collect()
}

fn known_removal(owner: Owner, addresses: &[IpNet]) -> Vec<String> {
    let jumps = addresses.iter().map(|net| jump(owner, net.addr(), net.max_prefix_len()).replacen("-A", "-D", 1));
    let chain = owner.chain();
    jumps.chain([format!("-F {chain}"), format!("-X {chain}")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { network: "kube", container_id: "abc" };

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn a_new_chain_in_one_transaction() {
        let chain = OWNER.chain();
        let comment = r#"-m comment --comment "name: \"kube\" id: \"abc\"""#;
        assert_eq!(
            fresh(OWNER, &[net("10.1.1.2/24")]),
            [
                format!("-N {chain}"),
                format!("-A {chain} -d 10.1.1.0/24 {comment} -j ACCEPT"),
                format!("-A {chain} ! -d 224.0.0.0/4 {comment} -j MASQUERADE"),
                format!("-A POSTROUTING -s 10.1.1.2/32 {comment} -j {chain}"),
            ]
        );
    }

    #[test]
    fn only_what_is_missing_is_added() {
        let wanted = fresh(OWNER, &[net("10.1.1.2/24")]);
        assert_eq!(missing(OWNER, &[net("10.1.1.2/24")], &wanted), Vec::<String>::new());
        assert_eq!(missing(OWNER, &[net("10.1.1.2/24")], &wanted[..3]), wanted[3..]);
        let second = missing(OWNER, &[net("10.1.2.9/24")], &wanted);
        assert_eq!(second.len(), 2, "the chain and its MASQUERADE rule are shared: {second:?}");
    }

    #[test]
    fn gc_finds_the_networks_own_chains_by_their_comments() {
        let other = Owner { network: "kube", container_id: "gone" };
        let foreign = Owner { network: "other", container_id: "x" };
        let mut listed: Vec<String> = Vec::new();
        for owner in [OWNER, other, foreign] {
            listed.extend(fresh(owner, &[net("10.1.1.2/24")]));
        }
        let valid = [Attachment { container_id: "abc".into(), ifname: "eth0".into() }];
        assert_eq!(stale_chains(&listed, "kube", &valid), [other.chain()]);
    }

    #[test]
    fn removal_of_known_addresses_needs_no_listing() {
        let lines = known_removal(OWNER, &[net("fd00::2/64")]);
        assert!(lines[0].starts_with("-D POSTROUTING -s fd00::2/128 "));
        assert_eq!(lines[2], format!("-X {}", OWNER.chain()));
    }
}
