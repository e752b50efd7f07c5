//! The endpoints of a Service port, gathered from its EndpointSlices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Family, NodeView, ServicePort};
use crate::objects::{Endpoint as ApiEndpoint, EndpointConditions, EndpointSlice, Hint};

/// One address and port behind a Service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// On this node.
    pub(crate) is_local: bool,
    /// On another node. An endpoint that names no node may be anywhere.
    pub(crate) is_elsewhere: bool,
    /// Ready and not terminating (or the Service publishes addresses that are not ready).
    pub(crate) is_ready: bool,
    /// Ready, terminating or not.
    pub(crate) is_serving: bool,
    pub(crate) is_terminating: bool,
    pub(crate) zone_hints: BTreeSet<String>,
    pub(crate) node_hints: BTreeSet<String>,
}

/// The endpoints of one port, each once, in the order of their addresses.
///
/// An address may stand in two slices: while it moves from one to the other, or when a pod got the address of one that
/// is still terminating. Then the one that is not terminating counts.
pub(crate) fn endpoints(
    slices: &[Arc<EndpointSlice>],
    port: &ServicePort,
    family: Family,
    node: &NodeView,
) -> Vec<Endpoint> {
    let mut found: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| &*slice.address_type == family.name()) {
        for number in slice_ports(slice, port) {
            for endpoint in &slice.endpoints {
                let Some(endpoint) = convert(endpoint, number, family, node) else { continue };
                if !endpoint.is_terminating || !found.contains_key(&endpoint.address) {
                    found.insert(endpoint.address, endpoint);
                }
            }
        }
    }
    found.into_values().collect()
}

/// The numbers that the slice's ports of this name and protocol have.
fn slice_ports(slice: &EndpointSlice, wanted: &ServicePort) -> Vec<u16> {
    let ours = slice.ports.iter().filter(|port| {
        port.name.as_deref().unwrap_or_default() == wanted.port_name
            && port.protocol.as_deref().unwrap_or("TCP").eq_ignore_ascii_case(&wanted.protocol)
    });
    ours.filter_map(|port| u16::try_from(port.port?).ok()).filter(|number| *number != 0).collect()
}

fn convert(endpoint: &ApiEndpoint, port: u16, family: Family, node: &NodeView) -> Option<Endpoint> {
    let ip = endpoint.address?;
    if Family::of(ip) != family {
        return None;
    }
    let condition = |pick: fn(&EndpointConditions) -> Option<bool>, default| {
        endpoint.conditions.as_ref().and_then(pick).unwrap_or(default)
    };
    let hints = endpoint.hints.as_ref();
    let names = |hints: Option<&Vec<Hint>>| hints.into_iter().flatten().map(|hint| hint.name.clone()).collect();
    let node_name = endpoint.node_name.as_deref().filter(|_| !node.name.is_empty());
    Some(Endpoint {
        address: SocketAddr::new(ip, port),
        is_local: node_name == Some(&node.name),
        is_elsewhere: node_name.is_some_and(|name| name != node.name),
        is_ready: condition(|conditions| conditions.ready, true),
        is_serving: condition(|conditions| conditions.serving, true),
        is_terminating: condition(|conditions| conditions.terminating, false),
        zone_hints: names(hints.and_then(|hints| hints.for_zones.as_ref())),
        node_hints: names(hints.and_then(|hints| hints.for_nodes.as_ref())),
    })
}
