//! The DaemonSet controller: a pod on each node that the template admits.
//!
//! Enter by [`run`]. This shell reads the caches, lets [`plan`] decide, makes and deletes the pods and writes the status.
//! Where a pod is placed is the scheduler's doing: the pod's affinity names its node.

mod backoff;
mod facts;
mod node;
mod plan;
mod revisions;
mod rolling;
mod status;
#[cfg(test)]
mod tests;
mod wake;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use component::context::Context;
use component::informer::Informer;
use component::key::Key;
use component::queue::{self, Queue};
use component::recorder::Type;
use futures::future::join_all;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::PostParams;

use self::backoff::Backoff;
use self::plan::{Plan, World};
use crate::common::batch::slow_start;
use crate::common::claim::claim_all;
use crate::common::departures::Departures;
use crate::common::error::{self, Doing, Error, wait_for_event};
use crate::common::expectations::Expectations;
use crate::common::history::History;
use crate::common::owner::{controlled_or_orphan, index_by_controller, selector};
use crate::common::pod::Pod;
use crate::common::pod_control::PodControl;

/// At most so many pods are made, and so many deleted, in one sync; the next one goes on.
const BURST: usize = 250;

struct Controller {
    ctx: Context,
    daemon_sets: Informer<DaemonSet>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    history: History,
    queue: Queue<Key>,
    expectations: Expectations,
    backoff: Backoff,
    pod_control: PodControl,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, workers: usize) {
    let revisions = ctx.informers.of();
    let controller = Arc::new(Controller {
        daemon_sets: ctx.informers.of(),
        pods: ctx.informers.of(),
        nodes: ctx.informers.of(),
        history: History::new(ctx.client.clone(), revisions.clone()),
        queue: Queue::new("daemonset"),
        expectations: Expectations::default(),
        backoff: Backoff::default(),
        pod_control: PodControl { client: ctx.client.clone(), recorder: ctx.recorder.clone() },
        ctx,
    });
    index_by_controller(&controller.pods);
    controller.subscribe(&revisions);
    let synced = async {
        controller.daemon_sets.synced().await;
        controller.pods.synced().await;
        controller.nodes.synced().await;
        revisions.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(controller.queue.clone(), workers, shutdown, |key| controller.sync(key)).await;
    }
}

impl Controller {
    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(ds) = self.daemon_sets.get_key(&key) else {
            self.expectations.forget(&key);
            return Ok(());
        };
        let Some(selector) = ds.spec.as_ref().and_then(|s| selector(&s.selector)) else {
            return Err(Error::refused("sync daemon set", key, "invalid label selector"));
        };
        if selector.selects_all() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.ctx.recorder.event(&*ds, Type::Warning, "SelectingAll", message);
            return Ok(());
        }
        // Its revisions may be gone already, so that nothing sensible can be said about its pods.
        if ds.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        self.departures(&key).settle().await?;
        // Asked before the pods are read: what is seen between the two is in the cache already.
        let caught_up = self.expectations.satisfied(&key, self.ctx.clock.now());
        let candidates = controlled_or_orphan(&self.pods, &ds.metadata);
        let pods = claim_all(&self.ctx.client, &*ds, &selector, candidates).await?;
        let revisions = revisions::current(&self.ctx.client, &self.history, &ds, &selector, &pods).await;
        let revisions = match revisions {
            // The cache is behind; what it has yet to see wakes the key again.
            Err(e) if e.is_conflict() => return Ok(()),
            other => other?,
        };
        let nodes = self.nodes.list();
        let (hash, now) = (revisions.hash.as_str(), self.ctx.clock.now());
        let world = World { ds: &ds, nodes: &nodes, pods: facts::by_node(&pods), hash, now };
        let managed = match caught_up {
            true => self.manage(&key, &world).await,
            false => Ok(()),
        };
        let cleaned = match caught_up && managed.is_ok() {
            true => revisions::clean_up(&self.history, &ds, &revisions, &pods).await,
            false => Ok(()),
        };
        self.plan_recheck(&key, &ds, &pods, now);
        let told = wait_for_event(self.write_status(&key, &world, caught_up).await);
        error::all([managed, cleaned, told].into_iter().filter_map(Result::err).collect())
    }

    async fn manage(&self, key: &Key, world: &World<'_>) -> Result<(), Error> {
        let mut plan = plan::plan(world, |node| self.backoff.held_back(world.ds, node, world.now));
        for (kind, reason, message) in plan.events.drain(..) {
            self.ctx.recorder.event(world.ds, kind, reason, message);
        }
        plan.failed_on.iter().for_each(|node| self.backoff.failed(world.ds, node, world.now));
        if let Some(after) = plan.recheck {
            self.queue.add_after(key.clone(), after);
        }
        plan.create.truncate(BURST);
        plan.delete.truncate(BURST);
        match plan.is_empty() {
            true => Ok(()),
            false => self.carry_out(key, world, &plan).await,
        }
    }

    async fn carry_out(&self, key: &Key, world: &World<'_>, plan: &Plan) -> Result<(), Error> {
        let (count, gone) = (plan.create.len(), plan.delete.iter().cloned());
        self.expectations.expect(key, count, gone, self.ctx.clock.now());
        let next = AtomicUsize::new(0);
        let (successes, created) = slow_start(count, || async {
            let node = &plan.create[next.fetch_add(1, Ordering::Relaxed)];
            match self.pod_control.create_pod(world.ds, &node::pod_for(world.ds, world.hash, node)).await {
                // The rest would fail as well, and the namespace controller removes what there is.
                Err(e) if e.is_namespace_terminating() => Ok(()),
                other => other.map(drop),
            }
        })
        .await;
        (successes..count).for_each(|_| self.expectations.creation_observed(key));
        let departures = self.departures(key);
        let deletions = plan.delete.iter().map(|name| departures.send(world.ds, name));
        let failed = join_all(deletions).await.into_iter().filter_map(Result::err).filter(|e| !e.is_not_found());
        error::all(created.err().into_iter().chain(failed).collect())
    }

    fn departures<'a>(&'a self, key: &'a Key) -> Departures<'a> {
        Departures { key, control: &self.pod_control, pods: &self.pods, expectations: &self.expectations }
    }

    /// Ready pods that become available tell nobody.
    fn plan_recheck(&self, key: &Key, ds: &DaemonSet, pods: &[Arc<Pod>], now: jiff::Timestamp) {
        let min_ready = facts::min_ready_seconds(ds);
        let next: Option<Duration> =
            pods.iter().filter_map(|p| crate::common::pods::available_in(p, min_ready, now)).min();
        if let Some(after) = next {
            self.queue.add_after(key.clone(), after);
        }
    }

    async fn write_status(&self, key: &Key, world: &World<'_>, acted: bool) -> Result<(), Error> {
        let Some(status) = status::status(world, acted) else { return Ok(()) };
        let api = Api::<DaemonSet>::namespaced(self.ctx.client.clone(), &key.namespace);
        let changed = DaemonSet { status: Some(status), ..world.ds.clone() };
        let written = api.replace_status(&key.name, &PostParams::default(), &changed).await;
        written.map(drop).doing("update status of daemon set", key)
    }
}
