//! The ReplicaSet and ReplicationController controllers: as many pods of a template as asked for.
//!
//! Enter by [`run`], once for each kind; [`kind`] has what differs. This shell reads the caches, lets [`plan`] decide,
//! makes and deletes the pods and writes the status. It does not know what a Deployment is, only that other ReplicaSets may
//! have the same controller.

mod kind;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use futures::future::join_all;
use k8s_openapi::api::apps::v1::ReplicaSetStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PostParams;
use kube::core::SelectorExt;
use kube::{Api, ResourceExt};

use self::kind::ReplicaKind;
use self::plan::Change;
use crate::common::batch::slow_start;
use crate::common::claim::claim_all;
use crate::common::departures::Departures;
use crate::common::error::{Doing, Error, wait_for_event};
use crate::common::expectations::Expectations;
use crate::common::owner::{BY_CONTROLLER, controlled_or_orphan, controller_of, index_by_controller, is_controlled_by};
use crate::common::pod::Pod;
use crate::common::pod_control::PodControl;
use crate::common::{map, pods};

/// A set of so many pods is looked at for all events of a moment at once: each look costs as much as it has pods.
const MANY_REPLICAS: i32 = 250;
const BATCH_PERIOD: Duration = Duration::from_millis(25);

struct Controller<K: ReplicaKind> {
    ctx: Context,
    replica_sets: Informer<K>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
    expectations: Expectations,
    pod_control: PodControl,
}

/// Runs until the context's shutdown.
pub(crate) async fn run<K: ReplicaKind>(ctx: Context, workers: usize) {
    let controller = Arc::new(Controller::<K> {
        replica_sets: ctx.informers.of(),
        pods: ctx.informers.of(),
        queue: Queue::new(K::QUEUE),
        expectations: Expectations::default(),
        pod_control: PodControl { client: ctx.client.clone(), recorder: ctx.recorder.clone() },
        ctx,
    });
    index_by_controller(&controller.replica_sets);
    index_by_controller(&controller.pods);
    controller.subscribe();
    let synced = async {
        controller.replica_sets.synced().await;
        controller.pods.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(controller.queue.clone(), workers, shutdown, |key| controller.sync(key)).await;
    }
}

impl<K: ReplicaKind> Controller<K> {
    fn subscribe(self: &Arc<Self>) {
        self.replica_sets.notify(self, Self::on_replica_set);
        self.pods.notify(self, Self::on_pod);
    }

    fn on_replica_set(&self, event: &Event<K>) {
        let key = Key::of(&**event.object());
        // A successor of the same name owes nothing of what its predecessor expected.
        let replaced = event.old().is_some_and(|old| old.uid() != event.object().uid());
        if replaced || matches!(event, Event::Deleted(_)) {
            self.expectations.forget(&key);
        }
        self.queue.add(key);
    }

    fn on_pod(&self, event: &Event<Pod>) {
        match event {
            Event::Deleted(pod) => self.pod_going(pod),
            Event::Added(pod) | Event::Updated { new: pod, .. } if pod.metadata.deletion_timestamp.is_some() => {
                self.pod_going(pod);
                if let Some(old) = event.old().filter(|old| old.labels() != pod.labels()) {
                    self.pod_going(old);
                }
            }
            Event::Added(pod) => match self.owner(pod) {
                Some(key) => {
                    self.expectations.creation_observed(&key);
                    self.wake(key);
                }
                None => self.wake_selecting(pod),
            },
            Event::Updated { old, new } => self.pod_changed(old, new),
        }
    }

    fn pod_going(&self, pod: &Pod) {
        if let Some(key) = self.owner(pod) {
            self.expectations.deletion_observed(&key, &pod.name_any());
            self.wake(key);
        }
    }

    fn wake(&self, key: Key) {
        let many = self.replica_sets.get_key(&key).is_some_and(|rs| rs.replicas() >= MANY_REPLICAS);
        self.queue.add_after(key, if many { BATCH_PERIOD } else { Duration::ZERO });
    }

    fn pod_changed(&self, old: &Pod, new: &Pod) {
        let (before, now) = (self.owner(old), self.owner(new));
        if before != now {
            before.into_iter().for_each(|key| self.queue.add(key));
        }
        match now {
            Some(key) => self.wake(key),
            None if old.labels() != new.labels() || old.owner_references() != new.owner_references() => {
                self.wake_selecting(new);
            }
            None => {}
        }
    }

    /// The ReplicaSet that controls the pod, if it is still the one of that UID.
    fn owner(&self, pod: &Pod) -> Option<Key> {
        let OwnerReference { kind, name, uid, .. } = controller_of(&pod.metadata)?;
        let rs = self.replica_sets.get(pod.metadata.namespace.as_deref()?, name)?;
        (*kind == K::kind(&()) && rs.meta().uid.as_ref() == Some(uid)).then(|| Key::of(&*rs))
    }

