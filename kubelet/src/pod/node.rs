//! What all pod workers of a node share: the runtime, the volumes, the images, the API, time.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use component::{clock::Clock, informer::Informer, random::Random};
use k8s_openapi::api::core::v1::{Pod, Service};
use tokio::sync::watch;

use super::{
    admission::Verdict,
    allocation::Allocation,
    configs::{NodeFacts, resources::held},
    inbox::Eviction,
    turns::Turns,
    wishes::Wishes,
};
use crate::{
    cgroups::Cgroups,
    images::Puller,
    node::{conditions::Health, own::OwnNode},
    probes,
    reporting::Reporter,
    runtime::SharedRuntime,
    sources::ObjectSources,
    volumes::VolumeManager,
};

/// Has the worker of another pod, by its UID, end that pod for the node's sake.
pub type Evict = Arc<dyn Fn(&str, Eviction) + Send + Sync>;

/// See the module.
pub struct Node {
    pub runtime: SharedRuntime,
    /// CRI's name of the runtime, the scheme of container IDs.
    pub runtime_name: String,
    pub turns: Turns,
    pub facts: Arc<NodeFacts>,
    pub volumes: VolumeManager,
    /// None with `--cgroups-per-qos=false`.
    pub cgroups: Option<Cgroups>,
    pub pod_pids_limit: Option<i64>,
    pub puller: Puller,
    pub sources: Arc<ObjectSources>,
    /// None while there is no API server.
    pub client: Option<kube::Client>,
    pub services: Option<Informer<Service>>,
    pub reporter: Reporter,
    pub prober: probes::Prober,
    pub clock: Clock,
    pub random: Random,
    pub network: watch::Receiver<Network>,
    pub health: watch::Receiver<Health>,
    pub index: Index,
    /// The pods as they run here, for the server's `/pods`.
    pub running: Registry,
    /// Resizes that wait.
    pub wishes: Wishes,
    /// The Node object, as the API has it.
    pub own: OwnNode,
    pub evict: Evict,
}

/// What the runtime says of pod networking: ready, or why not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    pub ready: bool,
    pub message: String,
}

/// Which pod a container or sandbox belongs to, and which pods the runtime may hold anything of.
#[derive(Debug, Default)]
pub struct Index {
    pods: Mutex<HashMap<String, String>>,
    held: Mutex<Held>,
}

/// UIDs of the pods that the runtime had when everything was first looked at, and of those that came to this kubelet.
#[derive(Debug, Default)]
struct Held {
    has_looked: bool,
    uids: HashSet<String>,
}

impl Index {
    /// Notes whose containers and sandboxes there were at a look at everything. The first one counts: what comes later is
    /// made by this kubelet's own workers.
    pub fn found<'a>(&self, pod_uids: impl IntoIterator<Item = &'a String>) {
        let mut held = self.lock_held();
        if !std::mem::replace(&mut held.has_looked, true) {
            held.uids.extend(pod_uids.into_iter().cloned());
        }
    }

    /// Notes that a pod comes, and tells whether the runtime may hold something of it already.
    pub fn may_hold(&self, pod_uid: &str) -> bool {
        let mut held = self.lock_held();
        let is_new = held.uids.insert(pod_uid.to_owned());
        !(held.has_looked && is_new)
    }

    pub fn note(&self, ids: impl IntoIterator<Item = String>, pod_uid: &str) {
        let mut map = self.lock();
        for id in ids {
            map.entry(id).or_insert_with(|| pod_uid.to_owned());
        }
    }

    pub fn pod_of(&self, id: &str) -> Option<String> {
        self.lock().get(id).cloned()
    }

    /// Nothing of the pod is left.
    pub fn forget_pod(&self, pod_uid: &str) {
        self.lock().retain(|_, uid| uid != pod_uid);
        self.lock_held().uids.remove(pod_uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each pod with the status that its worker computed last.
#[derive(Debug, Default)]
pub struct Registry {
    pods: Mutex<HashMap<String, Arc<Pod>>>,
    /// UIDs of those whose status the API does not know yet.
    untold: Mutex<HashSet<String>>,
    /// Counts up when a pod has gone, ended, changed or been told: others may find room then.
    room: watch::Sender<u64>,
}

impl Registry {
    /// Puts a pod that has just come, unless `judge`, which is shown the others, refuses it. One is judged at a time: no
    /// two are given the same room.
    pub fn admit(&self, pod: &Arc<Pod>, judge: impl FnOnce(&[Arc<Pod>]) -> Verdict) -> Verdict {
        let mut map = self.lock();
        let others: Vec<Arc<Pod>> = map.values().cloned().collect();
        let verdict = judge(&others);
        if !matches!(verdict, Verdict::Refused(_)) {
            map.insert(super::spec::uid(pod).to_owned(), pod.clone());
        }
        verdict
    }

    pub fn put(&self, pod: Arc<Pod>) {
        let uid = super::spec::uid(&pod).to_owned();
        let before = self.lock().insert(uid, pod.clone());
        let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
        let gives_back = |before: &Pod| ["cpu", "memory"].iter().any(|name| held(&pod, name) < held(before, name));
        if before.is_some_and(|it| it.spec != pod.spec || phase(&it) != phase(&pod) || gives_back(&it)) {
            self.tell_room();
        }
    }

    /// Notes whether the API knows the status that was put last, or never will.
    pub fn note_told(&self, pod_uid: &str, is_told: bool) {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_told {
            untold.insert(pod_uid.to_owned());
        } else if untold.remove(pod_uid) {
            self.tell_room();
        }
    }

    pub fn is_told(&self, pod_uid: &str) -> bool {
        !self.untold.lock().unwrap_or_else(PoisonError::into_inner).contains(pod_uid)
    }

    /// The pod holds other resources from now on. Answers with it: asked for again, it may be as its worker has it still.
    pub fn give(&self, pod_uid: &str, given: &Allocation) -> Option<Arc<Pod>> {
        let mut map = self.lock();
        let pod = map.get_mut(pod_uid)?;
        let now = given.apply(pod);
        let before = std::mem::replace(pod, now.clone());
        drop(map);
        if now.spec != before.spec {
            self.tell_room();
        }
        Some(now)
    }

    pub fn remove(&self, pod_uid: &str) {
        self.lock().remove(pod_uid);
        self.note_told(pod_uid, true);
        self.tell_room();
    }

    /// Has those that wait for room look again.
    pub fn tell_room(&self) {
        self.room.send_modify(|count| *count += 1);
    }

    /// Told when there may be more room than before.
    pub fn room(&self) -> watch::Receiver<u64> {
        self.room.subscribe()
    }

    pub fn list(&self) -> Vec<Arc<Pod>> {
        self.lock().values().cloned().collect()
    }

    pub fn get(&self, pod_uid: &str) -> Option<Arc<Pod>> {
        self.lock().get(pod_uid).cloned()
    }

    /// By UID, or by namespace and name where `uid` is empty. Of two pods of one name the one not being deleted.
    pub fn find(&self, namespace: &str, name: &str, uid: &str) -> Option<Arc<Pod>> {
        let map = self.lock();
        let fits = |pod: &&Arc<Pod>| {
            pod.metadata.namespace.as_deref() == Some(namespace)
                && pod.metadata.name.as_deref() == Some(name)
                && (uid.is_empty() || super::spec::uid(pod) == uid || mirror_hash(pod) == Some(uid))
        };
        map.values().filter(fits).min_by_key(|pod| pod.metadata.deletion_timestamp.is_some()).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Pod>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn mirror_hash(pod: &Pod) -> Option<&str> {
    super::spec::annotation(pod, super::spec::CONFIG_HASH)
}
