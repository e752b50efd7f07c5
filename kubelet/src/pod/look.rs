//! What a worker is to read again of its pod: one look at one thing is one call to the runtime, a look at everything is
//! two calls and one more for each thing.

use std::collections::BTreeSet;

use crate::runtime::{Observed, Runtime, observe::Item};

/// Gathered between two looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Look {
    #[default]
    Nothing,
    At(BTreeSet<Item>),
    Everything,
}

impl Look {
    pub(super) fn is_wanted(&self) -> bool {
        *self != Self::Nothing
    }

    pub(super) fn add(&mut self, item: Item) {
        match self {
            Self::Nothing => *self = Self::At(BTreeSet::from([item])),
            Self::At(items) => drop(items.insert(item)),
            Self::Everything => {}
        }
    }

    /// By an ID alone. One that was not seen yet may be anything.
    pub(super) fn add_id(&mut self, id: &str, seen: &Observed) {
        match seen.item(id) {
            Some(item) => self.add(item),
            None => *self = Self::Everything,
        }
    }

    /// What the runtime has now, where `seen` is what it had; and whether a container was read just now.
    pub(super) async fn take(
        self,
        runtime: &dyn Runtime,
        pod_uid: &str,
        seen: &Observed,
    ) -> crate::runtime::Result<(Observed, impl Fn(&str) -> bool + use<>)> {
        let (observed, items) = match self {
            Self::Nothing => (seen.clone(), Some(BTreeSet::new())),
            Self::At(items) => (seen.renewed(runtime, &items).await?, Some(items)),
            Self::Everything => (Observed::of_pod(runtime, pod_uid).await?, None),
        };
        let is_fresh = move |id: &str| items.as_ref().is_none_or(|items| items.iter().any(|item| item.id() == id));
        Ok((observed, is_fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{ContainerRecord, ContainerState};

    #[test]
    fn what_was_never_seen_asks_for_everything() {
        let record = ContainerRecord::for_test("known", ContainerState::Running);
        let seen = Observed { sandboxes: Vec::new(), containers: vec![record] };
        let mut look = Look::default();
        assert!(!look.is_wanted());
        look.add_id("known", &seen);
        let container = Item::Container { id: "known".into(), sandbox_id: "s".into() };
        assert_eq!(look, Look::At(BTreeSet::from([container])));
        look.add_id("unknown", &seen);
        assert_eq!(look, Look::Everything);
        look.add(Item::Sandbox("s".into()));
        assert_eq!(look, Look::Everything);
    }
}