    /// An orphan concerns whoever might adopt it.
    fn wake_selecting(&self, pod: &Pod) {
        if controller_of(&pod.metadata).is_some() {
            return;
        }
        for rs in self.replica_sets.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default()) {
            let selector = rs.selector();
            if selector.is_some_and(|s| !s.selects_all() && s.matches(map(&pod.metadata.labels))) {
                self.queue.add(Key::of(&*rs));
            }
        }
    }

    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(rs) = self.replica_sets.get_key(&key) else {
            self.expectations.forget(&key);
            return Ok(());
        };
        let Some(selector) = rs.selector() else {
            return Err(Error::refused(K::SYNC, key, "invalid label selector"));
        };
        self.departures(&key).settle().await?;
        // Asked before the pods are read: what is seen between the two is in the cache already.
        let caught_up = self.expectations.satisfied(&key, self.ctx.clock.now());
        let mut leaving = self.expectations.leaving(&key, self.ctx.clock.now());
        let all = controlled_or_orphan(&self.pods, rs.meta());
        let uid = rs.uid().unwrap_or_default();
        let is_leaving = |p: &Pod| pods::is_terminating(p) && is_controlled_by(&p.metadata, &uid);
        let terminating = all.iter().filter(|p| is_leaving(p) && selector.matches(map(&p.metadata.labels))).count();
        let active: Vec<_> = all.into_iter().filter(|p| pods::is_active(p)).collect();
        let mut active = claim_all(&self.ctx.client, &*rs, &selector, active).await?;
        let managed = match caught_up && rs.meta().deletion_timestamp.is_none() {
            true => self.manage(&key, &rs, &active, &mut leaving).await,
            false => Ok(()),
        };
        // A Deployment takes what is told as available for granted: pods that go must not be among it.
        active.retain(|pod| !leaving.contains(&pod.name_any()));
        let now = self.ctx.clock.now();
        let failure = managed.as_ref().err().map(Error::api_message);
        let status = plan::status(&*rs, &active, terminating, failure, now);
        wait_for_event(self.write_status(&key, &rs, status).await)?;
        managed?;
        if let Some(after) = plan::next_check(&*rs, &active, now) {
            self.queue.add_after(key, after);
        }
        Ok(())
    }

    async fn manage(
        &self,
        key: &Key,
        rs: &Arc<K>,
        active: &[Arc<Pod>],
        leaving: &mut HashSet<String>,
    ) -> Result<(), Error> {
        match plan::change(&**rs, active, || self.related(rs), self.ctx.clock.now()) {
            Change::None => Ok(()),
            Change::Create(count) => self.create(key, rs, count).await,
            Change::Delete(pods) => self.delete(key, rs, &pods, leaving).await,
        }
    }

    async fn create(&self, key: &Key, rs: &K, count: usize) -> Result<(), Error> {
        let Some(template) = rs.template() else { return Ok(()) };
        self.expectations.expect_creations(key, count, self.ctx.clock.now());
        let (successes, result) = slow_start(count, || async {
            match self.pod_control.create(rs, template).await {
                // The rest would fail as well, and the namespace controller removes what there is.
                Err(e) if e.is_namespace_terminating() => Ok(()),
                other => other.map(drop),
            }
        })
        .await;
        (successes..count).for_each(|_| self.expectations.creation_observed(key));
        result
    }

    async fn delete(&self, key: &Key, rs: &K, pods: &[Arc<Pod>], leaving: &mut HashSet<String>) -> Result<(), Error> {
        self.expectations.expect_deletions(key, pods.iter().map(|p| p.name_any()), self.ctx.clock.now());
        let departures = self.departures(key);
        let deletions = pods.iter().map(|pod| async {
            let name = pod.name_any();
            let deleted = departures.send(rs, &name).await;
            (name, deleted)
        });
        let mut failed = Vec::new();
        for (name, deleted) in join_all(deletions).await {
            let error = deleted.err().filter(|e| !e.is_not_found());
            if error.as_ref().is_none_or(Error::is_doubtful) {
                leaving.insert(name);
            }
            failed.extend(error);
        }
        failed.into_iter().next().map_or(Ok(()), Err)
    }

    fn departures<'a>(&'a self, key: &'a Key) -> Departures<'a> {
        Departures { key, control: &self.pod_control, pods: &self.pods, expectations: &self.expectations }
    }

    /// The pods of all ReplicaSets with the same controller.
    fn related(&self, rs: &K) -> Vec<Arc<Pod>> {
        let Some(owner) = controller_of(rs.meta()) else { return Vec::new() };
        let siblings = self.replica_sets.by_index(BY_CONTROLLER, &owner.uid);
        let uids = siblings.iter().filter_map(|rs| rs.uid());
        uids.flat_map(|uid| self.pods.by_index(BY_CONTROLLER, &uid)).collect()
    }

    async fn write_status(&self, key: &Key, rs: &K, status: ReplicaSetStatus) -> Result<(), Error> {
        let Some(changed) = rs.with_status(status) else { return Ok(()) };
        let api = Api::<K>::namespaced(self.ctx.client.clone(), &key.namespace);
        let written = api.replace_status(&key.name, &PostParams::default(), &changed).await;
        written.map(drop).doing("update status of", key)
    }
}
