//! Which Services changed since the last write.

use std::collections::BTreeSet;
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

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// `namespace/name` of Services.
    pub(crate) services: BTreeSet<String>,
    /// When the things happened that made endpoints change.
    pub(crate) triggers: Vec<(Family, Timestamp)>,
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
            changes.triggers.extend(trigger);
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
