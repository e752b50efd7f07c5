//! NodeAffinity: `spec.nodeSelector` and node affinity, required and preferred, with what the profile adds to both.

use super::{Candidate, Filter, Normalize, Plugin, Rejection, Score};
use crate::event::Event;
use crate::objects::{NodeTerm, Pod, RequiredNodeAffinity, WeightedNodeTerm};
use crate::snapshot::{Slot, Snapshot};

/// `addedAffinity` of the plugin's arguments; empty by default.
#[derive(Default)]
pub struct NodeAffinity {
    pub added_required: RequiredNodeAffinity,
    pub added_preferred: Vec<WeightedNodeTerm>,
}

impl NodeAffinity {
    fn check(&self, pod: &Pod, candidate: Candidate<'_>) -> Result<(), Rejection> {
        if !self.added_required.matches(candidate.node) {
            return Err(Rejection::lasting("node(s) didn't match scheduler-enforced node affinity"));
        }
        if !pod.required_node_affinity.matches(candidate.node) {
            return Err(Rejection::lasting("node(s) didn't match Pod's node affinity/selector"));
        }
        Ok(())
    }
}

/// The nodes that every term pins the pod to; `None` when some term leaves the choice open.
fn pinned(terms: &[NodeTerm]) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    for term in terms {
        names.extend(term.node_names()?);
    }
    names.sort_unstable();
    names.dedup();
    Some(names)
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn filter<'a>(&'a self, pod: &'a Pod, snapshot: &'a Snapshot) -> Filter<'a> {
        if pod.required_node_affinity.is_empty() && self.added_required.is_empty() {
            return Filter::Skip;
        }
        let check = Box::new(|candidate: Candidate<'_>| self.check(pod, candidate));
        let terms = pod.required_node_affinity.terms.as_deref().filter(|terms| !terms.is_empty());
        match terms.and_then(pinned) {
            None => Filter::Check(check),
            Some(names) if names.is_empty() => Filter::Refuse(Rejection::lasting("pod affinity terms conflict")),
            Some(names) => Filter::Among(names.iter().filter_map(|name| snapshot.slot(name)).collect(), check),
        }
    }

    fn score<'a>(&'a self, pod: &'a Pod, _: &'a Snapshot, _: &'a [Slot]) -> Score<'a> {
        if pod.preferred_node_affinity.is_empty() && self.added_preferred.is_empty() {
            return Score::Skip;
        }
        let score = |candidate: Candidate<'_>| {
            let wished = self.added_preferred.iter().chain(&pod.preferred_node_affinity);
            wished.filter(|w| w.term.matches(candidate.node)).map(|w| w.weight).sum()
        };
        Score::Run { score: Box::new(score), normalize: Normalize::Highest }
    }

    fn wakes(&self, pod: &Pod, event: &Event<'_>, _: &Snapshot) -> bool {
        event.node().is_some_and(|(old, new)| {
            self.added_required.matches(new)
                && pod.required_node_affinity.matches(new)
                && !old.is_some_and(|old| pod.required_node_affinity.matches(old))
        })
    }
}
