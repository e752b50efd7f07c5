//! One sync of a Job: observe, decide, make or delete pods, then count.
//!
//! Enter by [`sync`]. It knows neither caches nor the API: what it writes goes through [`Writes`], which the controller
//! does over the API and the simulation in memory, where it dies between any two writes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use component::key::Key;
use component::recorder::Type;
use futures::future::join_all;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1 as api;
use kube::ResourceExt;

use super::decide::{Action, Wanted, decide};
use super::memory::Memory;
use super::observe::{Input, Observed, observe};
use super::{condition, facts, metrics, pod, track};
use crate::common::batch::slow_start;
use crate::common::error::Error;
use crate::common::pod::Pod;
use crate::common::{nonzero, pods, time};

/// The writes of a sync.
pub(super) trait Writes {
    async fn create(&self, job: &Job, pod: &api::Pod) -> Result<(), Error>;
    async fn delete(&self, job: &Job, pod: &Pod) -> Result<(), Error>;
    /// Takes the tracking finalizer from a pod that has it.
    async fn remove_finalizer(&self, pod: &Pod, when: When) -> Result<(), Error>;
    /// Replaces the status, if the Job is still of the version that was read; answers the new one.
    async fn write_status(&self, job: &Job) -> Result<Job, Error>;
    fn tell(&self, job: &Job, kind: Type, reason: &str, message: &str);
}

/// Whether a pod may have changed since it was read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Its end is in the status.
    Always,
    /// It is to be forgotten: if it has succeeded meanwhile, that must be counted.
    Unchanged,
}

/// Brings the Job one step on. Answers when to come back if nothing happens.
pub(super) async fn sync<W: Writes>(
    memory: &Memory,
    writes: &W,
    key: &Key,
    input: Input,
) -> Result<Option<Duration>, Error> {
    let Some(observed) = observe(input) else { return Ok(None) };
    let decision = decide(&observed);
    let mut run = Run { memory, writes, key, o: &observed, active: observed.active.len(), gone_ready: 0, gone: 0 };
    let back_off = match &decision.action {
        Action::BackOff(wait) => Some(*wait),
        _ => None,
    };
    let acted = run.act(&decision.action).await;
    let mut status = observed.status.clone();
    let mut changed = false;
    if status.start_time.is_none() && !facts::is_suspended(&observed.spec) {
        status.start_time = Some(time(observed.now));
    }
    let end = match decision.end {
        // Not yet: there may be pods that were not seen, or that could not be deleted.
        Some(_) if run.active > 0 || !observed.caught_up => None,
        Some(end) => Some(end),
        None => {
            let complete = run.is_complete();
            if !complete && decision.action != Action::Hold {
                changed = run.note_suspension(&mut status);
            }
            complete.then(|| {
                let message = "Reached expected number of succeeded pods";
                condition::success_criteria_met("CompletionsReached", message, observed.now)
            })
        }
    };
    changed |= run.count_active(&mut status);
    run.track(status, changed, end).await?;
    acted?;
    Ok(back_off.into_iter().chain(decision.deadline).min())
}

struct Run<'a, W> {
    memory: &'a Memory,
    writes: &'a W,
    key: &'a Key,
    o: &'a Observed,
    /// How many pods are active after what was made and deleted.
    active: usize,
    /// How many were deleted, and how many of those were ready.
    gone: i32,
    gone_ready: i32,
}

