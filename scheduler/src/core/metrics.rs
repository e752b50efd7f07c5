//! The scheduler's metrics, by upstream's names.

use std::sync::LazyLock;
use std::time::Duration;

use component::metrics;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use crate::objects::Pod;
use crate::queue::Lengths;

static ATTEMPTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Attempts to schedule pods, by result and profile.";
    metrics::counter("scheduler_schedule_attempts_total", help, &["result", "profile"])
});

static ATTEMPT_DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Seconds that one decision took.";
    let buckets: Vec<f64> = (0..17).map(|power| 0.000_05 * f64::from(1 << power)).collect();
    metrics::histogram("scheduler_scheduling_attempt_duration_seconds", help, &["result", "profile"], &buckets)
});

static PENDING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::int_gauge("scheduler_pending_pods", "Pods that wait for a node, by part of the queue.", &["queue"])
});

pub(super) fn attempt(result: &str, pod: &Pod, took: Duration) {
    let labels = [result, &pod.scheduler_name];
    ATTEMPTS.with_label_values(&labels).inc();
    ATTEMPT_DURATION.with_label_values(&labels).observe(took.as_secs_f64());
}

pub(super) fn lengths(lengths: Lengths) {
    let parts = [
        ("active", lengths.active),
        ("backoff", lengths.backoff),
        ("unschedulable", lengths.unschedulable),
        ("gated", lengths.gated),
    ];
    for (part, length) in parts {
        PENDING.with_label_values(&[part]).set(length as i64);
    }
}
