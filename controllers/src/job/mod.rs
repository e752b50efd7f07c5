//! The Job controller: pods that run until enough of them have succeeded, each counted exactly once.
//!
//! Enter by [`run`]. This shell reads caches and wakes Jobs; [`sync`] is one step of a Job, over the pure modules
//! `observe`, `decide` and `track`. It knows nothing of who made the Job. Concepts: "Jobs".

mod backoff;
mod condition;
mod decide;
mod facts;
mod intervals;
mod memory;
mod metrics;
mod observe;
mod orphans;
mod pod;
mod policy;
mod sync;
#[cfg(test)]
mod tests;
mod track;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Backoff, Queue};
use component::recorder::Type;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

use self::memory::Memory;
use self::observe::Input;
use self::orphans::Orphans;
use self::writes::ApiWrites;
use crate::common::claim::claim_with_finalizer;
use crate::common::error::{Error, wait_for_event};
use crate::common::map;
use crate::common::owner::{controlled_or_orphan, controller_of, index_by_controller, selector};
use crate::common::pod::Pod;
use crate::common::pod_control::PodControl;

/// How long events of pods are collected before a Job is looked at: many pods that end together are counted together.
const BATCH_PERIOD: Duration = Duration::from_millis(100);

const API_BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), max: Duration::from_secs(60) };

struct Controller {
    ctx: Context,
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
    orphans: Orphans,
    memory: Memory,
    writes: ApiWrites,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, workers: usize) {
    let controller = Arc::new(Controller {
        jobs: ctx.informers.of(),
        pods: ctx.informers.of(),
        queue: Queue::with_backoff("job", API_BACKOFF),
        orphans: Orphans::new(&ctx, API_BACKOFF),
        memory: Memory::default(),
        writes: ApiWrites(PodControl { client: ctx.client.clone(), recorder: ctx.recorder.clone() }),
        ctx,
    });
    index_by_controller(&controller.pods);
    controller.subscribe();
    let synced = async {
        controller.jobs.synced().await;
        controller.pods.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        let jobs = queue::run(controller.queue.clone(), workers, shutdown.clone(), |key| controller.sync(key));
        tokio::join!(jobs, controller.orphans.run(workers, shutdown));
    }
}

impl Controller {
    fn subscribe(self: &Arc<Self>) {
        self.jobs.notify(self, Self::on_job);
        self.pods.notify(self, Self::on_pod);
    }

    fn on_job(&self, event: &Event<Job>) {
        let job = event.object();
        let key = Key::of(&**job);
        let replaced = event.old().is_some_and(|old| old.uid() != job.uid());
        if replaced || matches!(event, Event::Deleted(_)) {
            self.memory.forget(&key);
        }
        // Whoever still has the finalizer of a Job that ended has been counted, or never will be.
        if matches!(event, Event::Deleted(_)) || facts::is_finished(job) {
            self.pods_of(event.old().unwrap_or(job)).iter().for_each(|pod| self.orphans.look_at(pod));
        }
        if let (Event::Added(_), Some(other)) = (event, facts::managed_by_other(job)) {
            metrics::managed_elsewhere(other);
        }
        match event.old() {
            Some(old) if old.metadata.generation == job.metadata.generation && !replaced => {
                self.queue.add_after(key, BATCH_PERIOD);
            }
            _ => self.queue.add(key),
        }
    }

    fn pods_of(&self, job: &Job) -> Vec<Arc<Pod>> {
        let uid = job.uid().unwrap_or_default();
        self.pods.by_index(crate::common::owner::BY_CONTROLLER, &uid)
    }

    fn on_pod(&self, event: &Event<Pod>) {
        let pod = event.object();
        let now = self.owner(pod);
        if let Some(old) = event.old() {
            let before = self.owner(old).filter(|job| now.as_ref().is_none_or(|now| now.uid() != job.uid()));
            if let Some(before) = before {
                let key = Key::of(&*before);
                self.memory.pod_event(&key, event);
                self.queue.add_after(key, BATCH_PERIOD);
            }
        }
        match now {
            Some(job) => {
                let key = Key::of(&*job);
                self.memory.pod_event(&key, event);
                self.queue.add_after(key, BATCH_PERIOD);
                if facts::is_finished(&job) {
                    self.orphans.look_at(pod);
                }
            }
            None => {
                self.orphans.look_at(pod);
                let changed = event
                    .old()
                    .is_none_or(|old| old.labels() != pod.labels() || old.owner_references() != pod.owner_references());
                if changed && !matches!(event, Event::Deleted(_)) && controller_of(&pod.metadata).is_none() {
                    self.wake_selecting(pod);
                }
            }
        }
    }

    fn owner(&self, pod: &Pod) -> Option<Arc<Job>> {
        orphans::owner(&self.jobs, pod)
    }

    fn wake_selecting(&self, pod: &Pod) {
        for job in self.jobs.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default()) {
            let selects = selector_of(&job).is_some_and(|s| !s.selects_all() && s.matches(map(&pod.metadata.labels)));
            if selects {
                self.queue.add_after(Key::of(&*job), BATCH_PERIOD);
            }
        }
    }

    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(job) = self.jobs.get_key(&key) else {
            self.memory.forget(&key);
            return Ok(());
        };
        if facts::managed_by_other(&job).is_some() {
            return Ok(());
        }
        if facts::is_finished(&job) {
            self.memory.forget(&key);
            return Ok(());
        }
        // The event that brings the cache up to date wakes the key again.
        if self.memory.is_stale(&key, &job) {
            return Ok(());
        }
        let mode = job.spec.as_ref().and_then(|s| s.completion_mode.as_deref()).unwrap_or("NonIndexed");
        if !matches!(mode, "NonIndexed" | "Indexed") {
            let message = "Skipped Job sync because completion mode is unknown";
            self.ctx.recorder.event(&*job, Type::Warning, "UnknownCompletionMode", message);
            return Ok(());
        }
        let Some(selector) = selector_of(&job) else {
            return Err(Error::refused("sync job", key, "couldn't convert Job selector"));
        };
        // Both before the pods are read: what is seen between is in the cache already.
        let caught_up = self.memory.expectations.satisfied(&key, self.ctx.clock.now());
        let expected_removals = self.memory.expected_removals(&key);
        let candidates = controlled_or_orphan(&self.pods, &job.metadata);
        let finalizer = Some(facts::TRACKING_FINALIZER);
        let pods = claim_with_finalizer(&self.ctx.client, &*job, &selector, candidates, finalizer).await?;
        let record = self.memory.record(&key);
        let (mode, began) = (mode.to_owned(), tokio::time::Instant::now());
        let input = Input { job, pods, expected_removals, record, caught_up, now: self.ctx.clock.now() };
        let synced = sync::sync(&self.memory, &self.writes, &key, input).await;
        metrics::synced(&mode, synced.is_ok(), began.elapsed());
        match synced {
            Ok(again) => {
                if let Some(after) = again {
                    self.queue.add_after(key, after.max(BATCH_PERIOD));
                }
                Ok(())
            }
            Err(e) => wait_for_event(Err(e)),
        }
    }
}

fn selector_of(job: &Job) -> Option<Selector> {
    job.spec.as_ref().and_then(|s| s.selector.as_ref()).and_then(selector)
}
