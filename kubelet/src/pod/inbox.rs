//! What a pod's worker is told from outside: levels, not messages. Telling twice before it looks is telling once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::Notify;

use super::memory::Probed;

/// Everything told since the worker last looked.
#[derive(Debug, Default)]
pub struct News {
    /// The newest object (of a static pod: from its manifest).
    pub object: Option<Arc<Pod>>,
    /// The newest mirror of a static pod; `Some(None)` when it is gone.
    pub mirror: Option<Option<Arc<Pod>>>,
    /// The object is gone from its source.
    pub gone: bool,
    /// The same pod comes back from its source after its end, or will not after all.
    pub returns: Option<bool>,
    /// The kubelet itself ends the pod for the node's sake.
    pub evict: Option<Eviction>,
    /// Something in the runtime moved, and nothing tells what.
    pub look: bool,
    /// Containers and sandboxes that moved, by ID.
    pub moved: BTreeSet<String>,
    /// Containers and sandboxes whose process ended, by ID.
    pub exited: BTreeSet<String>,
    /// A ConfigMap, Secret or Service that the pod uses changed.
    pub refresh: bool,
    /// By container ID.
    pub probed: BTreeMap<String, Probed>,
}

/// Why and how fast a pod is ended for the node's sake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    pub reason: String,
    pub message: String,
    pub grace_period_seconds: i64,
}

/// How far a pod is on its way, in the words of `kubelet_working_pods`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    #[default]
    Sync,
    Terminating,
    Terminated,
}

#[derive(Debug, Default)]
struct Shared {
    news: Mutex<News>,
    bell: Notify,
    stage: Mutex<Stage>,
}

/// The worker's letter box. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Inbox(Arc<Shared>);

impl Inbox {
    /// Changes what is told, and wakes the worker.
    pub fn tell(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.lock());
        self.0.bell.notify_one();
    }

    pub fn look(&self) {
        self.tell(|news| news.look = true);
    }

    pub fn take(&self) -> News {
        std::mem::take(&mut *self.lock())
    }

    /// Waits until something was told since the last [`Inbox::take`].
    pub async fn told(&self) {
        self.0.bell.notified().await;
    }

    /// Told by the worker.
    pub fn set_stage(&self, stage: Stage) {
        *self.0.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    pub fn stage(&self) -> Stage {
        *self.0.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, News> {
        self.0.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
