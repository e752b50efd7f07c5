//! The EndpointSlice controller's core: which slices to create, change and delete for a Service.
//!
//! Enter by [`plan`]. Pure. As few slices as possible are written: an endpoint stays in its slice, new ones fill slices
//! that change anyway, then the fullest slice with room, then new slices. Concepts: "EndpointSlices", "Distribution".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use component::recorder::Type;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use super::endpoint::{Identity, PortKey, endpoint, endpoint_ports, equal_beyond_identity, identity, port_key};
use super::hints;
use super::slice::{is_owned_by, labels_for, new_slice, relabelled};
use super::topology::{self, Shares};
use crate::common::pod::Pod;
use crate::common::pods;
use crate::common::service::{belongs_in_endpoints, publishes_not_ready};

/// What is known about the nodes that pods run on.
pub(super) trait Nodes {
    /// None when there is no such node; the inner None when it tells no zone.
    fn zone(&self, node: &str) -> Option<Option<String>>;

    /// What part of the CPUs each zone has; None when that cannot be told.
    fn shares(&self) -> Option<Shares> {
        None
    }
}

/// Something to tell about the Service.
pub(super) type Note = (Type, &'static str, String);

#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<EndpointSlice>,
    /// Pods left out because their node is unknown (as yet), and that node.
    pub(super) nodes_missing: Vec<(String, String)>,
    pub(super) notes: Vec<Note>,
    /// Whether the Service now has hints by its annotation.
    pub(super) hinted: bool,
}

/// What else a plan goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planning {
    /// Of a slice.
    pub(super) endpoints_max: usize,
    /// As the last plan left it.
    pub(super) hinted: bool,
}

/// `pods` are those that the Service selects, `existing` the slices that this controller manages for it.
pub(super) fn plan(
    service: &Service,
    spec: &ServiceSpec,
    pods: &[Arc<Pod>],
    existing: &[Arc<EndpointSlice>],
    nodes: &impl Nodes,
    settings: Planning,
) -> Plan {
    let families = families(spec);
    let mut plan = Plan { hinted: settings.hinted, ..Plan::default() };
    plan.delete.extend(existing.iter().filter(|s| !families.contains(s.address_type.as_str())).map(|s| (**s).clone()));
    plan.hinted &= plan.delete.is_empty();
    for family in families {
        let existing = existing.iter().filter(|s| s.address_type == family).map(Arc::as_ref).collect();
        let of_family = Family { service, spec, family, max: settings.endpoints_max };
        of_family.plan(pods, existing, nodes, &mut plan);
    }
    plan
}

/// Without `ipFamilies` the Service's own address tells; a headless one may have both.
fn families(spec: &ServiceSpec) -> BTreeSet<&'static str> {
    let named = spec.ip_families.iter().flatten().map(|f| if f == "IPv6" { "IPv6" } else { "IPv4" });
    let named: BTreeSet<_> = named.collect();
    if !named.is_empty() {
        return named;
    }
    match spec.cluster_ip.as_deref() {
        None | Some("" | "None") => BTreeSet::from(["IPv4", "IPv6"]),
        Some(ip) if ip.contains(':') => BTreeSet::from(["IPv6"]),
        Some(_) => BTreeSet::from(["IPv4"]),
    }
}

struct Family<'a> {
    service: &'a Service,
    spec: &'a ServiceSpec,
    family: &'static str,
    max: usize,
}

/// The endpoints that share one set of ports.
#[derive(Default)]
struct Group {
    ports: Vec<EndpointPort>,
    endpoints: BTreeMap<Identity, Endpoint>,
}

