//! How many pods of each node, or of each topology domain, match something, counted once and then kept up to date.
//!
//! Spreading and inter-pod affinity ask the same few questions for every pod of a workload; walking all pods for each
//! would make scheduling quadratic.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use machinery::selector::Selector;

use super::{Column, NO_VALUE, NodeInfo, Slot};
use crate::objects::{AffinityTerm, NamespaceLabels, Pod};

/// How many questions are kept; the one that was asked longest ago goes first.
const KEPT_MAX: usize = 512;

/// Which pods to count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PodMatcher {
    /// Pods of one namespace that are not being deleted: what topology spreading counts.
    Spread { namespace: Box<str>, selector: Selector },
    /// Pods that all of these terms speak of.
    Terms(Vec<Arc<AffinityTerm>>),
}

impl PodMatcher {
    pub fn matches(&self, pod: &Pod, namespaces: &NamespaceLabels) -> bool {
        match self {
            Self::Spread { namespace, selector } => {
                pod.namespace() == &**namespace
                    && !pod.is_terminating()
                    && !selector.is_everything()
                    && selector.matches_labels(pod.metadata.labels.as_ref())
            }
            Self::Terms(terms) => !terms.is_empty() && terms.iter().all(|term| term.matches(pod, namespaces)),
        }
    }
}

#[derive(Debug)]
struct Kept {
    by_slot: Arc<Vec<u32>>,
    sums: Vec<Sums>,
    asked: u64,
}

/// Counts by a node label's values.
#[derive(Debug)]
struct Sums {
    label: Box<str>,
    /// Whose values these are sums of. Another one of the same label means that nodes have changed since.
    column: Arc<Column>,
    by_value: Arc<Vec<i64>>,
}

impl Sums {
    fn new(label: &str, column: &Arc<Column>, by_slot: &[u32]) -> Self {
        let mut by_value = vec![0; column.len];
        for (value, count) in column.values.iter().zip(by_slot).filter(|(value, _)| **value != NO_VALUE) {
            by_value[*value as usize] += i64::from(*count);
        }
        Self { label: label.into(), column: column.clone(), by_value: Arc::new(by_value) }
    }

    fn change(&mut self, slot: Slot, by: i64) {
        if let Some(value) = self.column.values.get(slot).filter(|value| **value != NO_VALUE) {
            Arc::make_mut(&mut self.by_value)[*value as usize] += by;
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    kept: RefCell<HashMap<PodMatcher, Kept>>,
    questions: std::cell::Cell<u64>,
}

impl Counts {
    /// Namespaces' labels changed: what terms match may have changed with them.
    pub(super) fn forget_terms(&mut self) {
        self.kept.get_mut().retain(|matcher, _| matches!(matcher, PodMatcher::Spread { .. }));
    }

    pub(super) fn account(&mut self, slot: Slot, pod: &Pod, namespaces: &NamespaceLabels, add: bool) {
        for (matcher, kept) in self.kept.get_mut() {
            if matcher.matches(pod, namespaces) {
                let by_slot = Arc::make_mut(&mut kept.by_slot);
                if by_slot.len() <= slot {
                    by_slot.resize(slot + 1, 0);
                }
                let before = by_slot[slot];
                by_slot[slot] = if add { before + 1 } else { before.saturating_sub(1) };
                let change = i64::from(by_slot[slot]) - i64::from(before);
                kept.sums.iter_mut().for_each(|sums| sums.change(slot, change));
            }
        }
    }

    /// By slot.
    pub(super) fn of(&self, matcher: &PodMatcher, nodes: &[NodeInfo], namespaces: &NamespaceLabels) -> Arc<Vec<u32>> {
        self.look(matcher, nodes, namespaces, |kept| kept.by_slot.clone())
    }

    /// By the values of a label, of which this is the column.
    pub(super) fn sums(
        &self,
        matcher: &PodMatcher,
        (label, column): (&str, &Arc<Column>),
        nodes: &[NodeInfo],
        namespaces: &NamespaceLabels,
    ) -> Arc<Vec<i64>> {
        self.look(matcher, nodes, namespaces, |kept| {
            let place = kept.sums.iter().position(|sums| *sums.label == *label);
            match place {
                Some(place) if Arc::ptr_eq(&kept.sums[place].column, column) => {}
                Some(place) => kept.sums[place] = Sums::new(label, column, &kept.by_slot),
                None => kept.sums.push(Sums::new(label, column, &kept.by_slot)),
            }
            kept.sums[place.unwrap_or(kept.sums.len() - 1)].by_value.clone()
        })
    }

    fn look<R>(
        &self,
        matcher: &PodMatcher,
        nodes: &[NodeInfo],
        namespaces: &NamespaceLabels,
        take: impl FnOnce(&mut Kept) -> R,
    ) -> R {
        let asked = self.questions.get() + 1;
        self.questions.set(asked);
        let mut all = self.kept.borrow_mut();
        if let Some(kept) = all.get_mut(matcher) {
            kept.asked = asked;
            if kept.by_slot.len() < nodes.len() {
                Arc::make_mut(&mut kept.by_slot).resize(nodes.len(), 0);
            }
            return take(kept);
        }
        if all.len() >= KEPT_MAX {
            let oldest = all.iter().min_by_key(|(_, kept)| kept.asked).map(|(matcher, _)| matcher.clone());
            oldest.map(|matcher| all.remove(&matcher));
        }
        let count = |info: &NodeInfo| info.pods().iter().filter(|pod| matcher.matches(pod, namespaces)).count() as u32;
        let by_slot = Arc::new(nodes.iter().map(count).collect());
        take(all.entry(matcher.clone()).or_insert(Kept { by_slot, sums: Vec::new(), asked }))
    }
}
