//! Services and endpoints as the packet filter sees them. Pure; nothing of any packet filter's language.

pub(crate) mod categorize;
pub(crate) mod endpoint;
pub(crate) mod local;
pub(crate) mod service;

use std::net::IpAddr;

pub(crate) use categorize::{Categories, categorize};
pub(crate) use endpoint::{Endpoint, endpoints};
pub(crate) use local::LocalDetector;
pub(crate) use service::{ServicePort, service_ports};

/// An IP family: each has rules of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const ALL: [Family; 2] = [Family::V4, Family::V6];

    pub(crate) fn of(ip: IpAddr) -> Family {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// As upstream's metrics and health answers call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }
}

/// What a node's rules depend on beside Services and endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeView {
    pub(crate) name: String,
    /// Label `topology.kubernetes.io/zone`; empty when the node has none.
    pub(crate) zone: String,
}
