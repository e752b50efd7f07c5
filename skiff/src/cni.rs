//! The pod network's CNI configuration and plugins, below the data folder.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use serde_json::json;

use crate::files;
use crate::layout::Layout;

/// The cluster's own bridge: another network's `cni0` is not touched, nor removed by `reset`.
pub(crate) const BRIDGE: &str = "skiff0";
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

pub(crate) fn write_configuration(layout: &Layout, node_cidr: IpNet) -> Result<()> {
    let mut text =
        serde_json::to_vec_pretty(&configuration(layout, node_cidr)).context("encode the CNI configuration")?;
    text.push(b'\n');
    files::write(&layout.path("cni/net.d/10-skiff.conflist"), &text)
}

fn configuration(layout: &Layout, node_cidr: IpNet) -> serde_json::Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "skiff",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isDefaultGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {"type": "host-local", "subnet": node_cidr, "dataDir": layout.path("cni/networks")},
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}
