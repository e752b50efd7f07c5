//! The Deployment controller: ReplicaSets for a Deployment's pod template, old ones out, new ones in.
//!
//! Enter by [`run`]. This shell reads the caches, lets [`plan`] decide and carries the writes out; it knows nothing of
//! how a rollout goes. Pods it only counts.

mod annotations;
mod facts;
mod plan;
mod rollback;
mod rolling;
#[cfg(test)]
mod simulation;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use component::recorder::Type;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::api::{DeleteParams, PostParams};
use kube::core::SelectorExt;
use kube::{Api, ResourceExt};

use self::plan::{Plan, RunningPods, Scaled, Write};
use self::rollback::Rollback;
use crate::common::claim::claim_all;
use crate::common::error::{Doing, Error, wait_for_event};
use crate::common::owner::{
    BY_CONTROLLER, controlled_or_orphan, controller_of, index_by_controller, is_controlled_by, selector,
};
use crate::common::pod::Pod;
use crate::common::written::{self, Written};
use crate::common::{map, pods, template};

struct Controller {
    ctx: Context,
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
    /// The ReplicaSets: their sizes matter together.
    written: Written,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, workers: usize) {
    let controller = Arc::new(Controller {
        deployments: ctx.informers.of(),
        replica_sets: ctx.informers.of(),
        pods: ctx.informers.of(),
        queue: Queue::new("deployment"),
        written: Written::default(),
        ctx,
    });
    index_by_controller(&controller.replica_sets);
    index_by_controller(&controller.pods);
    controller.subscribe();
    let synced = async {
        controller.deployments.synced().await;
        controller.replica_sets.synced().await;
        controller.pods.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(controller.queue.clone(), workers, shutdown, |key| controller.sync(key)).await;
    }
}

impl Controller {
    fn subscribe(self: &Arc<Self>) {
        self.deployments.notify(self, |this, event| {
            let key = Key::of(&**event.object());
            if matches!(event, Event::Deleted(_)) {
                this.written.forget(&key);
            }
            this.queue.add(key);
        });
        self.replica_sets.notify(self, Self::on_replica_set);
        self.pods.notify(self, |this, event| {
            if let Event::Deleted(pod) = event {
                this.on_pod_deleted(pod);
            }
        });
    }

    /// Wakes the Deployment that controls the ReplicaSet now or did before, or, for an orphan, all that select it.
    fn on_replica_set(&self, event: &Event<ReplicaSet>) {
        let (old, rs) = (event.old().map(Arc::as_ref), event.object());
        let owner = Key::of_controller(&**rs, "Deployment");
        if let (Event::Deleted(rs), Some(owner)) = (event, &owner) {
            self.written.gone(owner, &rs.name_any());
        }
        let before = old.and_then(|old| Key::of_controller(old, "Deployment"));
        if let Some(before) = before.filter(|b| Some(b) != owner.as_ref()) {
            self.queue.add(before);
        }
        let relabelled =
            old.is_none_or(|old| old.labels() != rs.labels() || old.owner_references() != rs.owner_references());
        match owner {
            Some(owner) => self.queue.add(owner),
            None if relabelled && controller_of(&rs.metadata).is_none() => {
                for d in self.deployments.in_namespace(rs.metadata.namespace.as_deref().unwrap_or_default()) {
                    let selector = d.spec.as_ref().and_then(|s| selector(&s.selector));
                    if selector.is_some_and(|s| !s.selects_all() && s.matches(map(&rs.metadata.labels))) {
                        self.queue.add(Key::of(&*d));
                    }
                }
            }
            None => {}
        }
    }

