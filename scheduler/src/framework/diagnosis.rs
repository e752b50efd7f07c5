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

    /// Upstream's sentences, `0/3 nodes are available: 2 Insufficient memory, 1 node(s) were unschedulable.`, but the reason
    /// of most nodes comes first, where upstream sorts the counts as text.
    pub fn message(&self) -> String {
        self.to_tell(None).to_string()
    }

    /// The same, with the node that lacks the least, and what.
    pub fn to_tell(&self, nearest: Option<(&str, &Shortfall)>) -> Message {
        if self.nodes == 0 {
            return Message { reasons: NO_NODES.to_owned(), ..Message::default() };
        }
        Message {
            reasons: format!("0/{} nodes are available:{}", self.nodes, self.reasons()),
            nearest: nearest.map(|(node, lacking)| format!("The nearest node, {node}, lacks {lacking}.")),
            preemption: self.preemption.clone(),
        }
    }

    /// Counted, and grouped by text.
    fn reasons(&self) -> String {
        if let Some(refused) = &self.refused {
            return format!(" {refused}.");
        }
        let unseen = self.nodes.saturating_sub(self.rejected_nodes);
        let unseen = self.unseen.as_deref().filter(|_| unseen > 0).map(|reason| (unseen, reason));
        let counted = self.reasons.iter().map(|(reason, count)| (*count, &**reason));
        let mut all: Vec<_> = counted.chain(unseen).collect();
        all.sort_unstable_by_key(|(count, reason)| (std::cmp::Reverse(*count), *reason));
        let all: Vec<String> = all.into_iter().map(|(count, reason)| format!("{count} {reason}")).collect();
        if all.is_empty() { String::new() } else { format!(" {}.", all.join(", ")) }
    }
}

/// Why a pod waits, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    reasons: String,
    nearest: Option<String>,
    preemption: Option<String>,
}

impl Message {
    /// Preemption found something that was given up later.
    pub fn add_preemption(&mut self, why: &str) {
        self.preemption = Some(format!("preemption: {why}"));
    }

    /// At most `bytes_max`: what preemption says goes first, then the end of the reasons; what the nearest node lacks stays.
    pub fn cut_to(&self, bytes_max: usize) -> String {
        let whole = self.to_string();
        if whole.len() <= bytes_max {
            return whole;
        }
        let Some(nearest) = &self.nearest else { return cut(&whole, bytes_max) };
        if self.reasons.len() + 1 + nearest.len() <= bytes_max {
            return cut(&whole, bytes_max);
        }
        format!("{} {nearest}", cut(&self.reasons, bytes_max.saturating_sub(1 + nearest.len())))
    }
}

impl std::fmt::Display for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reasons)?;
        self.nearest.iter().chain(&self.preemption).try_for_each(|more| write!(f, " {more}"))
    }
}

/// The beginning of a text, at most so long, with a sign where something is missing.
pub fn cut(text: &str, bytes_max: usize) -> String {
    const END: &str = " ...";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max.saturating_sub(END.len()));
    format!("{}{END}", &text[..end])
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
