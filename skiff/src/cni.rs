//! The pod network's CNI configuration and plugins, below the data folder.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use serde_json::json;

use crate::layout::Layout;
use crate::part::Part;
use crate::settings::{RouterBackend, Settings};
use crate::{files, node_address};

/// The cluster's own bridge: another network's `cni0` is not touched, nor removed by `reset`.
pub(crate) const BRIDGE: &str = "skiff0";
/// What a tunnel puts around each packet: outer Ethernet, IPv4, UDP and VXLAN headers (RFC 7348).
const VXLAN_BYTES: u32 = 50;
const PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];

/// Where the plugins are: the program built beside this one.
pub(crate) fn program_beside(executable: &Path) -> PathBuf {
    executable.with_file_name("cni-bridge")
}

/// Copies the plugins' program into the data folder, with a link for each name it answers to.
pub(crate) fn install_plugins(layout: &Layout, program: &Path) -> Result<()> {
    let content = std::fs::read(program).with_context(|| format!("read {}", program.display()))?;
    files::write_program(&layout.path("cni/bin/cni-bridge"), &content)?;
    for plugin in PLUGINS {
        let link = layout.path(&format!("cni/bin/{plugin}"));
        if std::fs::read_link(&link).is_ok() {
            continue;
        }
        symlink("cni-bridge", &link).with_context(|| format!("make the link {}", link.display()))?;
    }
    Ok(())
}

pub(crate) fn write_configuration(layout: &Layout, settings: &Settings, node_cidr: IpNet) -> Result<()> {
    let mtu = match settings.router_backend {
        RouterBackend::Direct => None,
        RouterBackend::Vxlan => Some(node_address::mtu_of(settings.node_address)? - VXLAN_BYTES),
    };
    let configuration = configuration(layout, settings, node_cidr, mtu);
    let mut text = serde_json::to_vec_pretty(&configuration).context("encode the CNI configuration")?;
    text.push(b'\n');
    files::write(&layout.path("cni/net.d/10-skiff.conflist"), &text)
}

/// The plugin knows this node's pods only, and would hide them from those of other nodes: it masquerades only where there
/// is no router, which does so for what leaves the cluster.
fn configuration(layout: &Layout, settings: &Settings, node_cidr: IpNet, mtu: Option<u32>) -> serde_json::Value {
    let mut bridge = json!({
        "type": "bridge",
        "bridge": BRIDGE,
        "isDefaultGateway": true,
        "ipMasq": !settings.runs(Part::SkiffRouter),
        "hairpinMode": true,
        "ipam": {"type": "host-local", "subnet": node_cidr, "dataDir": layout.path("cni/networks")},
    });
    if let Some(mtu) = mtu {
        bridge["mtu"] = mtu.into();
    }
    json!({
        "cniVersion": "1.0.0",
        "name": "skiff",
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": true}}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_masquerades_only_where_no_router_does() {
        let layout = Layout::new("/data".into());
        let mut settings = Settings::for_tests("node", "192.0.2.1".parse().unwrap());
        let range = settings.first_node_cidr().unwrap();
        let bridge = |settings: &Settings, mtu| configuration(&layout, settings, range, mtu)["plugins"][0].clone();
        let with = bridge(&settings, Some(1450));
        assert_eq!((&with["ipMasq"], &with["mtu"]), (&false.into(), &1450.into()));
        settings.without.push(Part::SkiffRouter);
        let without = bridge(&settings, None);
        assert_eq!((&without["ipMasq"], without.get("mtu")), (&true.into(), None));
    }
}
