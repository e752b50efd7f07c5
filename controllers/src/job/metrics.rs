//! The Job controller's counters, by upstream's names.

use std::sync::LazyLock;
use std::time::Duration;

use component::metrics;
use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use prometheus::{HistogramVec, IntCounterVec};

use super::facts;
use super::observe::Observed;

static FINISHED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let labels = ["completion_mode", "result", "reason"];
    metrics::counter("job_controller_jobs_finished_total", "The number of finished jobs", &labels)
});

static PODS_FINISHED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "The number of finished Pods that are fully tracked";
    metrics::counter("job_controller_job_pods_finished_total", help, &["completion_mode", "result"])
});

static PODS_CREATED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "The number of Pods created by the Job controller, by the reason for their creation";
    metrics::counter("job_controller_job_pods_creation_total", help, &["reason", "status"])
});

static ELSEWHERE: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "The number of Jobs managed by an external controller";
    metrics::counter("job_controller_jobs_by_external_controller_total", help, &["controller_name"])
});

static SYNCS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter(
        "job_controller_job_syncs_total",
        "The number of job syncs",
        &["completion_mode", "result", "action"],
    )
});

static SYNC_DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    let buckets: Vec<f64> = (0..15).map(|power| 0.004 * f64::from(1 << power)).collect();
    let labels = ["completion_mode", "result", "action"];
    metrics::histogram("job_controller_job_sync_duration_seconds", "The time it took to sync a job", &labels, &buckets)
});

fn mode(o: &Observed) -> &'static str {
    if facts::is_indexed(&o.spec) { "Indexed" } else { "NonIndexed" }
}

pub(super) fn job_finished(o: &Observed, end: &JobCondition) {
    let result = if end.type_ == "Complete" { "succeeded" } else { "failed" };
    FINISHED.with_label_values(&[mode(o), result, end.reason.as_deref().unwrap_or_default()]).inc();
}

pub(super) fn pods_finished(o: &Observed, before: Option<&JobStatus>, now: &JobStatus) {
    let more = |count: fn(&JobStatus) -> Option<i32>| {
        let grown = count(now).unwrap_or(0) - before.and_then(count).unwrap_or(0);
        u64::try_from(grown).unwrap_or(0)
    };
    PODS_FINISHED.with_label_values(&[mode(o), "succeeded"]).inc_by(more(|s| s.succeeded));
    PODS_FINISHED.with_label_values(&[mode(o), "failed"]).inc_by(more(|s| s.failed));
}

pub(super) fn pods_created(o: &Observed, made: usize, failed: bool) {
    let reason = match o.failed > 0 {
        true if o.spec.pod_replacement_policy.as_deref() == Some("Failed") => "recreate_failed",
        again if again || o.terminating > 0 => "recreate_terminating_or_failed",
        _ => "new",
    };
    PODS_CREATED.with_label_values(&[reason, "succeeded"]).inc_by(made as u64);
    PODS_CREATED.with_label_values(&[reason, "failed"]).inc_by(u64::from(failed));
}

pub(super) fn managed_elsewhere(controller: &str) {
    ELSEWHERE.with_label_values(&[controller]).inc();
}

/// One sync of a Job of this completion mode.
pub(super) fn synced(mode: &str, succeeded: bool, took: Duration) {
    let labels = [mode, if succeeded { "success" } else { "error" }, "reconciling"];
    SYNCS.with_label_values(&labels).inc();
    SYNC_DURATION.with_label_values(&labels).observe(took.as_secs_f64());
}
