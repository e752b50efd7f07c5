//! Owners that are known to be gone, so that a thousand dependents cost one request.

use std::collections::{HashSet, VecDeque};

use super::identity::Identity;

/// UIDs are never used again, so what is absent stays so; the bound is for memory.
const CAPACITY: usize = 500;

#[derive(Default)]
pub(super) struct Absent {
    known: HashSet<Identity>,
    order: VecDeque<Identity>,
}

impl Absent {
    pub(super) fn add(&mut self, identity: Identity) {
        if !self.known.insert(identity.clone()) {
            return;
        }
        self.order.push_back(identity);
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn has(&self, identity: &Identity) -> bool {
        self.known.contains(identity)
    }
}
