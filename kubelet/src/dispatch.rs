//! Hands every pod of this node to its worker: from the API, from static manifests, and from what the runtime still
//! holds of pods that nobody has any more.
//!
//! Enter at [`Dispatcher::put`] and [`Dispatcher::gone`]. A worker lives as long as anything of its pod is here.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use component::{informer::Event, shutdown::Shutdown};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::task::JoinError;

use crate::{
    orphans,
    pod::{
        inbox::Inbox,
        node::{Evict, Node},
        spec,
        wishes::Wish,
        worker,
    },
    runtime::{self, events},
    sources::Wake,
    working_pods::{self, Counted},
};

/// How long a pod whose worker panicked waits for the next.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher(Arc<Inner>);

struct Inner {
    node: Arc<Node>,
    shutdown: Shutdown,
    workers: Mutex<Workers>,
    /// The mirrors of static pods as the API has them, by namespace and name: a worker may start after its mirror came.
    mirrors: Mutex<HashMap<(String, String), Arc<Pod>>>,
    /// What each container and sandbox looked like at the last look at everything.
    seen: Mutex<HashMap<String, i32>>,
    look: tokio::sync::Notify,
    static_pod_ended: tokio::sync::Notify,
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

/// By pod UID.
type Workers = HashMap<String, Entry>;

struct Entry {
    inbox: Inbox,
    /// The object as it was told last.
    pod: Arc<Pod>,
    namespace: String,
    name: String,
    is_static: bool,
    is_leaving: bool,
    /// Known by what the runtime holds of it alone.
    is_runtime_only: bool,
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
            static_pod_ended: tokio::sync::Notify::new(),
        }))
    }

    /// A change of the pod informer.
    pub fn event(&self, event: &Event<Pod>) {
        match event {
            Event::Added(pod) | Event::Updated { new: pod, .. } if spec::is_mirror(pod) => {
                self.mirror(pod, Some(pod.clone()));
            }
            Event::Deleted(pod) if spec::is_mirror(pod) => self.mirror(pod, None),
            Event::Added(pod) => self.put(of_api(pod)),
            Event::Updated { old, new } => {
                // Deleted and made again under the same name between two looks.
                if spec::uid(old) != spec::uid(new) {
                    self.gone(spec::uid(old));
                }
                self.put(of_api(new));
            }
            Event::Deleted(pod) => {
                self.tell(spec::uid(pod), |news| news.object = Some(of_api(pod)));
                self.gone(spec::uid(pod));
            }
        }
    }

    /// The pod as its source has it now.
    pub fn put(&self, pod: Arc<Pod>) {
        self.put_among(&mut self.lock(), pod);
    }

    fn put_among(&self, workers: &mut Workers, pod: Arc<Pod>) {
        if let Some(entry) = workers.get_mut(spec::uid(&pod)) {
            if entry.is_leaving {
                entry.next = Some(pod);
                entry.inbox.tell(|news| news.returns = Some(true));
            } else {
                entry.pod = pod.clone();
                entry.inbox.tell(|news| news.object = Some(pod));
            }
            return;
        }
        // A changed manifest is another pod of the same name: it starts when the old one has ended.
        let identity = spec::identity(&pod);
        let is_before = |it: &&mut Entry| (&it.namespace, &it.name) == (&identity.namespace, &identity.name);
        if spec::is_static(&pod)
            && let Some(before) = workers.values_mut().filter(|it| it.is_static).find(is_before)
        {
            before.next = Some(pod);
            return;
        }
        self.start(workers, pod, false);
    }

    /// The pod is gone from its source.
    pub fn gone(&self, pod_uid: &str) {
        let mut workers = self.lock();
        // One that waits for the end of another will not come any more.
        let waits = |entry: &&mut Entry| entry.next.as_ref().is_some_and(|next| spec::uid(next) == pod_uid);
        workers.values_mut().filter(waits).for_each(|entry| entry.next = None);
        if let Some(entry) = workers.get_mut(pod_uid) {
            entry.is_leaving = true;
            entry.inbox.tell(|news| (news.gone, news.returns) = (true, Some(false)));
        }
    }

    /// Whether a static pod that this is the mirror of still has a worker: its manifest may be gone by then.
    pub(crate) fn holds_static(&self, is_mirror_of: impl Fn(&Pod) -> bool) -> bool {
        self.lock().values().any(|entry| entry.is_static && is_mirror_of(&entry.pod))
    }

    /// Waits until a static pod has ended since the last call.
    pub(crate) async fn static_pod_ended(&self) {
        self.0.static_pod_ended.notified().await;
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
        // That of the pod before, which had another manifest, says nothing of this one.
        if let Some(entry) = workers.values().find(|it| it.is_static && spec::is_mirror_of(mirror, &it.pod)) {
            entry.inbox.tell(|news| news.mirror = Some(now));
        }
    }

    fn start(&self, workers: &mut Workers, pod: Arc<Pod>, gone: bool) {
        let uid = spec::uid(&pod).to_owned();
        let identity = spec::identity(&pod);
        let inbox = Inbox::default();
        if spec::is_static(&pod) {
            let mirrors = self.0.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (identity.namespace.clone(), identity.name.clone());
            let mirror = mirrors.get(&key).filter(|mirror| spec::is_mirror_of(mirror, &pod)).cloned();
            inbox.tell(|news| news.mirror = Some(mirror));
        }
        // What runs here already counts from the start, before the first look at it.
        let has_begun = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        if has_begun && !spec::is_static(&pod) {
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
            is_runtime_only: gone,
            next: None,
        };
        workers.insert(uid.clone(), entry);
        let this = self.clone();
        tokio::spawn(async move {
            let run = worker::run(this.0.node.clone(), inbox, pod, gone, this.0.shutdown.clone());
            // A panic ends one pod's worker, not the kubelet. Its place is kept meanwhile: a look at everything would take
            // the containers for a pod that nobody has.
            let end = tokio::spawn(run).await;
            if let Err(error) = &end {
                tracing::error!(pod_uid = uid, %error, "a pod's worker failed; it is started again");
                let _ = this.0.shutdown.run_until(tokio::time::sleep(AFTER_PANIC)).await;
            }
            this.follow(&uid, end);
        });
    }

    /// Gives the place of a worker that has ended to what comes after it, under one lock: a place that is free in between
    /// could be taken by another pod of the name, and a pod that is told to be gone meanwhile would not be found.
    fn follow(&self, uid: &str, end: Result<Option<PodStatus>, JoinError>) {
        let mut workers = self.lock();
        let Some(entry) = workers.remove(uid) else { return };
        match (entry.next, end) {
            (Some(next), Ok(last)) if spec::uid(&next) == uid => {
                working_pods::restarted(entry.is_static);
                // What this kubelet said last; of other pods the API knows more.
                let next = match entry.is_static {
                    true => Arc::new(Pod { status: last, ..Arc::unwrap_or_clone(next) }),
                    false => next,
                };
                self.start(&mut workers, next, false);
            }
            (Some(next), Ok(_)) => self.start(&mut workers, next, false),
            (next, Err(_)) if !self.0.shutdown.is_triggered() => {
                self.start(&mut workers, entry.pod, entry.is_leaving);
                next.into_iter().for_each(|next| self.put_among(&mut workers, next));
            }
            _ => {}
        }
        if entry.is_static {
            self.0.static_pod_ended.notify_one();
        }
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
    pub async fn look_at_all(&self, adopt: bool) -> runtime::Result<()> {
        if adopt {
            self.0.node.wishes.open(&self.0.node.running);
        }
        let held = &self.0.node.runtime;
        let (sandboxes, containers) = (held.list_sandboxes(None).await?, held.list_containers(None).await?);
        let mut now = HashMap::new();
        let mut pods = HashMap::new();
        let items = sandboxes
            .iter()
            .map(|it| (&it.id, it.state, &it.labels))
            .chain(containers.iter().map(|it| (&it.id, it.state, &it.labels)));
        for (id, state, labels) in items {
            if let Some(identity) = runtime::labels::Identity::from_labels(labels) {
                now.insert(id.clone(), state);
                pods.entry(identity).or_insert_with(Vec::new).push((id.clone(), state));
            }
        }
        self.0.node.index.found(pods.keys().map(|identity| &identity.uid));
        let before = std::mem::replace(&mut *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner), now.clone());
        for (identity, items) in pods {
            let mut workers = self.lock();
            if let Some(entry) = workers.get(&identity.uid) {
                if items.iter().any(|(id, state)| before.get(id) != Some(state)) {
                    entry.inbox.look();
                }
            } else if adopt {
                tracing::info!(pod = %identity, uid = identity.uid, "the runtime holds a pod that nobody has; it is ended");
                working_pods::orphaned();
                self.start(&mut workers, Arc::new(orphans::restored(&identity, &containers)), true);
            }
        }
        for id in before.keys().filter(|id| !now.contains_key(*id)) {
            if let Some(uid) = self.0.node.index.pod_of(id) {
                self.tell(&uid, |news| news.look = true);
            }
        }
        Ok(())
    }

    /// What is worked on, and the mirrors that the API has.
    pub(crate) fn counted(&self) -> (Vec<Counted>, usize) {
        let one = |entry: &Entry| Counted {
            is_static: entry.is_static,
            is_leaving: entry.is_leaving,
            is_runtime_only: entry.is_runtime_only,
            has_next: entry.next.is_some(),
            stage: entry.inbox.stage(),
        };
        let mirrors = self.0.mirrors.lock().unwrap_or_else(PoisonError::into_inner).len();
        (self.lock().values().map(one).collect(), mirrors)
    }

    /// For who must not keep this alive.
    pub(crate) fn if_there(&self) -> impl Fn() -> Option<Dispatcher> + Send + Sync + use<> {
        let this = Arc::downgrade(&self.0);
        move || this.upgrade().map(Dispatcher)
    }

    /// Whether the pod has a worker.
    pub fn has(&self, pod_uid: &str) -> bool {
        self.lock().contains_key(pod_uid)
    }

    fn lock(&self) -> MutexGuard<'_, Workers> {
        self.0.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a pod came from is the kubelet's own word: what the API has under that annotation is anybody's.
fn of_api(pod: &Arc<Pod>) -> Arc<Pod> {
    if !spec::is_static(pod) {
        return pod.clone();
    }
    let mut own = (**pod).clone();
    own.metadata.annotations.get_or_insert_default().insert(spec::CONFIG_SOURCE.into(), "api".into());
    Arc::new(own)
}
