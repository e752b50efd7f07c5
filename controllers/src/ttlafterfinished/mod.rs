//! The TTL-after-finished controller: deletes Jobs some time after they have ended.
//!
//! Enter by [`run`]. Only `ttlSecondsAfterFinished` and the time of the end count. Concepts: "Automatic Cleanup for Finished
//! Jobs".

use std::time::Duration;

use component::context::Context;
use component::informer::Informer;
use component::key::Key;
use component::queue::{self, Queue};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use crate::common::error::{Doing, Error, wait_for_event};
use crate::common::jobs;

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, workers: usize) {
    let jobs: Informer<Job> = ctx.informers.of();
    let queue = Queue::new("ttl_jobs_to_delete");
    let events = queue.clone();
    jobs.on_event(move |event| events.add(Key::of(&**event.object())));
    let shutdown = ctx.shutdown.clone();
    if shutdown.run_until(jobs.synced()).await.is_some() {
        queue::run(queue.clone(), workers, shutdown, |key| sync(&ctx, &jobs, &queue, key)).await;
    }
}

async fn sync(ctx: &Context, jobs: &Informer<Job>, queue: &Queue<Key>, key: Key) -> Result<(), Error> {
    let Some(left) = jobs.get_key(&key).and_then(|job| time_left(&job, ctx.clock.now())) else { return Ok(()) };
    if !left.is_zero() {
        queue.add_after(key, left);
        return Ok(());
    }
    // The cached Job may be old: its time may have been extended, or it may be another of the same name.
    let api = Api::<Job>::namespaced(ctx.client.clone(), &key.namespace);
    let Some(fresh) = api.get_opt(&key.name).await.doing("get job", &key)? else { return Ok(()) };
    if time_left(&fresh, ctx.clock.now()) != Some(Duration::ZERO) {
        return Ok(());
    }
    let preconditions = Preconditions { uid: fresh.metadata.uid.clone(), resource_version: None };
    let foreground = DeleteParams::foreground().preconditions(preconditions);
    wait_for_event(api.delete(&key.name, &foreground).await.map(drop).doing("delete job", &key))
}

/// Until the Job is to go; None for one that stays.
fn time_left(job: &Job, now: Timestamp) -> Option<Duration> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let end = jobs::ended(job)?;
    if job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let due = end.last_transition_time.as_ref()?.0.checked_add(SignedDuration::from_secs(seconds.into())).ok()?;
    Some(Duration::try_from(due.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn time_runs_from_the_end() {
        let end = "2026-01-01T00:00:00Z";
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let rows = [
            (json!(100), "Complete", "True", Some(90)),
            (json!(100), "Failed", "True", Some(90)),
            (json!(10), "Failed", "True", Some(0)),
            (json!(0), "Complete", "True", Some(0)),
            (json!(null), "Complete", "True", None),
            (json!(0), "Complete", "False", None),
            (json!(0), "FailureTarget", "True", None),
        ];
        for (ttl, kind, status, want) in rows {
            let condition = json!({"type": kind, "status": status, "lastTransitionTime": end});
            let job = json!({"spec": {"ttlSecondsAfterFinished": ttl, "template": {}}, "status": {"conditions": [condition]}});
            let job: Job = serde_json::from_value(job).unwrap();
            assert_eq!(time_left(&job, now), want.map(Duration::from_secs), "{ttl} {kind}={status}");
        }
    }
}
