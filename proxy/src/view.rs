//! What this node's Node says: its addresses, zone and pod ranges.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;

use crate::iptables::{NodePorts, Settings};
use crate::model::{Family, LocalDetector, NodeView};
use crate::options::{DetectLocal, NodePortAddress, Options};

/// The parts of a Node that rules depend on; nothing when there is no Node (yet).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) view: NodeView,
    ips: Vec<IpAddr>,
    pod_cidrs: Vec<IpNet>,
}

impl Host {
    pub(crate) fn of(node: Option<&Node>, options: &Options) -> Host {
        let labels = node.and_then(|node| node.metadata.labels.as_ref());
        let zone = labels.and_then(|labels| labels.get("topology.kubernetes.io/zone")).cloned().unwrap_or_default();
        let spec = node.and_then(|node| node.spec.as_ref());
        let ranges = spec.and_then(|spec| spec.pod_cidrs.as_ref()).into_iter().flatten();
        Host {
            view: NodeView { name: options.node_name.clone(), zone },
            ips: node.map(addresses).unwrap_or_default(),
            pod_cidrs: ranges.filter_map(|text| text.parse::<IpNet>().ok()).map(|net| net.trunc()).collect(),
        }
    }

    /// The rules' settings for a family.
    pub(crate) fn settings(&self, options: &Options, family: Family, fixed: Fixed) -> Settings {
        let node_ports = self.node_ports(options, family);
        let serves_loopback = match &node_ports {
            NodePorts::Everywhere => true,
            NodePorts::Ranges(ranges) => ranges.iter().any(|net| net.contains(&IpAddr::from([127, 0, 0, 0]))),
        };
        Settings {
            family,
            masquerade_all: options.masquerade_all,
            masquerade_mark: 1 << options.masquerade_bit,
            random_fully: fixed.random_fully,
            local_detector: self.local_detector(options, family),
            localhost_node_ports: options.localhost_node_ports && family == Family::V4 && serves_loopback,
            node_ports,
            tcp_be_liberal: fixed.tcp_be_liberal,
            node_ip: self.node_ip(options, family),
        }
    }

    fn node_ip(&self, options: &Options, family: Family) -> Option<IpAddr> {
        let bound = Some(options.bind_address).filter(|ip| !ip.is_unspecified());
        self.ips.iter().copied().chain(bound).find(|ip| Family::of(*ip) == family)
    }

    /// No range of a family means everywhere, even when the other family has some.
    fn node_ports(&self, options: &Options, family: Family) -> NodePorts {
        let mut ranges = Vec::new();
        for address in &options.node_port_addresses {
            match address {
                NodePortAddress::Range(net) => ranges.push(*net),
                NodePortAddress::Primary => ranges.extend(self.ips.iter().map(|ip| IpNet::from(*ip))),
            }
        }
        ranges.retain(|net| Family::of(net.addr()) == family);
        if ranges.is_empty() || ranges.iter().any(|net| net.prefix_len() == 0) {
            return NodePorts::Everywhere;
        }
        NodePorts::Ranges(ranges)
    }

    fn local_detector(&self, options: &Options, family: Family) -> LocalDetector {
        let by_cidr = |cidrs: &[IpNet]| {
            let ours = cidrs.iter().find(|net| Family::of(net.addr()) == family);
            ours.map_or(LocalDetector::None, |net| LocalDetector::Cidr(*net))
        };
        match &options.detect_local {
            DetectLocal::ClusterCidrs(cidrs) => by_cidr(cidrs),
            DetectLocal::NodeCidr => by_cidr(&self.pod_cidrs),
            DetectLocal::BridgeInterface(name) => LocalDetector::Interface(name.clone()),
            DetectLocal::InterfaceNamePrefix(prefix) => LocalDetector::InterfacePrefix(prefix.clone()),
        }
    }
}

/// What the host can do, found out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub(crate) random_fully: bool,
    pub(crate) tcp_be_liberal: bool,
}

/// The node's addresses: internal ones, or external ones when there are none.
fn addresses(node: &Node) -> Vec<IpAddr> {
    let all = || node.status.as_ref().and_then(|status| status.addresses.as_ref()).into_iter().flatten();
    let of_type = |kind: &str| -> Vec<IpAddr> {
        all().filter(|address| address.type_ == kind).filter_map(|address| address.address.parse().ok()).collect()
    };
    let internal = of_type("InternalIP");
    if internal.is_empty() { of_type("ExternalIP") } else { internal }
}