    /// `Recreate` waits for the last old pod to go.
    fn on_pod_deleted(&self, pod: &Pod) {
        let rs = Key::of_controller(pod, "ReplicaSet").and_then(|key| self.replica_sets.get_key(&key));
        let owner = rs.and_then(|rs| Key::of_controller(&*rs, "Deployment"));
        if let Some(owner) = owner
            && self.deployments.get_key(&owner).is_some_and(|d| facts::is_recreate(&d))
        {
            self.queue.add(owner);
        }
    }

    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(d) = self.deployments.get_key(&key) else { return Ok(()) };
        let Some(selector) = d.spec.as_ref().and_then(|s| selector(&s.selector)) else {
            return Err(Error::refused("sync deployment", key, "invalid label selector"));
        };
        if selector.selects_all() {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.ctx.recorder.event(&*d, Type::Warning, "SelectingAll", message);
            return Ok(());
        }
        self.look_up_doubtful(&key).await?;
        let cached = |name: &str| self.replica_sets.get(&key.namespace, name).map(|rs| rs.metadata.clone());
        if !self.written.is_seen(&key, cached, self.ctx.clock.now()) {
            // The events still to come wake this key; the delay is for one that never comes.
            self.queue.add_after(key, written::EXPIRY);
            return Ok(());
        }
        let candidates = controlled_or_orphan(&self.replica_sets, &d.metadata);
        let claimed = claim_all(&self.ctx.client, &*d, &selector, candidates).await?;
        let sets: Vec<ReplicaSet> = claimed.iter().map(|rs| (**rs).clone()).collect();
        let plan = plan::plan(&d, &sets, &self.running_pods(&sets), self.ctx.clock.now());
        wait_for_event(self.carry_out(&key, &d, plan).await)
    }

    fn running_pods(&self, sets: &[ReplicaSet]) -> RunningPods {
        let uids = sets.iter().filter_map(|rs| rs.uid());
        let runs = |uid: &String| self.pods.by_index(BY_CONTROLLER, uid).iter().any(|p| !pods::is_terminal(p));
        RunningPods { replica_sets: uids.filter(runs).collect() }
    }

    async fn carry_out(&self, key: &Key, d: &Deployment, plan: Plan) -> Result<(), Error> {
        let api = self.replica_set_api(key);
        for write in plan.writes {
            match write {
                Write::Create(rs) => match self.create(key, d, plan.status.as_ref(), rs).await {
                    Err(e) if e.is_namespace_terminating() => return Ok(()),
                    other => other?,
                },
                Write::Update { replica_set: rs, scaled } => {
                    let updated = api.replace(&rs.name_any(), &PostParams::default(), &rs).await;
                    self.note(key, &rs.name_any(), updated.doing("update replica set", Key::of(&rs)))?;
                    if let Some(scaled) = scaled {
                        self.tell_scaled(d, &rs.name_any(), scaled);
                    }
                }
                Write::Delete(rs) => {
                    let deleted = api.delete(&rs.name_any(), &DeleteParams::default()).await;
                    match deleted.doing("delete replica set", Key::of(&rs)) {
                        Err(e) if !e.is_not_found() => return Err(e),
                        _ => {}
                    }
                }
            }
        }
        if let Some(rollback) = plan.rollback {
            self.roll_back(key, d, rollback).await?;
        }
        if let Some(d) = plan.status {
            self.write_status(key, &d).await?;
        }
        if let Some(after) = plan.recheck {
            self.queue.add_after(key.clone(), after);
        }
        Ok(())
    }

    async fn create(
        &self,
        key: &Key,
        d: &Deployment,
        planned: Option<&Deployment>,
        rs: ReplicaSet,
    ) -> Result<(), Error> {
        let name = rs.name_any();
        let created = self.replica_set_api(key).create(&PostParams::default(), &rs).await;
        let error = match self.note(key, &name, created.doing("create replica set", Key::of(&rs))) {
            Ok(()) => {
                let to = facts::replicas(&rs);
                if to > 0 {
                    self.tell_scaled(d, &name, Scaled { from: 0, to });
                }
                return Ok(());
            }
            Err(e) => e,
        };
        if error.is_already_exists() {
            return self.resolve_collision(key, d, &name, error).await;
        }
        if !error.is_namespace_terminating() {
            let message = format!("Failed to create new replica set {name:?}: {}", error.api_message());
            self.ctx.recorder.event(d, Type::Warning, "ReplicaSetCreateError", &message);
            let mut failed = planned.unwrap_or(d).clone();
            failed.metadata.annotations = d.metadata.annotations.clone();
            failed.status = d.status.clone();
            status::note_create_failure(&mut failed, message, self.ctx.clock.now());
            if failed.status != d.status {
                // The create's own error is the one worth reporting.
                let _ = self.write_status(key, &failed).await;
            }
        }
        Err(error)
    }

    /// The name is taken. Either by our own earlier create that the cache has not seen yet, or by another template with
    /// the same hash: then the collision count makes the next sync try another name.
    async fn resolve_collision(&self, key: &Key, d: &Deployment, name: &str, error: Error) -> Result<(), Error> {
        let Some(existing) = self.replica_set_api(key).get_opt(name).await.doing("get replica set", name)? else {
            return Err(error);
        };
        let ours = is_controlled_by(&existing.metadata, d.metadata.uid.as_deref().unwrap_or_default());
        let has = existing.spec.as_ref().and_then(|s| s.template.as_ref());
        if ours && has.zip(facts::spec(d)).is_some_and(|(has, spec)| template::equal_ignoring_hash(has, &spec.template))
        {
            self.written.wrote(key, &existing.metadata, self.ctx.clock.now());
            return Ok(());
        }
        let mut bumped = d.clone();
        let count = bumped.status.get_or_insert_default().collision_count.get_or_insert(0);
        *count += 1;
        self.write_status(key, &bumped).await?;
        Err(error)
    }

    /// Remembers what was written, or that nobody knows.
    fn note(&self, key: &Key, name: &str, written: Result<ReplicaSet, Error>) -> Result<(), Error> {
        match written {
            Ok(rs) => {
                self.written.wrote(key, &rs.metadata, self.ctx.clock.now());
                Ok(())
            }
            Err(e) => {
                if e.is_doubtful() {
                    self.written.doubt(key, name);
                }
                Err(e)
            }
        }
    }

    async fn look_up_doubtful(&self, key: &Key) -> Result<(), Error> {
        for name in self.written.doubtful(key) {
            match self.replica_set_api(key).get_opt(&name).await.doing("get replica set", &name)? {
                Some(rs) => self.written.wrote(key, &rs.metadata, self.ctx.clock.now()),
                None => self.written.gone(key, &name),
            }
        }
        Ok(())
    }

    fn tell_scaled(&self, d: &Deployment, name: &str, Scaled { from, to }: Scaled) {
        let direction = if from < to { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
        self.ctx.recorder.event(d, Type::Normal, "ScalingReplicaSet", &message);
    }

    async fn roll_back(&self, key: &Key, d: &Deployment, rollback: Rollback) -> Result<(), Error> {
        let api = Api::<Deployment>::namespaced(self.ctx.client.clone(), &key.namespace);
        let written = api.replace(&key.name, &PostParams::default(), &rollback.deployment).await;
        written.doing("roll back deployment", key)?;
        let kind = if rollback.done { Type::Normal } else { Type::Warning };
        self.ctx.recorder.event(d, kind, rollback.reason, rollback.message);
        Ok(())
    }

    async fn write_status(&self, key: &Key, d: &Deployment) -> Result<(), Error> {
        let api = Api::<Deployment>::namespaced(self.ctx.client.clone(), &key.namespace);
        let written = api.replace_status(&key.name, &PostParams::default(), d).await;
        written.map(drop).doing("update status of deployment", key)
    }

    fn replica_set_api(&self, key: &Key) -> Api<ReplicaSet> {
        Api::namespaced(self.ctx.client.clone(), &key.namespace)
    }
}