impl<W: Writes> Run<'_, W> {
    async fn act(&mut self, action: &Action) -> Result<(), Error> {
        match action {
            Action::Hold | Action::Keep | Action::BackOff(_) => Ok(()),
            Action::End(pods) => self.delete(pods, false).await,
            Action::Remove(pods) => {
                let names = pods.iter().map(|p| p.name_any());
                self.memory.expectations.expect_deletions(self.key, names, self.o.now);
                self.delete(pods, true).await
            }
            Action::Create(wanted) => self.create(wanted).await,
        }
    }

    /// `forget`: without their finalizers, so that they are never counted.
    async fn delete(&mut self, pods: &[Arc<Pod>], forget: bool) -> Result<(), Error> {
        let (writes, job) = (self.writes, &self.o.job);
        let deletions = pods.iter().map(|pod| async move {
            if forget && facts::is_tracked(pod) {
                writes.remove_finalizer(pod, When::Unchanged).await?;
            }
            writes.delete(job, pod).await
        });
        let results = join_all(deletions).await;
        let mut failure = Ok(());
        for (pod, result) in pods.iter().zip(results) {
            match result {
                Err(e) if !e.is_not_found() => {
                    self.memory.expectations.deletion_observed(self.key, &pod.name_any());
                    failure = Err(e);
                    continue;
                }
                Err(_) => self.memory.expectations.deletion_observed(self.key, &pod.name_any()),
                Ok(()) => {}
            }
            self.active -= 1;
            self.gone += 1;
            self.gone_ready += i32::from(pods::is_ready(pod));
        }
        failure
    }

    async fn create(&mut self, wanted: &Wanted) -> Result<(), Error> {
        let (job, spec) = (&self.o.job, &self.o.spec);
        let pods: Vec<api::Pod> = match wanted {
            Wanted::Count(count) => vec![pod::plain(job, spec); *count],
            Wanted::Indexes(indexes) => {
                let before = |index| self.o.indexes.as_ref().and_then(|i| i.waiting.get(index)).map(Arc::as_ref);
                indexes.iter().map(|index| pod::for_index(job, spec, *index, before(index))).collect()
            }
        };
        self.memory.expectations.expect_creations(self.key, pods.len(), self.o.now);
        let next = std::sync::atomic::AtomicUsize::new(0);
        let (made, result) = slow_start(pods.len(), || async {
            let pod = &pods[next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)];
            match self.writes.create(job, pod).await {
                Err(e) if e.is_namespace_terminating() => Ok(()),
                other => other,
            }
        })
        .await;
        (made..pods.len()).for_each(|_| self.memory.expectations.creation_observed(self.key));
        self.active += made;
        metrics::pods_created(self.o, made, result.is_err());
        result
    }

    fn is_complete(&self) -> bool {
        let enough = match self.o.spec.completions {
            None => self.o.succeeded > 0,
            Some(completions) => self.o.succeeded >= completions,
        };
        enough && self.active == 0
    }

    /// Resuming starts the Job's clock anew; a suspended Job has none.
    fn note_suspension(&self, status: &mut JobStatus) -> bool {
        let suspended = facts::is_suspended(&self.o.spec);
        let (value, reason, message, event) = match suspended {
            true => ("True", "JobSuspended", "Job suspended", "Suspended"),
            false => ("False", "JobResumed", "Job resumed", "Resumed"),
        };
        let changed = condition::put(status, condition::new("Suspended", value, reason, message, self.o.now));
        if changed {
            status.start_time = (!suspended).then(|| time(self.o.now));
            self.writes.tell(&self.o.job, Type::Normal, event, message);
        }
        changed
    }

    fn count_active(&self, status: &mut JobStatus) -> bool {
        let active = nonzero(i32::try_from(self.active).unwrap_or(i32::MAX));
        let ready = Some((self.o.ready - self.gone_ready).max(0));
        let terminating = Some(self.o.terminating + self.gone);
        let changed =
            (status.active.and_then(nonzero), status.ready, status.terminating) != (active, ready, terminating);
        (status.active, status.ready, status.terminating) = (active, ready, terminating);
        changed
    }

    /// Writes the status before and after the finalizers go; see [`track`].
    async fn track(&self, status: JobStatus, changed: bool, end: Option<JobCondition>) -> Result<(), Error> {
        let mut tracking = track::begin(self.o, status, changed, end);
        let mut job = (*self.o.job).clone();
        if tracking.changed {
            job = self.write(job, &mut tracking.status).await?;
            self.memory.set_record(self.key, self.o.record);
        }
        let (removed, failure) = self.remove_finalizers(&tracking.remove_finalizers).await;
        let (changed, finished) = track::settle(&mut tracking, &removed, failure.is_ok());
        if changed {
            let job = self.write(job, &mut tracking.status).await?;
            if let Some(end) = finished {
                self.tell_finished(&job, &end);
            }
        }
        failure
    }

    async fn write(&self, mut job: Job, status: &mut JobStatus) -> Result<Job, Error> {
        let before = job.status.replace(status.clone());
        let job = self.writes.write_status(&job).await?;
        metrics::pods_finished(self.o, before.as_ref(), status);
        self.memory.wrote(self.key, &job);
        Ok(job)
    }

    /// UIDs of the pods that have lost their finalizers, and the first failure.
    async fn remove_finalizers(&self, pods: &[Arc<Pod>]) -> (HashSet<String>, Result<(), Error>) {
        self.memory.expect_removals(self.key, pods);
        let results = join_all(pods.iter().map(|pod| self.writes.remove_finalizer(pod, When::Always))).await;
        let (mut removed, mut failure) = (HashSet::new(), Ok(()));
        for (pod, result) in pods.iter().zip(results) {
            match result {
                Ok(()) => {
                    removed.insert(facts::uid(pod).to_owned());
                }
                Err(e) => {
                    // There will be no event to wait for.
                    self.memory.removal_observed(self.key, pod);
                    match e.is_not_found() {
                        true => drop(removed.insert(facts::uid(pod).to_owned())),
                        false => failure = Err(e),
                    }
                }
            }
        }
        (removed, failure)
    }

    fn tell_finished(&self, job: &Job, end: &JobCondition) {
        let reason = end.reason.as_deref().unwrap_or_default();
        metrics::job_finished(self.o, end);
        if end.type_ != "Complete" {
            let message = end.message.as_deref().unwrap_or_default();
            return self.writes.tell(job, Type::Warning, reason, message);
        }
        let succeeded = job.status.as_ref().and_then(|s| s.succeeded).unwrap_or(0);
        if self.o.spec.completions.is_some_and(|wanted| succeeded > wanted) {
            let message = "Too many succeeded pods running after completion count reached";
            self.writes.tell(job, Type::Warning, "TooManySucceededPods", message);
        }
        self.writes.tell(job, Type::Normal, "Completed", "Job completed");
    }
}
