//! Which Services changed since the last write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::metrics::{self, Kind};
use crate::model::Family;

/// Shared by the informers' handlers, which add, and the loop, which takes all at once.
#[derive(Clone, Default)]
pub(crate) struct Pending(Arc<Inner>);

#[derive(Default)]
struct Inner {
    changes: Mutex<Changes>,
    changed: Notify,
}

/// When the things happened that made endpoints change, by Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Triggers(BTreeMap<String, Vec<Timestamp>>);

impl Triggers {
    pub(crate) fn append(&mut self, more: Triggers) {
        more.0.into_iter().for_each(|(service, at)| self.0.entry(service).or_default().extend(at));
    }

    /// Of each Service that is still there the earliest: while nothing can be written, no more is kept than there are
    /// Services. Upstream forgets all of them then, and the time of the outage with them.
    pub(crate) fn keep_earliest(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|service, at| {
            *at = at.iter().min().copied().into_iter().collect();
            is_there(service)
        });
    }

    pub(crate) fn take(&mut self) -> impl Iterator<Item = Timestamp> {
        std::mem::take(&mut self.0).into_values().flatten()
    }
}

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// `namespace/name` of Services.
    pub(crate) services: BTreeSet<String>,
    pub(crate) triggers: BTreeMap<Family, Triggers>,
    /// This node's Node.
    pub(crate) node: bool,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.services.is_empty() && !self.node
    }
}

impl Pending {
    pub(crate) fn add_service(&self, key: String) {
        metrics::changed(Kind::Service);
        self.update(|changes| changes.services.insert(key));
    }

    /// A change of a Service's endpoints; `trigger` is when what made it happened, if that is known.
    pub(crate) fn add_endpoints(&self, service: String, trigger: Option<(Family, Timestamp)>) {
        metrics::changed(Kind::Endpoint);
        self.update(|changes| {
            if let Some((family, at)) = trigger {
                changes.triggers.entry(family).or_default().0.entry(service.clone()).or_default().push(at);
            }
            changes.services.insert(service)
        });
    }

    pub(crate) fn add_node(&self) {
        self.update(|changes| std::mem::replace(&mut changes.node, true));
    }

    fn update<T>(&self, change: impl FnOnce(&mut Changes) -> T) {
        change(&mut self.0.changes.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.notify_one();
    }

    pub(crate) fn take(&self) -> Changes {
        metrics::changes_taken();
        std::mem::take(&mut *self.0.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns when something was added since the last return. Cancel safe.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_nothing_is_written_no_more_triggers_are_kept_than_services() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (pending, mut kept) = (Pending::default(), Triggers::default());
        for round in 1..100 {
            for service in ["ns/web", "ns/other", "ns/gone"] {
                pending.add_endpoints(service.to_owned(), Some((Family::V4, at(round))));
                pending.add_endpoints(service.to_owned(), None);
            }
            pending.add_endpoints("ns/web".to_owned(), Some((Family::V6, at(round))));
            let mut changes = pending.take();
            assert_eq!(changes.triggers.remove(&Family::V6).unwrap().take().collect::<Vec<_>>(), [at(round)]);
            kept.append(changes.triggers.remove(&Family::V4).unwrap());
            kept.keep_earliest(|service| service != "ns/gone");
        }
        assert_eq!(kept.take().collect::<Vec<_>>(), [at(1), at(1)]);
        assert_eq!(kept, Triggers::default());
    }
}
