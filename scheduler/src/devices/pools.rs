//! The pools of devices that a node reaches. Pure.
//!
//! A driver replaces the slices of a pool one by one, each with the pool's generation and how many there are: a pool
//! counts only when all slices of its newest generation are there.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::NodeSelector;
use k8s_openapi::api::resource::v1::{Device, ResourceSlice};

use super::shares::{self, Counters};
use super::{DeviceId, selects};
use crate::objects::Node;
use crate::snapshot::Devices;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Whole,
    /// Its driver is replacing it.
    Incomplete,
    /// Two devices of one name, or devices with counters that are not there.
    Invalid,
}

#[derive(Debug)]
pub(super) struct Pool<'a> {
    /// Driver and name.
    pub name: String,
    pub state: State,
    pub devices: Vec<Found<'a>>,
    /// All slices of the newest generation, for whatever nodes.
    pub slices: Vec<&'a ResourceSlice>,
    /// The counters that its devices have in common, full.
    pub counters: Counters<'a>,
}

/// A device of a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub slice: &'a ResourceSlice,
    pub device: &'a Device,
}

impl Pool<'_> {
    pub(super) fn has(&self, id: &DeviceId<'_>) -> bool {
        let spec = self.slices.first().map(|slice| &slice.spec);
        spec.is_some_and(|spec| spec.driver == id.driver && spec.pool.name == id.pool)
    }
}

impl<'a> Found<'a> {
    pub(super) fn id(&self) -> DeviceId<'a> {
        let spec = &self.slice.spec;
        DeviceId { driver: &spec.driver, pool: &spec.pool.name, device: &self.device.name }
    }

    /// It is made ready only once it is chosen.
    fn waits(&self) -> bool {
        self.device.binding_conditions.as_ref().is_some_and(|conditions| !conditions.is_empty())
    }

    fn is_near(&self, node: &Node) -> bool {
        let device = self.device;
        self.slice.spec.per_device_node_selection != Some(true)
            || is_for(node, device.node_name.as_deref(), device.all_nodes, device.node_selector.as_ref())
    }
}

fn is_for(node: &Node, name: Option<&str>, all: Option<bool>, selector: Option<&NodeSelector>) -> bool {
    match (name, selector) {
        (Some(name), _) if !name.is_empty() => name == node.name(),
        _ if all == Some(true) => true,
        (_, Some(selector)) => selects(selector, node),
        _ => false,
    }
}

fn devices_of(slice: &ResourceSlice) -> impl Iterator<Item = Found<'_>> {
    slice.spec.devices.iter().flatten().map(move |device| Found { slice, device })
}

fn targets(slice: &ResourceSlice, node: &Node) -> bool {
    let spec = &slice.spec;
    if spec.shared_counters.as_ref().is_some_and(|counters| !counters.is_empty()) {
        return true;
    }
    if spec.per_device_node_selection == Some(true) {
        return devices_of(slice).any(|found| found.is_near(node));
    }
    is_for(node, spec.node_name.as_deref(), spec.all_nodes, spec.node_selector.as_ref())
}

/// In the order of drivers and names; those with devices that have to be waited for come last.
pub(super) fn reachable<'a>(devices: &'a Devices, node: &Node) -> Vec<Pool<'a>> {
    let mut pools: Vec<Pool<'a>> = devices.pools_near(node.name()).filter_map(|slices| pool(slices, node)).collect();
    pools.sort_by_key(|pool| pool.devices.iter().any(|found| found.waits()));
    pools
}

fn pool<'a>(slices: &'a BTreeMap<Box<str>, Arc<ResourceSlice>>, node: &Node) -> Option<Pool<'a>> {
    let generation = |slice: &ResourceSlice| slice.spec.pool.generation;
    let near: Vec<&ResourceSlice> =
        slices.values().map(|slice| &**slice).filter(|slice| targets(slice, node)).collect();
    let newest_near = near.iter().map(|slice| generation(slice)).max()?;
    let newest = slices.values().map(|slice| generation(slice)).max()?;
    let of_newest: Vec<&ResourceSlice> =
        slices.values().map(|slice| &**slice).filter(|slice| generation(slice) == newest).collect();
    let first = *of_newest.first()?;
    let is_whole = i64::try_from(of_newest.len()).is_ok_and(|count| count == first.spec.pool.resource_slice_count);
    if newest_near < newest {
        // What this node had of it is on its way out.
        return None;
    }
    let near = near.into_iter().filter(|slice| generation(slice) == newest);
    let found: Vec<Found<'a>> = near.flat_map(devices_of).collect();
    let mut names = HashSet::new();
    let counters = shares::counters(&of_newest);
    let state = if !is_whole {
        State::Incomplete
    } else if counters.is_some() && found.iter().all(|found| names.insert(&found.device.name)) {
        State::Whole
    } else {
        State::Invalid
    };
    let usable = |found: &Found<'_>| state == State::Whole && found.is_near(node);
    let devices = found.into_iter().filter(usable).collect();
    let name = format!("{}/{}", first.spec.driver, first.spec.pool.name);
    Some(Pool { name, state, devices, slices: of_newest, counters: counters.unwrap_or_default() })
}
