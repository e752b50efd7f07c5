//! The scheduling plugins, by upstream's names, one file each.
//!
//! A [`Plugin`] looks at a pod and the snapshot once a cycle and answers with a check and a score for single nodes, and
//! says which events may help a pod that it turned away. Enter at [`Plugin`]; [`crate::framework`] runs them. Plugins
//! change nothing and see no queue.

pub mod dynamic_resources;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_declared_features;
pub mod node_name;
pub mod node_ports;
pub mod node_resources_balanced_allocation;
pub mod node_resources_fit;
pub mod node_unschedulable;
pub mod node_volume_limits;
pub mod pod_topology_spread;
pub mod priority_sort;
pub mod scheduling_gates;
pub mod taint_toleration;
#[cfg(test)]
mod tests;
pub mod volume_binding;
pub mod volume_restrictions;
pub mod volume_zone;

use std::borrow::Cow;

use machinery::quantity::{Format, Quantity};

use crate::event::Event;
use crate::objects::{Node, Pod};
use crate::snapshot::{NodeInfo, Slot, Snapshot};

/// The best a plugin can score a node after normalization.
pub const SCORE_MAX: i64 = 100;

/// Why a node, or the whole cluster, does not take a pod. The words are upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub reason: Cow<'static, str>,
    /// Further reasons of the same plugin; mostly none.
    pub more: Vec<Cow<'static, str>>,
    /// False when not even an empty node would help: preempting pods is of no use.
    pub preemptable: bool,
    /// What is missing most on this node, where something can be counted.
    pub shortfall: Option<Box<Shortfall>>,
}

/// How much of a resource a node lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    pub resource: Cow<'static, str>,
    /// In the resource's unit: thousandths of CPUs, bytes, or pieces.
    pub lacking: i64,
    /// What the pod asks for.
    pub wanted: i64,
}

impl Shortfall {
    /// Whether this is a smaller part of what is wanted than `other` is.
    pub fn is_less_than(&self, other: &Self) -> bool {
        let cross = |a: i64, b: i64| i128::from(a) * i128::from(b);
        cross(self.lacking, other.wanted) < cross(other.lacking, self.wanted)
    }
}

impl std::fmt::Display for Shortfall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let amount = match &*self.resource {
            "cpu" => Quantity::from_milli(self.lacking, Format::DecimalSi),
            "memory" | "ephemeral-storage" => Quantity::new(self.lacking, Format::BinarySi),
            name if name.starts_with("hugepages-") => Quantity::new(self.lacking, Format::BinarySi),
            _ => Quantity::new(self.lacking, Format::DecimalSi),
        };
        write!(f, "{amount} {}", self.resource)
    }
}

impl Rejection {
    pub fn preemptable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into(), more: Vec::new(), preemptable: true, shortfall: None }
    }

    pub fn lasting(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into(), more: Vec::new(), preemptable: false, shortfall: None }
    }

    /// All reasons, as one text.
    pub fn text(&self) -> String {
        std::iter::once(&self.reason).chain(&self.more).map(|reason| &**reason).collect::<Vec<_>>().join(", ")
    }
}

/// One node as a plugin checks and scores it.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    pub slot: Slot,
    pub info: &'a NodeInfo,
    pub node: &'a Node,
}

pub type Check<'a> = Box<dyn Fn(Candidate<'_>) -> Result<(), Rejection> + 'a>;

/// What a plugin says about nodes for one pod.
pub enum Filter<'a> {
    /// It has nothing to say about this pod.
    Skip,
    Check(Check<'a>),
    /// No other nodes need to be looked at.
    Among(Vec<Slot>, Check<'a>),
    /// No node will do.
    Refuse(Rejection),
}

pub type Rescale<'a> = Box<dyn Fn(&mut [i64]) + 'a>;

/// How raw scores of all feasible nodes become 0 to [`SCORE_MAX`].
pub enum Normalize<'a> {
    AsIs,
    /// The highest becomes 100.
    Highest,
    /// The highest becomes 0, none becomes 100.
    Lowest,
    Custom(Rescale<'a>),
}

/// What a plugin thinks of feasible nodes for one pod.
pub enum Score<'a> {
    Skip,
    Run { score: Box<dyn Fn(Candidate<'_>) -> i64 + 'a>, normalize: Normalize<'a> },
}

/// A scheduling plugin. Every answer is for one pod and one snapshot.
pub trait Plugin: Send + Sync {
    /// Upstream's name, as configuration and metrics have it.
    fn name(&self) -> &'static str;

    fn filter<'a>(&'a self, _pod: &'a Pod, _snapshot: &'a Snapshot) -> Filter<'a> {
        Filter::Skip
    }

    /// `feasible` are the nodes that all filters let pass, in the order in which they will be scored and normalized.
    fn score<'a>(&'a self, _pod: &'a Pod, _snapshot: &'a Snapshot, _feasible: &'a [Slot]) -> Score<'a> {
        Score::Skip
    }

    /// Whether a pod that this plugin turned away may fit after this event.
    fn wakes(&self, pod: &Pod, event: &Event<'_>, snapshot: &Snapshot) -> bool;
}

impl Normalize<'_> {
    pub fn apply(&self, scores: &mut [i64]) {
        let highest = scores.iter().copied().max().unwrap_or(0).max(0);
        match self {
            Self::AsIs => {}
            Self::Custom(normalize) => normalize(scores),
            Self::Highest if highest == 0 => {}
            Self::Highest => scores.iter_mut().for_each(|score| *score = SCORE_MAX * *score / highest),
            Self::Lowest if highest == 0 => scores.fill(SCORE_MAX),
            Self::Lowest => {
                scores.iter_mut().for_each(|score| *score = SCORE_MAX - SCORE_MAX * *score / highest);
            }
        }
    }
}
