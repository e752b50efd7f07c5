//! The scheduler's metrics: upstream's names, labels and buckets, of those that it calls stable or beta.
//!
//! Counting is all that happens here; what is counted is decided where it happens.

use std::sync::LazyLock;
use std::time::Duration;

use component::metrics;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use crate::objects::Pod;
use crate::queue::Lengths;

/// How an attempt to place a pod ended, by upstream's label.
pub const SCHEDULED: &str = "scheduled";
pub const UNSCHEDULABLE: &str = "unschedulable";
pub const ERROR: &str = "error";

static ATTEMPTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Attempts to schedule pods, by result and profile.";
    metrics::counter("scheduler_schedule_attempts_total", help, &["result", "profile"])
});

static ATTEMPT_DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    let (name, help) =
        ("scheduler_scheduling_attempt_duration_seconds", "Seconds of an attempt, its binding included.");
    metrics::histogram(name, help, &["result", "profile"], &doubling(0.001, 15))
});

static WAITED: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Seconds from a pod's coming to its binding, by attempts.";
    metrics::histogram("scheduler_pod_scheduling_sli_duration_seconds", help, &["attempts"], &doubling(0.01, 20))
});

static ATTEMPTS_NEEDED: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Attempts that placed pods took.";
    metrics::histogram("scheduler_pod_scheduling_attempts", help, &[], &doubling(1.0, 5))
});

static POINTS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let (name, help) = ("scheduler_framework_extension_point_duration_seconds", "Seconds of all plugins of a point.");
    metrics::histogram(name, help, &["extension_point", "status", "profile"], &doubling(0.0001, 12))
});

static PREEMPTIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter("scheduler_preemption_attempts_total", "How often room was looked for among placed pods.", &[])
});

static VICTIMS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Pods that were asked to make room, of each time that some were.";
    metrics::histogram("scheduler_preemption_victims", help, &[], &doubling(1.0, 7))
});

static INCOMING: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Pods that came into parts of the queue, by the event that brought them there.";
    metrics::counter("scheduler_queue_incoming_pods_total", help, &["queue", "event"])
});

static PENDING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::int_gauge("scheduler_pending_pods", "Pods that wait for a node, by part of the queue.", &["queue"])
});

/// Upper bounds that double, from the lowest on.
fn doubling(lowest: f64, count: u32) -> Vec<f64> {
    (0..count).map(|power| lowest * f64::from(1 << power)).collect()
}

/// Shows families without labels before anything is counted, as upstream's are.
pub fn show() {
    PREEMPTIONS.with_label_values::<&str>(&[]);
    VICTIMS.with_label_values::<&str>(&[]);
    ATTEMPTS_NEEDED.with_label_values::<&str>(&[]);
}

/// An attempt ended.
pub fn attempt(result: &str, pod: &Pod, took: Duration) {
    let labels = [result, &pod.scheduler_name];
    ATTEMPTS.with_label_values(&labels).inc();
    ATTEMPT_DURATION.with_label_values(&labels).observe(took.as_secs_f64());
}

/// A pod was bound, so long after it came.
pub fn bound(attempts: u32, waited: Duration) {
    WAITED.with_label_values(&[attempts_label(attempts)]).observe(waited.as_secs_f64());
    ATTEMPTS_NEEDED.with_label_values::<&str>(&[]).observe(f64::from(attempts));
}

/// All plugins of an extension point were asked. `status` is upstream's name of a code.
pub fn point(name: &str, status: &str, profile: &str, took: Duration) {
    POINTS.with_label_values(&[name, status, profile]).observe(took.as_secs_f64());
}

/// A point whose plugins went through, or failed.
pub fn point_done(name: &str, is_ok: bool, profile: &str, took: Duration) {
    point(name, if is_ok { "Success" } else { "Error" }, profile, took);
}

pub fn preemption_tried() {
    PREEMPTIONS.with_label_values::<&str>(&[]).inc();
}

pub fn preempted(victims: usize) {
    VICTIMS.with_label_values::<&str>(&[]).observe(victims as f64);
}

/// A pod came into a part of the queue.
pub fn incoming(queue: &str, event: &str) {
    INCOMING.with_label_values(&[queue, event]).inc();
}

pub fn lengths(lengths: Lengths) {
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

fn attempts_label(attempts: u32) -> &'static str {
    ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"]
        .get(attempts.saturating_sub(1) as usize)
        .copied()
        .unwrap_or("16+")
}
