//! Upstream's `workqueue_*` metrics, a label value a queue.

use std::{sync::LazyLock, time::Duration};

use prometheus::{GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use tokio::time::Instant;

use super::{Item, state::State};
use crate::metrics::{counter, gauge, histogram, int_gauge};

/// Seconds, as upstream's.
const BUCKETS: &[f64] = &[1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

struct Families {
    depth: IntGaugeVec,
    adds: IntCounterVec,
    retries: IntCounterVec,
    queue_duration: HistogramVec,
    work_duration: HistogramVec,
    unfinished: GaugeVec,
    longest: GaugeVec,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| Families {
    depth: int_gauge("workqueue_depth", "Current depth of workqueue", &["name"]),
    adds: counter("workqueue_adds_total", "Total number of adds handled by workqueue", &["name"]),
    retries: counter("workqueue_retries_total", "Total number of retries handled by workqueue", &["name"]),
    queue_duration: histogram(
        "workqueue_queue_duration_seconds",
        "How long in seconds an item stays in workqueue before being requested.",
        &["name"],
        BUCKETS,
    ),
    work_duration: histogram(
        "workqueue_work_duration_seconds",
        "How long in seconds processing an item from workqueue takes.",
        &["name"],
        BUCKETS,
    ),
    unfinished: gauge(
        "workqueue_unfinished_work_seconds",
        "How many seconds of work the items now in work have taken, all together. Large values tell of stuck workers.",
        &["name"],
    ),
    longest: gauge(
        "workqueue_longest_running_processor_seconds",
        "How many seconds the longest running worker has been working on its item.",
        &["name"],
    ),
});

pub(super) struct Metrics {
    pub(super) name: &'static str,
    depth: IntGauge,
    adds: IntCounter,
    retries: IntCounter,
    queue_duration: Histogram,
    work_duration: Histogram,
    unfinished: prometheus::Gauge,
    longest: prometheus::Gauge,
}

impl Metrics {
    pub(super) fn new(name: &'static str) -> Self {
        let label = &[name];
        Self {
            name,
            depth: FAMILIES.depth.with_label_values(label),
            adds: FAMILIES.adds.with_label_values(label),
            retries: FAMILIES.retries.with_label_values(label),
            queue_duration: FAMILIES.queue_duration.with_label_values(label),
            work_duration: FAMILIES.work_duration.with_label_values(label),
            unfinished: FAMILIES.unfinished.with_label_values(label),
            longest: FAMILIES.longest.with_label_values(label),
        }
    }

    /// By differences: two queues may share a name, as upstream's do.
    pub(super) fn depth(&self, before: usize, after: usize) {
        self.depth.add(after as i64 - before as i64);
    }

    /// How long work takes that has not ended. Upstream refreshes these twice a second; here it is done when asked.
    pub(super) fn working<T: Item>(&self, state: &State<T>) {
        let now = Instant::now();
        let seconds = state.in_work().map(|since| now.saturating_duration_since(since).as_secs_f64());
        let (sum, max) = seconds.fold((0.0, 0.0_f64), |(sum, max), one| (sum + one, max.max(one)));
        self.unfinished.set(sum);
        self.longest.set(max);
    }

    pub(super) fn added(&self) {
        self.adds.inc();
    }

    pub(super) fn retried(&self) {
        self.retries.inc();
    }

    pub(super) fn started(&self, waited: Duration) {
        self.queue_duration.observe(waited.as_secs_f64());
    }

    pub(super) fn finished(&self, worked: Duration) {
        self.work_duration.observe(worked.as_secs_f64());
    }
}
