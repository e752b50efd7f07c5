//! How many pods of each node match something, counted once and then kept up to date.
//!
//! Spreading and inter-pod affinity ask the same few questions for every pod of a workload; walking all pods for each
//! would make scheduling quadratic.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use machinery::selector::Selector;

use super::{NodeInfo, Slot};
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
    asked: u64,
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
                by_slot[slot] = if add { by_slot[slot] + 1 } else { by_slot[slot].saturating_sub(1) };
            }
        }
    }

    pub(super) fn of(&self, matcher: &PodMatcher, nodes: &[NodeInfo], namespaces: &NamespaceLabels) -> Arc<Vec<u32>> {
        let asked = self.questions.get() + 1;
        self.questions.set(asked);
        let mut all = self.kept.borrow_mut();
        if let Some(kept) = all.get_mut(matcher) {
            kept.asked = asked;
            if kept.by_slot.len() < nodes.len() {
                Arc::make_mut(&mut kept.by_slot).resize(nodes.len(), 0);
            }
            return kept.by_slot.clone();
        }
        if all.len() >= KEPT_MAX {
            let oldest = all.iter().min_by_key(|(_, kept)| kept.asked).map(|(matcher, _)| matcher.clone());
            oldest.map(|matcher| all.remove(&matcher));
        }
        let count = |info: &NodeInfo| info.pods().iter().filter(|pod| matcher.matches(pod, namespaces)).count() as u32;
        let by_slot: Arc<Vec<u32>> = Arc::new(nodes.iter().map(count).collect());
        all.insert(matcher.clone(), Kept { by_slot: by_slot.clone(), asked });
        by_slot
    }
}
