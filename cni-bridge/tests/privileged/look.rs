//! What plugins left: addresses on disk, rules in the kernel.

use crate::world::{World, sh};

impl World {
    /// The addresses that are reserved in a network.
    pub(crate) fn reserved(&self, network: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.folder.path().join(network)) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect();
        names.sort();
        names
    }
}

/// All rules of both families' nat tables and of nftables' own tables, without counters.
pub(crate) fn rules() -> String {
    sh("iptables-save -t nat | grep '^-A\\|^:CNI' | sort; ip6tables-save -t nat | grep '^-A\\|^:CNI' | sort")
}
