//! NodeResourcesFit: a node must have what the pod requests; scores by the profile's strategy, emptier nodes first
//! unless told otherwise.

use std::borrow::Cow;

use super::{Candidate, Filter, Normalize, Plugin, Rejection, Score, Shortfall};
use crate::devices::{Taken, counts, is_backed, is_by_device, taken};
use crate::event::Event;
use crate::objects::{Node, Pod, ResourceName, Resources, is_extended};
use crate::snapshot::{Devices, NodeInfo, Slot, Snapshot};

/// A resource to score by, and how much it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedResource {
    pub name: Box<str>,
    pub weight: i64,
}

impl WeightedResource {
    /// CPU and memory, equally.
    pub fn defaults() -> Vec<Self> {
        ["cpu", "memory"].map(|name| Self { name: name.into(), weight: 1 }).into()
    }
}

/// The devices behind resources to score by.
pub(super) struct Behind<'a> {
    devices: &'a Devices,
    /// None when there are none behind any.
    taken: Option<Taken<'a>>,
}

impl<'a> Behind<'a> {
    pub(super) fn new(resources: &[WeightedResource], devices: &'a Devices) -> Self {
        let any = resources.iter().any(|resource| devices.class_behind(&resource.name).is_some());
        Self { devices, taken: any.then(|| taken(devices)) }
    }

    /// How much of an extended resource is used on a node, and how much there is, otherwise or by devices.
    pub(super) fn scalar(&self, name: &str, candidate: Candidate<'_>) -> (i64, i64) {
        let otherwise = (candidate.info.requested.scalar(name), candidate.node.allocatable.scalar(name));
        let Some(taken) = self.taken.as_ref().filter(|_| otherwise.1 == 0) else { return otherwise };
        let counts = counts(name, candidate.node, self.devices, taken);
        counts.map_or(otherwise, |(all, used)| (used, all))
    }
}

/// A point of a line from utilization (percent) to score (0 to [`super::SCORE_MAX`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapePoint {
    pub utilization: i64,
    pub score: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    LeastAllocated,
    MostAllocated,
    /// Points by rising utilization; never empty.
    RequestedToCapacityRatio(Vec<ShapePoint>),
}

pub struct NodeResourcesFit {
    /// Extended resources that are not looked at.
    pub ignored_resources: Vec<String>,
    /// Domains of extended resources that are not looked at.
    pub ignored_resource_groups: Vec<String>,
    pub strategy: Strategy,
    pub resources: Vec<WeightedResource>,
}

impl Default for NodeResourcesFit {
    fn default() -> Self {
        Self {
            ignored_resources: Vec::new(),
            ignored_resource_groups: Vec::new(),
            strategy: Strategy::LeastAllocated,
            resources: WeightedResource::defaults(),
        }
    }
}

impl NodeResourcesFit {
    fn ignores(&self, name: &str) -> bool {
        let group = name.split('/').next().unwrap_or_default();
        is_extended(name)
            && (self.ignored_resources.iter().any(|ignored| ignored == name)
                || self.ignored_resource_groups.iter().any(|ignored| ignored == group))
    }

    /// What is missing on a node where `requested` is taken; nothing when the pod fits.
    fn missing(&self, pod: &Pod, requested: &Resources, node: &Node, devices: &Devices) -> Option<Rejection> {
        let (mut rejection, allocatable) = (None, &node.allocatable);
        if requested.pods + 1 > allocatable.pods {
            rejection = Some(Rejection::preemptable("Too many pods"));
        }
        let wanted = &pod.requests;
        need(&mut rejection, "cpu", wanted.milli_cpu, requested.milli_cpu, allocatable.milli_cpu);
        need(&mut rejection, "memory", wanted.memory, requested.memory, allocatable.memory);
        let (used, capacity) = (requested.ephemeral_storage, allocatable.ephemeral_storage);
        need(&mut rejection, "ephemeral-storage", wanted.ephemeral_storage, used, capacity);
        let counts = |name: &str| !self.ignores(name) && !is_by_device(name, node, devices);
        for (name, amount) in wanted.scalars.iter().filter(|(name, _)| counts(name)) {
            need(&mut rejection, name, *amount, requested.scalar(name), allocatable.scalar(name));
        }
        rejection
    }

    fn fits_empty(&self, pod: &Pod, node: &Node, devices: &Devices) -> bool {
        self.missing(pod, &Resources::default(), node, devices).is_none()
    }

    fn score_of(&self, requested: i64, capacity: i64) -> i64 {
        match &self.strategy {
            Strategy::LeastAllocated if requested > capacity => 0,
            Strategy::LeastAllocated => (capacity - requested) * super::SCORE_MAX / capacity,
            Strategy::MostAllocated => requested.min(capacity) * super::SCORE_MAX / capacity,
            Strategy::RequestedToCapacityRatio(shape) if requested > capacity => on_line(shape, 100),
            Strategy::RequestedToCapacityRatio(shape) => on_line(shape, requested * 100 / capacity),
        }
    }

