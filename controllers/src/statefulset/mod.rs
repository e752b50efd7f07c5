//! The StatefulSet controller: pods with a name, a place in a row and claims of their own.
//!
//! Enter by [`run`]. This shell reads the caches, lets [`plan`] decide and [`carry_out`] write, and writes the status. It
//! does not know how a claim gets its volume.

mod carry_out;
mod identity;
mod plan;
mod retention;
mod revisions;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::PostParams;
use kube::core::SelectorExt;
use kube::{Api, ResourceExt};

use self::plan::{Step, World};
use crate::common::batch::slow_start;
use crate::common::claim::claim_all;
use crate::common::error::{self, Doing, Error, wait_for_event};
use crate::common::history::History;
use crate::common::owner::{controlled_or_orphan, controller_of, index_by_controller, is_controlled_by, selector};
use crate::common::pod::Pod;
use crate::common::{map, pods};

struct Controller {
    ctx: Context,
    sets: Informer<StatefulSet>,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    history: History,
    queue: Queue<Key>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, workers: usize) {
    let revisions = ctx.informers.of();
    let controller = Arc::new(Controller {
        sets: ctx.informers.of(),
        pods: ctx.informers.of(),
        claims: ctx.informers.of(),
        history: History::new(ctx.client.clone(), revisions.clone()),
        queue: Queue::new("statefulset"),
        ctx,
    });
    index_by_controller(&controller.pods);
    controller.subscribe();
    let synced = async {
        controller.sets.synced().await;
        controller.pods.synced().await;
        controller.claims.synced().await;
        revisions.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(controller.queue.clone(), workers, shutdown, |key| controller.sync(key)).await;
    }
}

impl Controller {
    fn subscribe(self: &Arc<Self>) {
        let queue = self.queue.clone();
        self.sets.on_event(move |event| queue.add(Key::of(&**event.object())));
        self.pods.notify(self, Self::on_pod);
    }

    fn on_pod(&self, event: &Event<Pod>) {
        let (old, pod) = (event.old().map(Arc::as_ref), event.object());
        let owner = self.owner(pod);
        let before = old.and_then(|old| self.owner(old)).filter(|before| Some(before) != owner.as_ref());
        before.into_iter().for_each(|key| self.queue.add(key));
        let changed =
            old.is_none_or(|old| old.labels() != pod.labels() || old.owner_references() != pod.owner_references());
        let going = matches!(event, Event::Deleted(_)) || pod.metadata.deletion_timestamp.is_some();
        match owner {
            Some(key) => self.queue.add(key),
            None if changed && !going && controller_of(&pod.metadata).is_none() => self.wake_selecting(pod),
            None => {}
        }
    }

    /// The StatefulSet that controls the pod, if it is still the one of that UID.
    fn owner(&self, pod: &Pod) -> Option<Key> {
        let owner = controller_of(&pod.metadata).filter(|o| o.kind == "StatefulSet")?;
        let set = self.sets.get(pod.metadata.namespace.as_deref()?, &owner.name)?;
        (set.metadata.uid.as_ref() == Some(&owner.uid)).then(|| Key::of(&*set))
    }

    /// An orphan concerns whoever might adopt it.
    fn wake_selecting(&self, pod: &Pod) {
        for set in self.sets.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default()) {
            let selector = set.spec.as_ref().and_then(|s| selector(&s.selector));
            if selector.is_some_and(|s| !s.selects_all() && s.matches(map(&pod.metadata.labels))) {
                self.queue.add(Key::of(&*set));
            }
        }
    }

    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(set) = self.sets.get_key(&key) else { return Ok(()) };
        let Some(selector) = set.spec.as_ref().and_then(|s| selector(&s.selector)) else {
            return Err(Error::refused("sync stateful set", key, "invalid label selector"));
        };
        let uid = set.uid().unwrap_or_default();
        let mut candidates = controlled_or_orphan(&self.pods, &set.metadata);
        candidates.retain(|p| identity::is_member(&set, p) || is_controlled_by(&p.metadata, &uid));
        let mut own = claim_all(&self.ctx.client, &*set, &selector, candidates).await?;
        own.retain(|p| identity::is_member(&set, p));
        let revisions = match revisions::current(&self.history, &set, &selector).await {
            // The cache is behind; what it has yet to see wakes the key again.
            Err(e) if e.is_conflict() => return Ok(()),
            other => other?,
        };
        let now = self.ctx.clock.now();
        let plan = plan::plan(&World {
            set: &set,
            current: &revisions.current,
            update: &revisions.update,
            collision_count: revisions.collision_count,
            pods: &own,
            claim: &|name| self.claims.get(&key.namespace, name),
            now,
        });
        let done = self.carry_out_all(&set, &plan.steps).await;
        let told = wait_for_event(self.write_status(&key, &set, plan.status).await);
        let cleaned = revisions::clean_up(&self.history, &set, &revisions, &own).await;
        let next = own.iter().filter_map(|p| pods::available_in(p, status::min_ready_seconds(&set), now)).min();
        if let Some(after) = next {
            self.queue.add_after(key, after);
        }
        error::all([done, told, cleaned].into_iter().filter_map(Result::err).collect())
    }

    /// The first step alone, then more at a time with each batch that went well; none after a failure.
    async fn carry_out_all(&self, set: &StatefulSet, steps: &[Step]) -> Result<(), Error> {
        let next = AtomicUsize::new(0);
        let one = || async {
            let step = &steps[next.fetch_add(1, Ordering::Relaxed)];
            wait_for_event(self.carry_out(set, step).await)
        };
        slow_start(steps.len(), one).await.1
    }

    async fn write_status(&self, key: &Key, set: &StatefulSet, status: StatefulSetStatus) -> Result<(), Error> {
        if !status::differs(set.status.as_ref(), &status) {
            return Ok(());
        }
        let api = Api::<StatefulSet>::namespaced(self.ctx.client.clone(), &key.namespace);
        let changed = StatefulSet { status: Some(status), ..set.clone() };
        let written = api.replace_status(&key.name, &PostParams::default(), &changed).await;
        written.map(drop).doing("update status of stateful set", key)
    }
}
