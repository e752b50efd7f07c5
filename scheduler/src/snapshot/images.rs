//! Which nodes hold which images.

use std::collections::HashMap;

use super::Slot;
use crate::objects::Node;

#[derive(Debug, Default)]
pub(super) struct Images(HashMap<Box<str>, HashMap<Slot, i64>>);

impl Images {
    pub(super) fn holders(&self, name: &str) -> Option<&HashMap<Slot, i64>> {
        self.0.get(name)
    }

    pub(super) fn replace(&mut self, slot: Slot, old: Option<&Node>, new: Option<&Node>) {
        if let (Some(old), Some(new)) = (old, new)
            && old.images == new.images
        {
            return;
        }
        for (name, _) in old.into_iter().flat_map(|node| &node.images) {
            if let Some(holders) = self.0.get_mut(name) {
                holders.remove(&slot);
                if holders.is_empty() {
                    self.0.remove(name);
                }
            }
        }
        for (name, size) in new.into_iter().flat_map(|node| &node.images) {
            self.0.entry(name.clone()).or_default().insert(slot, *size);
        }
    }
}
