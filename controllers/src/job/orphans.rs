//! Pods that have the tracking finalizer and no Job left that would count them: the finalizer goes.
//!
//! Their Job was deleted, has ended, or the garbage collector cut them loose. Pods of another kind of owner, and of a Job
//! that another controller manages, keep what they have.

use std::sync::Arc;

use component::context::Context;
use component::informer::Informer;
use component::key::Key;
use component::queue::{self, Backoff, Queue};
use component::shutdown::Shutdown;
use k8s_openapi::api::batch::v1::Job;
use kube::Client;

use super::facts;
use super::sync::When;
use super::writes::remove_finalizer;
use crate::common::error::Error;
use crate::common::owner::controller_of;
use crate::common::pod::Pod;

pub(super) struct Orphans {
    client: Client,
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
}

impl Orphans {
    pub(super) fn new(ctx: &Context, backoff: Backoff) -> Self {
        let (jobs, pods) = (ctx.informers.of(), ctx.informers.of());
        Orphans { client: ctx.client.clone(), jobs, pods, queue: Queue::with_backoff("job_orphan_pod", backoff) }
    }

    /// The queue decides later: the Job of a new pod may not be in the cache yet.
    pub(super) fn look_at(&self, pod: &Pod) {
        if facts::is_tracked(pod) {
            self.queue.add(Key::of(pod));
        }
    }

    pub(super) async fn run(&self, workers: usize, shutdown: Shutdown) {
        queue::run(self.queue.clone(), workers, shutdown, |key| self.sync(key)).await;
    }

    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(pod) = self.pods.get_key(&key).filter(|pod| facts::is_tracked(pod)) else { return Ok(()) };
        if !is_abandoned(&self.jobs, &pod) {
            return Ok(());
        }
        match remove_finalizer(&self.client, &pod, When::Always).await {
            Err(e) if e.is_not_found() || e.is_conflict() => Ok(()),
            other => other,
        }
    }
}

/// Nobody will count the pod.
fn is_abandoned(jobs: &Informer<Job>, pod: &Pod) -> bool {
    let Some(controller) = controller_of(&pod.metadata) else { return true };
    if (controller.kind.as_str(), controller.api_version.as_str()) != ("Job", "batch/v1") {
        return false;
    }
    match owner(jobs, pod) {
        None => true,
        Some(job) => facts::managed_by_other(&job).is_none() && facts::is_finished(&job),
    }
}

/// The Job that controls the pod, if it is still the one of that UID.
pub(super) fn owner(jobs: &Informer<Job>, pod: &Pod) -> Option<Arc<Job>> {
    let controller = controller_of(&pod.metadata).filter(|owner| owner.kind == "Job")?;
    let job = jobs.get(pod.metadata.namespace.as_deref()?, &controller.name)?;
    (job.metadata.uid.as_ref() == Some(&controller.uid)).then_some(job)
}