    /// By resources with their weights.
    fn node_score(
        &self,
        resources: &[(ResourceName<'_>, i64)],
        pod: &Pod,
        candidate: Candidate<'_>,
        behind: &Behind<'_>,
    ) -> i64 {
        let ratio = matches!(self.strategy, Strategy::RequestedToCapacityRatio(_));
        let (mut sum, mut weights) = (0, 0);
        for (name, weight) in resources {
            let Some((requested, capacity)) = amounts(pod, candidate, *name, behind) else { continue };
            let score = self.score_of(requested, capacity);
            if !ratio || score > 0 {
                sum += score * weight;
                weights += weight;
            }
        }
        match weights {
            0 => 0,
            weights if ratio => (sum * 2 + weights) / (weights * 2),
            weights => sum / weights,
        }
    }
}

/// Adds to the rejection if the node lacks some of a resource.
#[inline]
fn need(rejection: &mut Option<Rejection>, resource: &str, wanted: i64, used: i64, capacity: i64) {
    let lacking = wanted - (capacity - used);
    if wanted > 0 && lacking > 0 {
        add(rejection, resource, lacking, (wanted, capacity));
    }
}

fn add(rejection: &mut Option<Rejection>, resource: &str, lacking: i64, (wanted, capacity): (i64, i64)) {
    let (resource, reason): (Cow<'static, str>, Cow<'static, str>) = match resource {
        "cpu" => ("cpu".into(), "Insufficient cpu".into()),
        "memory" => ("memory".into(), "Insufficient memory".into()),
        name => (name.to_owned().into(), format!("Insufficient {name}").into()),
    };
    let shortfall = Shortfall { resource, lacking, wanted };
    match rejection {
        None => *rejection = Some(Rejection::preemptable(reason)),
        Some(known) => known.more.push(reason),
    }
    let Some(rejection) = rejection else { return };
    rejection.preemptable &= wanted <= capacity;
    if rejection.shortfall.as_ref().is_none_or(|worst| worst.is_less_than(&shortfall)) {
        rejection.shortfall = Some(Box::new(shortfall));
    }
}

/// What would be requested of a resource with the pod, and how much the node has. Pods without requests count a little.
fn amounts(pod: &Pod, candidate: Candidate<'_>, name: ResourceName<'_>, behind: &Behind<'_>) -> Option<(i64, i64)> {
    let NodeInfo { requested, scored, .. } = candidate.info;
    let allocatable = &candidate.node.allocatable;
    let (requested, capacity) = match name {
        ResourceName::Cpu => (scored.milli_cpu + pod.scored_requests.milli_cpu, allocatable.milli_cpu),
        ResourceName::Memory => (scored.memory + pod.scored_requests.memory, allocatable.memory),
        ResourceName::EphemeralStorage => {
            (requested.ephemeral_storage + pod.requests.ephemeral_storage, allocatable.ephemeral_storage)
        }
        // Not asked for: a pod is always one.
        ResourceName::Pods => return None,
        ResourceName::Scalar(name) => match pod.requests.scalar(name) {
            0 => return None,
            wanted => {
                let (used, capacity) = behind.scalar(name, candidate);
                (used + wanted, capacity)
            }
        },
    };
    (capacity != 0).then_some((requested, capacity))
}

fn on_line(shape: &[ShapePoint], utilization: i64) -> i64 {
    let Some(after) = shape.iter().position(|point| utilization <= point.utilization) else {
        return shape.last().map_or(0, |point| point.score);
    };
    let Some(before) = after.checked_sub(1) else {
        return shape[0].score;
    };
    let (from, to) = (shape[before], shape[after]);
    from.score + (to.score - from.score) * (utilization - from.utilization) / (to.utilization - from.utilization)
}

/// Whether any of the resources that `wanted` asks for is more in `more` than in `less`.
fn any_grew(wanted: &Resources, less: &Resources, more: &Resources) -> bool {
    (wanted.milli_cpu > 0 && more.milli_cpu > less.milli_cpu)
        || (wanted.memory > 0 && more.memory > less.memory)
        || (wanted.ephemeral_storage > 0 && more.ephemeral_storage > less.ephemeral_storage)
        || wanted.scalars.iter().any(|(name, amount)| *amount > 0 && more.scalar(name) > less.scalar(name))
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Filter<'a> {
        Filter::Check(Box::new(|candidate| {
            match self.missing(pod, &candidate.info.requested, candidate.node, &snapshot.devices) {
                None => Ok(()),
                Some(rejection) => Err(rejection),
            }
        }))
    }

    fn score<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot, _: &'a [Slot]) -> Score<'a> {
        let behind = Behind::new(&self.resources, &snapshot.devices);
        let resources = self.resources.iter().map(|resource| (ResourceName::from(&*resource.name), resource.weight));
        let resources: Vec<_> = resources.collect();
        let score = move |candidate: Candidate<'_>| self.node_score(&resources, pod, candidate, &behind);
        Score::Run { score: Box::new(score), normalize: Normalize::AsIs }
    }

    fn wakes(&self, pod: &Pod, event: &Event<'_>, snapshot: &Snapshot) -> bool {
        match event {
            Event::PodDelete(_) => true,
            Event::DeviceClass(_) => is_backed(pod, &snapshot.devices),
            Event::PodUpdate { old, new } => any_grew(&pod.requests, &new.requests, &old.requests),
            Event::OwnUpdate { old, new } => any_grew(&old.requests, &new.requests, &old.requests),
            event => event.node().is_some_and(|(old, new)| {
                let grew = |old: &Node| {
                    new.allocatable.pods > old.allocatable.pods
                        || any_grew(&pod.requests, &old.allocatable, &new.allocatable)
                };
                self.fits_empty(pod, new, &snapshot.devices) && old.is_none_or(grew)
            }),
        }
    }
}
