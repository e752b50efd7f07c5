//! Hands every pod of this node to its worker: from the API, from static manifests, and from what the runtime still
//! holds of pods that nobody has any more.
//!
//! Enter at [`Dispatcher::put`] and [`Dispatcher::gone`]. A worker lives as long as anything of its pod is here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use component::{informer::Event, shutdown::Shutdown};
use k8s_openapi::api::core::v1::Pod;

use crate::{
    orphans,
    pod::{
        inbox::Inbox,
        node::{Evict, Node},
        spec,
        wishes::Wish,
        worker,
    },
    runtime::{Result, events},
    sources::Wake,
};

/// How long a pod whose worker panicked waits for the next.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher(Arc<Inner>);

struct Inner {
    node: Arc<Node>,
    shutdown: Shutdown,
    /// By pod UID.
    workers: Mutex<HashMap<String, Entry>>,
    /// The mirrors of static pods as the API has them, by namespace and name: a worker may start after its mirror came.
    mirrors: Mutex<HashMap<(String, String), Arc<Pod>>>,
    /// What each container and sandbox looked like at the last look at everything.
    seen: Mutex<HashMap<String, i32>>,
    look: tokio::sync::Notify,
}

/// A dispatcher that is put in when it exists: what wakes workers, or ends them, is part of what workers use.
#[derive(Clone, Default)]
pub struct LateDispatcher(Arc<OnceLock<Dispatcher>>);

impl LateDispatcher {
    pub fn put(&self, dispatch: Dispatcher) {
        // A second one would be of another node.
        let _ = self.0.set(dispatch);
    }

    /// For changes of what pods refer to.
    pub fn wake(&self) -> Wake {
        let this = self.0.clone();
        Arc::new(move |uid| {
            if let Some(dispatch) = this.get() {
                dispatch.tell(uid, |news| news.refresh = true);
            }
        })
    }

    pub fn evict(&self) -> Evict {
        let this = self.0.clone();
        Arc::new(move |uid, eviction| {
            if let Some(dispatch) = this.get() {
                dispatch.tell(uid, |news| news.evict = Some(eviction));
            }
        })
    }
}

struct Entry {
    inbox: Inbox,
    /// The object as it was told last.
    pod: Arc<Pod>,
    namespace: String,
    name: String,
    is_static: bool,
    is_leaving: bool,
    /// The same pod came back while its worker was still clearing away: it starts again after that.
    next: Option<Arc<Pod>>,
}

impl Dispatcher {
    pub fn new(node: Arc<Node>, shutdown: Shutdown) -> Self {
        Self(Arc::new(Inner {
            node,
            shutdown,
            workers: Mutex::default(),
            mirrors: Mutex::default(),
            seen: Mutex::default(),
            look: tokio::sync::Notify::new(),
        }))
    }

    /// A change of the pod informer.
    pub fn event(&self, event: &Event<Pod>) {
        match event {
            Event::Added(pod) | Event::Updated { new: pod, .. } if spec::is_mirror(pod) => {
                self.mirror(pod, Some(pod.clone()));
            }
            Event::Deleted(pod) if spec::is_mirror(pod) => self.mirror(pod, None),
            Event::Added(pod) => self.put(pod.clone()),
            Event::Updated { old, new } => {
                // Deleted and made again under the same name between two looks.
                if spec::uid(old) != spec::uid(new) {
                    self.gone(spec::uid(old));
                }
                self.put(new.clone());
            }
            Event::Deleted(pod) => {
                self.tell(spec::uid(pod), |news| news.object = Some(pod.clone()));
                self.gone(spec::uid(pod));
            }
        }
    }

    /// The pod as its source has it now.
    pub fn put(&self, pod: Arc<Pod>) {
        let uid = spec::uid(&pod).to_owned();
        if let Some(entry) = self.lock().get_mut(&uid) {
            if entry.is_leaving {
                entry.next = Some(pod);
            } else {
                entry.pod = pod.clone();
                entry.inbox.tell(|news| news.object = Some(pod));
            }
            return;
        }
        if spec::is_static(&pod) && self.waits_for_another(&pod) {
            return;
        }
        self.start(pod, false);
    }

    /// A changed manifest is another pod of the same name: it starts when the old one has ended.
    fn waits_for_another(&self, pod: &Arc<Pod>) -> bool {
        let identity = spec::identity(pod);
        let mut workers = self.lock();
        let old = workers
            .values_mut()
            .find(|entry| entry.is_static && entry.namespace == identity.namespace && entry.name == identity.name);
        if let Some(entry) = old {
            entry.next = Some(pod.clone());
            return true;
        }
        false
    }

    /// The pod is gone from its source.
    pub fn gone(&self, pod_uid: &str) {
        if let Some(entry) = self.lock().get_mut(pod_uid) {
            entry.is_leaving = true;
            entry.next = None;
            entry.inbox.tell(|news| news.gone = true);
        }
    }

    /// Changes what a pod's worker is told, if it has one.
    pub fn tell(&self, pod_uid: &str, change: impl FnOnce(&mut crate::pod::inbox::News)) {
        if let Some(entry) = self.lock().get(pod_uid) {
            entry.inbox.tell(change);
        }
    }

