//! The way to the pods of other nodes. Pure but for `tool`: nodes in, a [`Plan`] out, and the commands between two plans.
//!
//! Directly: a route to each node's pod range by the node's address, for nodes that are neighbours on one link. By
//! VXLAN, for nodes that are not: one tunnel device, and what leads to each node in it is computed from the node's
//! address, so that no node must be told anything by another.

mod command;
mod keep;
#[cfg(test)]
mod tests;
mod tool;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;

pub(crate) use keep::{Keeper, remove};

/// Marks routes as ours, among those that people and other programs make (`ip route show proto 86`).
const PROTOCOL: u8 = 86;
const DEVICE: &str = "skiff-vxlan";
/// Of the tunnel's network; the port is the kernel's default.
const VXLAN_ID: u32 = 1;
const VXLAN_PORT: u16 = 8472;

/// How packets get to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Routes are somebody else's work.
    None,
    Direct,
    Vxlan,
}

impl std::str::FromStr for Backend {
    type Err = ();

    fn from_str(text: &str) -> Result<Backend, ()> {
        match text {
            "none" => Ok(Backend::None),
            "direct" => Ok(Backend::Direct),
            "vxlan" => Ok(Backend::Vxlan),
            _ => Err(()),
        }
    }
}

/// What routes depend on of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeView {
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) pod_ranges: Vec<IpNet>,
}

/// Where a range of pods is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    gateway: IpAddr,
    /// By the tunnel, to the node at this address.
    tunnel_to: Option<Ipv4Addr>,
}

/// Every route that should be there, or is.
pub(crate) type Plan = BTreeMap<IpNet, Hop>;

impl From<&Node> for NodeView {
    fn from(node: &Node) -> NodeView {
        let spec = node.spec.as_ref();
        let all = spec.iter().flat_map(|spec| spec.pod_cidrs.iter().flatten());
        let mut pod_ranges: Vec<IpNet> =
            all.chain(spec.and_then(|spec| spec.pod_cidr.as_ref())).filter_map(|text| text.parse().ok()).collect();
        pod_ranges.sort_unstable();
        pod_ranges.dedup();
        let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let internal = addresses.filter(|address| address.type_ == "InternalIP");
        NodeView {
            name: node.name_any(),
            addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
            pod_ranges,
        }
    }
}

impl NodeView {
    fn address(&self, is_v4: bool) -> Option<IpAddr> {
        self.addresses.iter().find(|address| address.is_ipv4() == is_v4).copied()
    }
}

/// The routes of the node `me`. A node without an address that leads to a range is left out.
pub(crate) fn plan(nodes: &[NodeView], me: &str, backend: Backend) -> Plan {
    let others = nodes.iter().filter(|node| node.name != me);
    let hops =
        others.flat_map(|node| node.pod_ranges.iter().filter_map(|range| Some((*range, hop(node, range, backend)?))));
    hops.collect()
}

fn hop(node: &NodeView, range: &IpNet, backend: Backend) -> Option<Hop> {
    match (backend, node.address(true)) {
        (Backend::None, _) => None,
        (Backend::Direct, _) => Some(Hop { gateway: node.address(range.addr().is_ipv4())?, tunnel_to: None }),
        // The range's own first address, which no pod has, stands for the other end.
        (Backend::Vxlan, Some(IpAddr::V4(remote))) => Some(Hop { gateway: range.network(), tunnel_to: Some(remote) }),
        (Backend::Vxlan, _) => None,
    }
}

/// The hardware address of a node's end of the tunnel: made from the node's address, so that all know it.
fn tunnel_mac(node: Ipv4Addr) -> String {
    let [a, b, c, d] = node.octets();
    // 0a: locally administered, of one receiver.
    format!("0a:58:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}
