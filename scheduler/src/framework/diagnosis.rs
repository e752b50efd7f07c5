//! Why no node takes a pod, grouped.

use std::borrow::Cow;
use std::collections::HashMap;

use super::profile::PluginSet;
use crate::plugins::{Rejection, Shortfall};
use crate::snapshot::Slot;

/// What is said when the cluster has no nodes at all.
pub const NO_NODES: &str = "no nodes available to schedule pods";

#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// How many nodes there are; 0 when there are none to look at.
    pub nodes: usize,
    /// Which plugins said no: only events that these care for can help.
    pub rejected_by: PluginSet,
    /// Nodes that might take the pod if other pods made room.
    pub preemptable: Vec<Slot>,
    /// What preemption has to add, with its own words.
    pub preemption: Option<String>,
    /// The node that lacks the least, of those that only lack resources.
    pub nearest: Option<(Slot, Box<Shortfall>)>,
    refused: Option<String>,
    reasons: HashMap<Cow<'static, str>, usize>,
    rejected_nodes: usize,
    unseen: Option<String>,
}

impl Diagnosis {
    pub(super) fn new(nodes: usize) -> Self {
        Self { nodes, ..Self::default() }
    }

    pub(super) fn no_nodes() -> Self {
        Self::default()
    }

    /// A plugin refused the whole cluster.
    pub(super) fn refuse(&mut self, plugin: usize, rejection: &Rejection) {
        self.rejected_by.insert(plugin);
        self.refused = Some(rejection.text());
    }

    /// Only some nodes were looked at, because `plugin` rules out the others.
    pub(super) fn narrow(&mut self, plugin: usize, name: &str) {
        self.rejected_by.insert(plugin);
        self.unseen = Some(format!("node(s) didn't satisfy plugin(s) [{name}]"));
    }

    pub(super) fn reject(&mut self, slot: Slot, plugin: usize, rejection: Rejection) {
        self.rejected_by.insert(plugin);
        self.rejected_nodes += 1;
        if rejection.preemptable {
            self.preemptable.push(slot);
        }
        if let Some(shortfall) = rejection.shortfall
            && self.nearest.as_ref().is_none_or(|(_, nearest)| shortfall.is_less_than(nearest))
        {
            self.nearest = Some((slot, shortfall));
        }
        self.count(rejection.reason, rejection.more);
    }

    /// An extender turned a node away that the plugins would take.
    pub fn reject_extended(&mut self, slot: Slot, reason: String, preemptable: bool) {
        let rejection = if preemptable { Rejection::preemptable(reason) } else { Rejection::lasting(reason) };
        self.reject(slot, PluginSet::EXTENDER, rejection);
    }

    fn count(&mut self, reason: Cow<'static, str>, more: Vec<Cow<'static, str>>) {
        for reason in std::iter::once(reason).chain(more) {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    /// Upstream's sentence: `0/3 nodes are available: 1 Insufficient memory, 2 node(s) were unschedulable.`
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return NO_NODES.to_owned();
        }
        let mut message = format!("0/{} nodes are available:", self.nodes);
        match &self.refused {
            Some(refused) => message.push_str(&format!(" {refused}.")),
            None => {
                let unseen = self.nodes.saturating_sub(self.rejected_nodes);
                let unseen = self.unseen.as_ref().filter(|_| unseen > 0).map(|reason| format!("{unseen} {reason}"));
                let counted = self.reasons.iter().map(|(reason, count)| format!("{count} {reason}"));
                let mut reasons: Vec<String> = counted.chain(unseen).collect();
                reasons.sort_unstable();
                if !reasons.is_empty() {
                    message.push_str(&format!(" {}.", reasons.join(", ")));
                }
            }
        }
        if let Some(preemption) = &self.preemption {
            message.push_str(&format!(" {preemption}"));
        }
        message
    }
}

/// A message of `preemption` itself, which counts nodes in the same form.
#[derive(Debug, Default)]
pub struct Tally(Diagnosis);

impl Tally {
    pub fn new(nodes: usize) -> Self {
        Self(Diagnosis { unseen: Some("Preemption is not helpful for scheduling".to_owned()), ..Diagnosis::new(nodes) })
    }

    pub fn add(&mut self, rejection: Rejection) {
        self.0.rejected_nodes += 1;
        self.0.count(rejection.reason, rejection.more);
    }

    pub fn message(&self) -> String {
        self.0.message()
    }
}
