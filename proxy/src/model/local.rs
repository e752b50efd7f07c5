//! Telling a pod's traffic from that of others: `--detect-local-mode`.

use ipnet::IpNet;

/// How a packet from a pod (of this node, or of the cluster) is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum LocalDetector {
    /// It is not: no rule may depend on it.
    #[default]
    None,
    /// By its source: the cluster's pod range, or the node's.
    Cidr(IpNet),
    /// By the link that it came in by.
    Interface(String),
    /// By the beginning of that link's name.
    InterfacePrefix(String),
}

impl LocalDetector {
    /// The match for local traffic; `None` when it cannot be told.
    pub(crate) fn if_local(&self) -> Option<String> {
        match self {
            LocalDetector::None => None,
            LocalDetector::Cidr(net) => Some(format!("-s {net}")),
            LocalDetector::Interface(name) => Some(format!("-i {name}")),
            LocalDetector::InterfacePrefix(prefix) => Some(format!("-i {prefix}+")),
        }
    }

    /// The match for all other traffic.
    pub(crate) fn if_not_local(&self) -> Option<String> {
        self.if_local().map(|matches| format!("! {matches}"))
    }
}
