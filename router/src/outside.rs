//! Pods' way through the node and out of the cluster: forwarding switched on and let through, and masquerading of what
//! leaves. [`masquerading`] is the text of a table of its own, pure; [`Way`] keeps all of it there.

use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::nft::tool;

const TABLE: &str = "inet skiff-router-nat";
const CHAIN: &str = "SKIFF-FORWARD";

/// The way to have no such table.
pub(crate) fn removal() -> String {
    format!("table {TABLE}\ndelete table {TABLE}\n")
}

/// What leaves the cluster looks as if it came from the node; what stays in it is not translated.
pub(crate) fn masquerading(cluster: &[IpNet]) -> String {
    let rules = cluster.iter().map(|range| {
        let (family, multicast) = match range {
            IpNet::V4(_) => ("ip", "224.0.0.0/4"),
            IpNet::V6(_) => ("ip6", "ff00::/8"),
        };
        format!("    {family} saddr {range} {family} daddr != {{ {range}, {multicast} }} masquerade\n")
    });
    let rules: String = rules.collect();
    format!(
        "{}table {TABLE} {{\n  chain postrouting {{\n    type nat hook postrouting priority srcnat; policy accept;\n{rules}  }}\n}}\n",
        removal()
    )
}

/// What was done for pods' packets. What fails is told and left: the node may have been prepared by others.
pub(crate) struct Way {
    cluster: Vec<IpNet>,
    sysctl_root: PathBuf,
    /// The table as it was when it was written.
    written: Option<String>,
}

impl Way {
    /// Does nothing yet, and never does where no range is known.
    pub(crate) fn new(cluster: &[IpNet], sysctl_root: PathBuf) -> Way {
        Way { cluster: cluster.to_vec(), sysctl_root, written: None }
    }

    /// Opens the way, or opens it again where somebody closed it: programs that own a host's packet filter flush all of
    /// it when they are told to begin anew.
    pub(crate) async fn ensure(&mut self) {
        if self.cluster.is_empty() {
            return;
        }
        let has_v6 = self.cluster.iter().any(|range| range.addr().is_ipv6());
        if let Err(error) = switch_forwarding_on(&self.sysctl_root, has_v6) {
            tracing::warn!(%error, "forwarding cannot be switched on");
        }
        if let Err(error) = self.ensure_masquerading().await {
            tracing::warn!(%error, "what leaves the cluster is not masqueraded");
        }
        let ranges = self.cluster.clone();
        let accepted = tokio::task::spawn_blocking(move || accept_forwarding(&ranges)).await;
        if let Ok(Err(error)) = accepted {
            tracing::warn!(error, "a host that forwards nothing by default will stop pods' packets");
        }
    }

    async fn ensure_masquerading(&mut self) -> Result<(), tool::ToolError> {
        if self.written.is_some() && tool::listing(TABLE).await? == self.written {
            return Ok(());
        }
        tool::apply(&masquerading(&self.cluster)).await?;
        self.written = tool::listing(TABLE).await?;
        Ok(())
    }
}

/// The kernel forwards packets. Failing is told by the caller, and left: a container may not be let to.
pub(crate) fn switch_forwarding_on(sysctl_root: &Path, has_v6: bool) -> std::io::Result<()> {
    let v6 = has_v6.then_some("net/ipv6/conf/all/forwarding");
    for name in ["net/ipv4/ip_forward"].into_iter().chain(v6) {
        let path = sysctl_root.join(name);
        if std::fs::read_to_string(&path)?.trim() == "0" {
            std::fs::write(&path, "1")?;
        }
    }
    Ok(())
}

/// Lets pods' packets through a host that forwards nothing by default, as Docker's are. That must stand in the table
/// that says so: accepting a packet in one table does not keep another from dropping it. Blocks while the tool runs.
pub(crate) fn accept_forwarding(cluster: &[IpNet]) -> Result<(), String> {
    for is_v6 in [false, true] {
        let of_family: Vec<&IpNet> = cluster.iter().filter(|range| range.addr().is_ipv6() == is_v6).collect();
        if of_family.is_empty() {
            continue;
        }
        let tables = iptables::new(is_v6).map_err(|error| error.to_string())?;
        let accept = || -> Result<(), Box<dyn std::error::Error>> {
            if !tables.chain_exists("filter", CHAIN)? {
                tables.new_chain("filter", CHAIN)?;
            }
            for range in &of_family {
                for side in ["-s", "-d"] {
                    ensure_rule(&tables, CHAIN, &format!("{side} {range} -j ACCEPT"))?;
                }
            }
            ensure_rule(&tables, "FORWARD", &format!("-j {CHAIN}"))
        };
        accept().map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn ensure_rule(tables: &iptables::IPTables, chain: &str, rule: &str) -> Result<(), Box<dyn std::error::Error>> {
    if !tables.exists("filter", chain, rule)? {
        tables.append("filter", chain, rule)?;
    }
    Ok(())
}

/// Takes away what [`accept_forwarding`] made. A host without the tool has nothing of it.
pub(crate) fn forget_forwarding() {
    for is_v6 in [false, true] {
        let Ok(tables) = iptables::new(is_v6) else { continue };
        let _ = tables.delete("filter", "FORWARD", &format!("-j {CHAIN}"));
        let _ = tables.flush_chain("filter", CHAIN);
        let _ = tables.delete_chain("filter", CHAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leaves_the_cluster_is_masqueraded() {
        let text = masquerading(&["10.244.0.0/16".parse().unwrap(), "fd00::/48".parse().unwrap()]);
        let rules: Vec<&str> = text.lines().filter(|line| line.contains("masquerade")).map(str::trim).collect();
        assert_eq!(
            rules,
            [
                "ip saddr 10.244.0.0/16 ip daddr != { 10.244.0.0/16, 224.0.0.0/4 } masquerade",
                "ip6 saddr fd00::/48 ip6 daddr != { fd00::/48, ff00::/8 } masquerade",
            ]
        );
    }

    #[test]
    fn forwarding_is_switched_on_where_it_is_off() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("net/ipv4/ip_forward");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "0\n").unwrap();
        switch_forwarding_on(root.path(), false).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1");
        assert!(switch_forwarding_on(root.path(), true).is_err());
    }
}
