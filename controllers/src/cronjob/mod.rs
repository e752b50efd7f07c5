//! The CronJob controller: makes Jobs when their time comes.
//!
//! Enter by [`run`]. This shell reads the caches, asks [`plan`] which run is due, and makes and deletes Jobs. What a Job
//! does is not known here. Concepts: "CronJob".

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use component::context::Context;
use component::informer::{Event, Informer};
use component::key::Key;
use component::queue::{self, Queue};
use component::recorder::Type;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, Job};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};

use crate::common::error::{Doing, Error, wait_for_event};
use crate::common::owner::{BY_CONTROLLER, index_by_controller, is_controlled_by};
use crate::common::time;

struct Controller {
    ctx: Context,
    cron_jobs: Informer<CronJob>,
    jobs: Informer<Job>,
    queue: Queue<Key>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, workers: usize) {
    let controller = Arc::new(Controller {
        cron_jobs: ctx.informers.of(),
        jobs: ctx.informers.of(),
        queue: Queue::new("cronjob"),
        ctx,
    });
    index_by_controller(&controller.jobs);
    controller.cron_jobs.notify(&controller, Controller::on_cron_job);
    let queue = controller.queue.clone();
    controller.jobs.on_event(move |event: &Event<Job>| {
        let jobs = event.old().into_iter().chain([event.object()]);
        jobs.filter_map(|job| Key::of_controller(&**job, "CronJob")).for_each(|key| queue.add(key));
    });
    let synced = async {
        controller.cron_jobs.synced().await;
        controller.jobs.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    if shutdown.run_until(synced).await.is_some() {
        queue::run(controller.queue.clone(), workers, shutdown, |key| controller.sync(key)).await;
    }
}

impl Controller {
    /// Another schedule counts from its next run on: what the new one would have run by now was never missed.
    fn on_cron_job(&self, event: &Event<CronJob>) {
        let (cron, key) = (event.object(), Key::of(&**event.object()));
        if event.old().is_none_or(|old| !plan::is_rescheduled(&old.spec, &cron.spec)) {
            return self.queue.add(key);
        }
        match plan::parse(&cron.spec) {
            Ok(schedule) => {
                let after = plan::wait(cron, &cron.spec, &schedule, self.ctx.clock.now()).unwrap_or_default();
                self.queue.add_after(key, Duration::try_from(after).unwrap_or_default());
            }
            Err(_) => {
                let message = format!("unparseable schedule for cronjob: {}", cron.spec.schedule);
                self.tell(cron, Type::Warning, "UnParseableCronJobSchedule", message);
            }
        }
    }

    async fn sync(&self, key: Key) -> Result<(), Error> {
        let Some(cached) = self.cron_jobs.get_key(&key) else { return Ok(()) };
        let spec = &cached.spec;
        let mut cron = (*cached).clone();
        let jobs = self.jobs.by_index(BY_CONTROLLER, &cached.uid().unwrap_or_default());
        self.clean_up(&key, &mut cron, spec, &jobs).await;
        let synced = self.run_due(&key, &mut cron, spec, &jobs).await;
        if cron.status != cached.status {
            let api = Api::<CronJob>::namespaced(self.ctx.client.clone(), &key.namespace);
            let written = api.replace_status(&key.name, &PostParams::default(), &cron).await;
            wait_for_event(written.map(drop).doing("update status of cron job", &key))?;
        }
        if let Some(after) = synced? {
            self.queue.add_after(key, Duration::try_from(after).unwrap_or_default());
        }
        Ok(())
    }

    fn tell(&self, cron: &CronJob, kind: Type, reason: &str, message: impl Into<String>) {
        self.ctx.recorder.event(cron, kind, reason, message);
    }

    fn job_api(&self, key: &Key) -> Api<Job> {
        Api::namespaced(self.ctx.client.clone(), &key.namespace)
    }

    async fn clean_up(&self, key: &Key, cron: &mut CronJob, spec: &CronJobSpec, jobs: &[Arc<Job>]) {
        for job in plan::surplus(spec, jobs).into_iter().filter(|j| j.metadata.deletion_timestamp.is_none()) {
            // The next event tries again; what is told is enough of a trace.
            let _ = self.delete(key, cron, job).await;
        }
    }

    /// With its pods, in the background.
    async fn delete(&self, key: &Key, cron: &mut CronJob, job: &Job) -> Result<(), Error> {
        let name = job.name_any();
        let deleted = self.job_api(key).delete(&name, &DeleteParams::background()).await.doing("delete job", &name);
        if let Err(e) = deleted {
            self.tell(cron, Type::Warning, "FailedDelete", format!("Deleted job: {}", e.api_message()));
            return Err(e);
        }
        plan::forget(cron, job.metadata.uid.as_ref());
        self.tell(cron, Type::Normal, "SuccessfulDelete", format!("Deleted job {name}"));
        Ok(())
    }

    /// Brings the list of active Jobs up to date, and makes the Job that is due. Answers when to come back.
    async fn run_due(
        &self,
        key: &Key,
        cron: &mut CronJob,
        spec: &CronJobSpec,
        jobs: &[Arc<Job>],
    ) -> Result<Option<SignedDuration>, Error> {
        let now = self.ctx.clock.now();
        self.take_stock(key, cron, jobs).await?;
        if cron.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        if let Some(message) = plan::unknown_zone(spec) {
            self.tell(cron, Type::Warning, "UnknownTimeZone", message);
            return Ok(None);
        }
        if spec.suspend == Some(true) {
            return Ok(None);
        }
        if plan::has_own_zone(spec) {
            let page = "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details";
            let message =
                format!("CRON_TZ or TZ used in schedule {:?} is not officially supported, see {page}", spec.schedule);
            self.tell(cron, Type::Warning, "UnsupportedSchedule", message);
        }
        let schedule = match plan::parse(spec) {
            Ok(schedule) => schedule,
            Err(e) => {
                let message = format!("unparseable schedule: {:?} : {e}", spec.schedule);
                self.tell(cron, Type::Warning, "UnparseableSchedule", message);
                return Ok(None);
            }
        };
        let due = match plan::due(cron, spec, &schedule, now, true) {
            Ok(due) => due,
            Err(e) => {
                let message = format!("invalid schedule: {} : {e}", spec.schedule);
                self.tell(cron, Type::Warning, "InvalidSchedule", message);
                return Ok(None);
            }
        };
        if due.too_many() && due.run.is_some() {
            let hint = "Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.tell(cron, Type::Warning, "TooManyMissedTimes", format!("too many missed start times. {hint}"));
        }
        if let Some(run) = due.run
            && self.may_start(cron, spec, run, now)
        {
            self.start(key, cron, spec, run).await?;
        }
        Ok(plan::wait(cron, spec, &schedule, now))
    }

    /// Jobs that have ended or are gone leave the list.
    async fn take_stock(&self, key: &Key, cron: &mut CronJob, jobs: &[Arc<Job>]) -> Result<(), Error> {
        for job in jobs {
            let uid = job.metadata.uid.as_ref();
            match plan::ended(job) {
                None if plan::is_active(cron, uid) => {}
                None => self.take_in(key, cron, job).await?,
                Some(end) => {
                    if plan::forget(cron, uid) {
                        let message = format!("Saw completed job: {}, condition: {end}", job.name_any());
                        self.tell(cron, Type::Normal, "SawCompletedJob", message);
                    }
                    let completed = job.status.as_ref().and_then(|s| s.completion_time.clone());
                    let last = &mut cron.status.get_or_insert_default().last_successful_time;
                    if end == "Complete" && completed.as_ref().map(|t| t.0) > last.as_ref().map(|t| t.0) {
                        *last = completed;
                    }
                }
            }
        }
        let known = |uid: &Option<String>| jobs.iter().any(|job| job.metadata.uid == *uid);
        let missing: Vec<_> = plan::active(cron).filter(|job| !known(&job.uid)).cloned().collect();
        for job in missing {
            let name = job.name.unwrap_or_default();
            // The cache may be behind: the Job may be a moment old.
            if self.job_api(key).get_metadata_opt(&name).await.doing("get job", &name)?.is_none() {
                self.tell(cron, Type::Normal, "MissingJob", format!("Active job went missing: {name}"));
                plan::forget(cron, job.uid.as_ref());
            }
        }
        Ok(())
    }

    /// A Job of ours that runs and is not in the list: our own status may be newer than the cache.
    async fn take_in(&self, key: &Key, cron: &mut CronJob, job: &Job) -> Result<(), Error> {
        let api = Api::<CronJob>::namespaced(self.ctx.client.clone(), &key.namespace);
        let fresh = api.get_opt(&key.name).await.doing("get cron job", key)?;
        match fresh {
            Some(fresh) if plan::is_active(&fresh, job.metadata.uid.as_ref()) => *cron = fresh,
            _ => {
                let message = format!("Saw a job that the controller did not create or forgot: {}", job.name_any());
                self.tell(cron, Type::Warning, "UnexpectedJob", message);
            }
        }
        Ok(())
    }

    fn may_start(&self, cron: &CronJob, spec: &CronJobSpec, run: Timestamp, now: Timestamp) -> bool {
        if plan::is_too_late(spec, run, now) {
            self.tell(cron, Type::Warning, "MissSchedule", plan::missed(run));
            return false;
        }
        let last = cron.status.as_ref().and_then(|s| s.last_schedule_time.as_ref()).map(|t| t.0);
        let name = plan::job_name(cron, run);
        if last == Some(run) || plan::active(cron).any(|job| job.name.as_deref() == Some(&name)) {
            return false;
        }
        let busy = plan::active(cron).next().is_some();
        if spec.concurrency_policy.as_deref() == Some("Forbid") && busy {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            self.tell(cron, Type::Normal, "JobAlreadyActive", message);
            return false;
        }
        true
    }

    async fn start(&self, key: &Key, cron: &mut CronJob, spec: &CronJobSpec, run: Timestamp) -> Result<(), Error> {
        if spec.concurrency_policy.as_deref() == Some("Replace") {
            let before: Vec<_> = plan::active(cron).cloned().collect();
            for job in before {
                let name = job.name.unwrap_or_default();
                let job = match self.job_api(key).get(&name).await.doing("get job", &name) {
                    Ok(job) => job,
                    Err(e) => {
                        self.tell(cron, Type::Warning, "FailedGet", format!("Get job: {}", e.api_message()));
                        return Err(e);
                    }
                };
                self.delete(key, cron, &job).await?;
            }
        }
        let wanted = plan::job(cron, spec, run);
        let name = wanted.name_any();
        let created = match self.job_api(key).create(&PostParams::default(), &wanted).await.doing("create job", &name) {
            Ok(job) => {
                self.tell(cron, Type::Normal, "SuccessfulCreate", format!("Created job {name}"));
                job
            }
            // We made it, and died before the status was written; or it is somebody else's.
            Err(e) if e.is_already_exists() => {
                let job = self.job_api(key).get(&name).await.doing("get job", &name)?;
                let ours = is_controlled_by(&job.metadata, &cron.uid().unwrap_or_default());
                if !ours || plan::is_active(cron, job.metadata.uid.as_ref()) {
                    return Ok(());
                }
                job
            }
            Err(e) => {
                if !e.is_namespace_terminating() {
                    self.tell(cron, Type::Warning, "FailedCreate", format!("Error creating job: {}", e.api_message()));
                }
                return Err(e);
            }
        };
        let status = cron.status.get_or_insert_default();
        status.active.get_or_insert_default().push(plan::reference(&created));
        status.last_schedule_time = Some(time(run));
        Ok(())
    }
}