impl Family<'_> {
    fn plan(&self, pods: &[Arc<Pod>], existing: Vec<&EndpointSlice>, nodes: &impl Nodes, plan: &mut Plan) {
        let groups = self.desired(pods, nodes, plan);
        let mut changes = Plan::default();
        let mut by_ports: BTreeMap<PortKey, Vec<&EndpointSlice>> = BTreeMap::new();
        for slice in &existing {
            if is_owned_by(slice, self.service) {
                by_ports.entry(port_key(slice.ports.as_deref().unwrap_or_default())).or_default().push(slice);
            } else {
                changes.delete.push((*slice).clone());
            }
        }
        for (key, group) in groups {
            let slices = by_ports.remove(&key).unwrap_or_default();
            self.reconcile(slices, group, &mut changes);
        }
        changes.delete.extend(by_ports.into_values().flatten().cloned());
        self.keep_one(existing.len(), &mut changes);
        let asked =
            topology::is_asked(self.service).then(|| topology::apply(nodes.shares().as_ref(), &existing, &mut changes));
        if asked.is_none() {
            hints::apply(self.spec, &existing, &mut changes);
        }
        plan.notes.extend(topology::note(asked, self.family, &mut plan.hinted));
        self.reuse_names(&mut changes);
        plan.create.append(&mut changes.create);
        plan.update.append(&mut changes.update);
        plan.delete.append(&mut changes.delete);
    }

    fn desired(&self, pods: &[Arc<Pod>], nodes: &impl Nodes, plan: &mut Plan) -> BTreeMap<PortKey, Group> {
        let mut groups: BTreeMap<PortKey, Group> = BTreeMap::new();
        for pod in pods.iter().filter(|p| belongs_in_endpoints(p, true)) {
            let ports = endpoint_ports(self.spec, pod);
            let group = groups.entry(port_key(&ports)).or_default();
            group.ports = ports;
            let node = pods::node_name(pod);
            let zone = nodes.zone(node);
            if zone.is_none() && !publishes_not_ready(self.spec) {
                plan.nodes_missing.push((pod.metadata.name.clone().unwrap_or_default(), node.to_owned()));
                continue;
            }
            if let Some(endpoint) = endpoint(pod, zone.flatten(), self.service, self.spec, self.family) {
                group.endpoints.insert(identity(&endpoint), endpoint);
            }
        }
        groups
    }

    /// One set of ports: its endpoints over its slices.
    fn reconcile(&self, slices: Vec<&EndpointSlice>, mut group: Group, changes: &mut Plan) {
        let mut unchanged = Vec::new();
        let mut updated = Vec::new();
        for slice in slices {
            match self.retain(slice, &mut group) {
                Kept::Unchanged => unchanged.push(slice),
                Kept::Changed(slice) => updated.push(*slice),
                Kept::Empty => changes.delete.push(slice.clone()),
            }
        }
        updated.sort_by_key(|s: &EndpointSlice| std::cmp::Reverse(len(s)));
        for slice in &mut updated {
            self.fill(slice, &mut group);
        }
        while !group.endpoints.is_empty() {
            let mut slice = match self.roomiest(&mut unchanged, group.endpoints.len()) {
                Some(slice) => slice.clone(),
                None => new_slice(self.service, self.spec, group.ports.clone(), self.family),
            };
            self.fill(&mut slice, &mut group);
            if slice.metadata.name.is_some() { updated.push(slice) } else { changes.create.push(slice) }
        }
        changes.update.append(&mut updated);
    }

    /// What remains of a slice; its endpoints leave the group.
    fn retain(&self, slice: &EndpointSlice, group: &mut Group) -> Kept {
        let old = slice.endpoints.as_deref().unwrap_or_default();
        let mut changed = false;
        let mut kept = Vec::with_capacity(old.len());
        for endpoint in old {
            if let Some(new) = group.endpoints.remove(&identity(endpoint)) {
                changed |= !equal_beyond_identity(&new, endpoint);
                kept.push(new);
            }
        }
        if kept.is_empty() && !old.is_empty() {
            return Kept::Empty;
        }
        if !changed && kept.len() == old.len() && !relabelled(slice, self.service) {
            return Kept::Unchanged;
        }
        let mut slice = slice.clone();
        slice.endpoints = Some(kept);
        slice.metadata.labels = Some(labels_for(self.service, self.spec));
        Kept::Changed(Box::new(slice))
    }

    fn fill(&self, slice: &mut EndpointSlice, group: &mut Group) {
        let endpoints = slice.endpoints.get_or_insert_default();
        while endpoints.len() < self.max {
            match group.endpoints.pop_first() {
                Some((_, endpoint)) => endpoints.push(endpoint),
                None => break,
            }
        }
    }

    /// The unchanged slice that these endpoints fill best; it counts as changed from here on.
    fn roomiest<'s>(&self, unchanged: &mut Vec<&'s EndpointSlice>, count: usize) -> Option<&'s EndpointSlice> {
        let room = |s: &EndpointSlice| self.max.checked_sub(len(s) + count);
        let (_, best) = unchanged.iter().enumerate().filter_map(|(i, s)| Some((room(s)?, i))).min()?;
        (count < self.max).then(|| unchanged.remove(best))
    }

    /// A Service always has a slice, if an empty one: without it nobody could tell "no endpoints" from "not yet looked".
    fn keep_one(&self, existing: usize, changes: &mut Plan) {
        if existing != changes.delete.len() || !changes.create.is_empty() {
            return;
        }
        let placeholder = new_slice(self.service, self.spec, Vec::new(), self.family);
        let is_placeholder = |s: &EndpointSlice| {
            len(s) == 0
                && s.ports.as_ref().is_none_or(Vec::is_empty)
                && is_owned_by(s, self.service)
                && s.metadata.labels == placeholder.metadata.labels
        };
        if changes.delete.len() == 1 && is_placeholder(&changes.delete[0]) {
            changes.delete.clear();
        } else {
            changes.create.push(placeholder);
        }
    }

    /// A slice to be created takes the place of one to be deleted: one write for two, and no moment without either.
    fn reuse_names(&self, changes: &mut Plan) {
        let (mut reusable, gone) =
            std::mem::take(&mut changes.delete).into_iter().partition::<Vec<_>, _>(|s| is_owned_by(s, self.service));
        changes.delete = gone;
        while !changes.create.is_empty() && !reusable.is_empty() {
            let (Some(mut slice), Some(old)) = (changes.create.pop(), reusable.pop()) else { break };
            slice.metadata.name = old.metadata.name;
            slice.metadata.uid = old.metadata.uid;
            slice.metadata.resource_version = old.metadata.resource_version;
            changes.update.push(slice);
        }
        changes.delete.append(&mut reusable);
    }
}

enum Kept {
    Unchanged,
    Changed(Box<EndpointSlice>),
    Empty,
}

fn len(slice: &EndpointSlice) -> usize {
    slice.endpoints.as_ref().map_or(0, Vec::len)
}
