//! What a pod's worker remembers between two looks at the runtime: what is under way, what failed and when to try again,
//! what probes said. All of it may be lost in a crash: the runtime's labels hold what must not be.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    allocation::{Allocation, Pending},
    backoff::{Backoff, after},
    resize::Having,
};
use crate::images::Image;

/// The one start that is under way; the decision core starts one thing at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Starting {
    Sandbox,
    Container { name: String, attempt: u32 },
}

/// How far a container's image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageState {
    /// Asked for; the waiting reason stays `ContainerCreating`.
    Pulling,
    /// What to create the container from.
    Ready(Image),
    /// `reason` and `message` as the container status shows them; asked again at `retry_at`.
    Failed { reason: String, message: String, retry_at: Timestamp },
}

/// Whether the pod's volumes stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Volumes {
    #[default]
    Unset,
    SettingUp,
    Ready,
    Failed {
        message: String,
        tries: u32,
        retry_at: Timestamp,
    },
}

/// A start or stop that failed: the waiting reason and message, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub reason: String,
    pub message: String,
    pub tries: u32,
    pub retry_at: Timestamp,
}

/// What the probes of one container said last. None where there is no such probe or no result yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Probed {
    pub startup: Option<bool>,
    pub liveness: Option<bool>,
    pub readiness: Option<bool>,
}

/// A granted resize that is not through yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InProgress {
    pub generation: i64,
    /// Why the last try failed.
    pub error: Option<String>,
}

/// How far a pod's resources are from what its spec asks for.
#[derive(Debug, Default)]
pub struct Resize {
    /// A wish that is not granted.
    pub pending: Option<Pending>,
    /// More room may change what comes of the wish.
    pub has_wish: bool,
    pub in_progress: Option<InProgress>,
    /// By container ID: what the runtime has accepted.
    pub actuated: HashMap<String, Having>,
    /// Containers to be restarted for their new resources, by ID.
    pub restarts: HashSet<String>,
    pub is_updating: bool,
    /// The pod's own cgroup has other limits than were granted.
    pub is_cgroup_due: bool,
    pub retry_at: Option<Timestamp>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Memory {
    pub starting: Option<Starting>,
    /// Containers being stopped, with the end of the grace that they were given.
    pub stopping: HashMap<String, Timestamp>,
    /// Containers whose preStop hook was begun before their turn to stop, and whether it has ended.
    pub pre_stopping: HashMap<String, bool>,
    /// Sandboxes being stopped.
    pub stopping_sandboxes: HashSet<String>,
    /// Sandboxes for which `StopPodSandbox` has answered: their network is given back.
    pub stopped_sandboxes: HashSet<String>,
    pub removing: HashSet<String>,
    /// By container name.
    pub images: HashMap<String, ImageState>,
    pub volumes: Volumes,
    /// By container name; the sandbox under the empty name; containers that the runtime would not stop by their IDs.
    pub failures: HashMap<String, Failure>,
    pub backoff: Backoff,
    /// By container ID.
    pub probed: HashMap<String, Probed>,
    pub allocation: Allocation,
    pub resize: Resize,
    /// False while the runtime says that pod networking is not there.
    pub network_ready: bool,
}

impl Memory {
    /// The failure of `name` that still holds a new try back.
    pub fn held_back(&self, name: &str, now: Timestamp) -> Option<&Failure> {
        self.failures.get(name).filter(|failure| now < failure.retry_at)
    }

    /// Notes a failed start or stop; tries wait 1, 2, 4, 8 and then 10 s (upstream's sync back-off is 10 s).
    pub fn fail(&mut self, name: &str, reason: &str, message: String, now: Timestamp) {
        let tries = self.failures.get(name).map_or(1, |failure| failure.tries + 1);
        let delay = Duration::from_secs(1 << (tries - 1).min(4)).min(Duration::from_secs(10));
        self.failures.insert(
            name.to_owned(),
            Failure { reason: reason.to_owned(), message, tries, retry_at: after(now, delay) },
        );
    }

    pub fn probed(&self, container_id: &str) -> Probed {
        self.probed.get(container_id).copied().unwrap_or_default()
    }
}