    /// The mirror of a static pod as the API has it now, or that it is gone.
    pub(crate) fn mirror(&self, mirror: &Pod, now: Option<Arc<Pod>>) {
        let identity = spec::identity(mirror);
        {
            let mut mirrors = self.0.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (identity.namespace, identity.name);
            match now.clone() {
                Some(now) => drop(mirrors.insert(key, now)),
                None => drop(mirrors.remove(&key)),
            }
        }
        let workers = self.lock();
        let found = workers.values().find(|entry| {
            entry.is_static
                && Some(&entry.namespace) == mirror.metadata.namespace.as_ref()
                && Some(&entry.name) == mirror.metadata.name.as_ref()
        });
        if let Some(entry) = found {
            entry.inbox.tell(|news| news.mirror = Some(now));
        }
    }

    fn start(&self, pod: Arc<Pod>, gone: bool) {
        let uid = spec::uid(&pod).to_owned();
        let identity = spec::identity(&pod);
        let inbox = Inbox::default();
        if spec::is_static(&pod) {
            let mirrors = self.0.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (identity.namespace.clone(), identity.name.clone());
            let mirror = mirrors.get(&key).cloned();
            inbox.tell(|news| news.mirror = Some(mirror));
        }
        // What runs here already counts from the start, before the first look at it.
        if pod.status.as_ref().is_some_and(|status| status.start_time.is_some()) {
            let wish = Wish::recovered(&pod);
            self.0.node.running.put(wish.given.apply(&pod));
            self.0.node.wishes.note(wish);
        }
        let entry = Entry {
            inbox: inbox.clone(),
            pod: pod.clone(),
            namespace: identity.namespace,
            name: identity.name,
            is_static: spec::is_static(&pod),
            is_leaving: gone,
            next: None,
        };
        self.lock().insert(uid.clone(), entry);
        let this = self.clone();
        tokio::spawn(async move {
            let run = worker::run(this.0.node.clone(), inbox, pod, gone, this.0.shutdown.clone());
            // A panic ends one pod's worker, not the kubelet. Its place is kept meanwhile: a look at everything would take
            // the containers for a pod that nobody has.
            let failed = tokio::spawn(run).await.err();
            if let Some(error) = &failed {
                tracing::error!(pod_uid = uid, %error, "a pod's worker failed; it is started again");
                let _ = this.0.shutdown.run_until(tokio::time::sleep(AFTER_PANIC)).await;
            }
            let Some(entry) = this.lock().remove(&uid) else { return };
            match (entry.next, failed) {
                (Some(next), None) => this.start(next, false),
                (_, Some(_)) if !this.0.shutdown.is_triggered() => this.start(entry.pod, entry.is_leaving),
                _ => {}
            }
        });
    }

    /// Wakes the worker that an event is for.
    pub fn wake(&self, wake: events::Wake) {
        // A container that is unknown is just being made: its worker looks by itself. The slow look finds any other.
        match wake {
            events::Wake::Container(id) => {
                if let Some(uid) = self.0.node.index.pod_of(&id) {
                    self.tell(&uid, |news| news.moved.extend([id]));
                }
            }
            events::Wake::Exited(id) => {
                if let Some(uid) = self.0.node.index.pod_of(&id) {
                    self.tell(&uid, |news| news.exited.extend([id]));
                }
            }
            events::Wake::All => self.0.look.notify_one(),
        }
    }

    /// Waits until a look at everything is asked for.
    pub async fn look_wanted(&self) {
        self.0.look.notified().await;
    }

    /// Looks at everything that the runtime holds: wakes the workers whose containers changed, and gives pods that no
    /// source has a worker that ends them, once each source has told all of its pods (`adopt`).
    pub async fn look_at_all(&self, adopt: bool) -> Result<()> {
        if adopt {
            self.0.node.wishes.open(&self.0.node.running);
        }
        let runtime = &self.0.node.runtime;
        let (sandboxes, containers) = (runtime.list_sandboxes(None).await?, runtime.list_containers(None).await?);
        let mut now = HashMap::new();
        let mut pods = HashMap::new();
        let items = sandboxes
            .iter()
            .map(|it| (&it.id, it.state, &it.labels))
            .chain(containers.iter().map(|it| (&it.id, it.state, &it.labels)));
        for (id, state, labels) in items {
            if let Some(identity) = crate::runtime::labels::Identity::from_labels(labels) {
                now.insert(id.clone(), state);
                pods.entry(identity).or_insert_with(Vec::new).push((id.clone(), state));
            }
        }
        self.0.node.index.found(pods.keys().map(|identity| &identity.uid));
        let before = std::mem::replace(&mut *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner), now.clone());
        for (identity, items) in pods {
            if self.has(&identity.uid) {
                if items.iter().any(|(id, state)| before.get(id) != Some(state)) {
                    self.tell(&identity.uid, |news| news.look = true);
                }
            } else if adopt {
                tracing::info!(pod = %identity, uid = identity.uid, "the runtime holds a pod that nobody has; it is ended");
                self.start(Arc::new(orphans::restored(&identity, &containers)), true);
            }
        }
        for id in before.keys().filter(|id| !now.contains_key(*id)) {
            if let Some(uid) = self.0.node.index.pod_of(id) {
                self.tell(&uid, |news| news.look = true);
            }
        }
        Ok(())
    }

    /// Whether the pod has a worker.
    pub fn has(&self, pod_uid: &str) -> bool {
        self.lock().contains_key(pod_uid)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
