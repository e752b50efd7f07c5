//! `macspoofchk`: frames from the container's port must carry the container's hardware address.
//!
//! Upstream's nftables layout: table `bridge nat`, a chain for the interface and one for the address, so that either
//! plugin can take the rules away.

use crate::cni::{Failure, Request};
use crate::packet_filter::nft;

const TABLE: &str = "nat";
const BASE: &str = "PREROUTING";

fn id(request: &Request) -> String {
    format!("{}-{}", request.container_id, request.ifname)
}

/// The chains are emptied first, so that an ADD that was cut short can be repeated.
pub(super) fn ensure(request: &Request, host_name: &str, mac: &str) -> Result<(), Failure> {
    remove(request)?;
    nft::apply(&script(&id(request), host_name, mac))?
        .map_err(|error| Failure::internal(format!("failed to setup spoof-check: {error}")))
}

fn script(id: &str, host_name: &str, mac: &str) -> String {
    let interface = format!("cni-br-iface-{id}");
    let comment = format!("comment \"macspoofchk-{id}\"");
    format!(
        "add table bridge {TABLE}\n\
         add chain bridge {TABLE} {BASE} {{ type filter hook prerouting priority -300; policy accept; }}\n\
         add chain bridge {TABLE} {interface}-mac\n\
         add chain bridge {TABLE} {interface}\n\
         flush chain bridge {TABLE} {interface}-mac\n\
         flush chain bridge {TABLE} {interface}\n\
         add rule bridge {TABLE} {interface}-mac ether saddr {mac} return {comment}\n\
         add rule bridge {TABLE} {interface}-mac drop {comment}\n\
         add rule bridge {TABLE} {interface} jump {interface}-mac {comment}\n\
         add rule bridge {TABLE} {BASE} iifname \"{host_name}\" jump {interface} {comment}\n"
    )
}

/// Removes the rules of this attachment, whatever is left of them.
pub(super) fn remove(request: &Request) -> Result<(), Failure> {
    let id = id(request);
    let interface = format!("cni-br-iface-{id}");
    let comment = format!("macspoofchk-{id}");
    let jumps = nft::list("bridge", TABLE, BASE).into_iter().filter(|rule| rule.comment == comment);
    let mut lines: Vec<String> =
        jumps.map(|rule| format!("delete rule bridge {TABLE} {BASE} handle {}", rule.handle)).collect();
    // A chain can go only when nothing jumps to it: the interface's before the address's.
    for chain in [interface.clone(), format!("{interface}-mac")] {
        if !nft::list("bridge", TABLE, &chain).is_empty() {
            lines.push(format!("flush chain bridge {TABLE} {chain}"));
            lines.push(format!("delete chain bridge {TABLE} {chain}"));
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    lines.push(String::new());
    nft::apply(&lines.join("\n"))?
        .map_err(|error| Failure::internal(format!("failed to teardown spoof-check: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_address_passes() {
        let script = script("abc-eth0", "veth1", "02:00:00:00:00:01");
        assert!(
            script
                .contains("add rule bridge nat cni-br-iface-abc-eth0-mac ether saddr 02:00:00:00:00:01 return comment")
        );
        let last = script.lines().last().unwrap();
        assert_eq!(
            last,
            r#"add rule bridge nat PREROUTING iifname "veth1" jump cni-br-iface-abc-eth0 comment "macspoofchk-abc-eth0""#
        );
    }
}
