//! The affinity terms that placed pods have, each once, with the nodes of the pods that have it.
//!
//! A workload's pods share their terms, so an incoming pod is held against one term instead of thousands of pods.

use std::collections::HashMap;
use std::sync::Arc;

use super::Slot;
use crate::objects::{AffinityTerm, Pod};

/// What placed pods want of an incoming one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TermKind {
    /// It must not come near.
    RequiredAnti,
    /// They were placed near such pods.
    Required,
    /// They like it near, or, with a negative weight, apart.
    Preferred,
}

type Users = HashMap<(Arc<AffinityTerm>, i64), HashMap<Slot, u32>>;

#[derive(Debug, Default)]
pub(super) struct Terms {
    required_anti: Users,
    required: Users,
    preferred: Users,
}

impl Terms {
    fn users(&self, kind: TermKind) -> &Users {
        match kind {
            TermKind::RequiredAnti => &self.required_anti,
            TermKind::Required => &self.required,
            TermKind::Preferred => &self.preferred,
        }
    }

    pub(super) fn of(&self, kind: TermKind) -> impl Iterator<Item = (&AffinityTerm, i64, &HashMap<Slot, u32>)> {
        self.users(kind).iter().map(|((term, weight), slots)| (&**term, *weight, slots))
    }

    pub(super) fn account(&mut self, slot: Slot, pod: &Pod, add: bool) {
        let Some(affinity) = &pod.affinity else { return };
        for term in &affinity.required_anti {
            change(&mut self.required_anti, term, 0, slot, add);
        }
        for term in &affinity.required {
            change(&mut self.required, term, 0, slot, add);
        }
        for weighted in &affinity.preferred {
            change(&mut self.preferred, &weighted.term, weighted.weight, slot, add);
        }
        for weighted in &affinity.preferred_anti {
            change(&mut self.preferred, &weighted.term, -weighted.weight, slot, add);
        }
    }
}

fn change(users: &mut Users, term: &Arc<AffinityTerm>, weight: i64, slot: Slot, add: bool) {
    let key = (term.clone(), weight);
    let slots = users.entry(key.clone()).or_default();
    let count = slots.entry(slot).or_default();
    *count = if add { *count + 1 } else { count.saturating_sub(1) };
    if *count == 0 {
        slots.remove(&slot);
        if slots.is_empty() {
            users.remove(&key);
        }
    }
}
