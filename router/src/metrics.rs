//! skiff-router's metrics.

use std::sync::LazyLock;
use std::time::Duration;

use component::metrics::{counter, histogram, int_gauge};
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

const BUCKETS: [f64; 12] = [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048];

static SYNC: LazyLock<HistogramVec> = LazyLock::new(|| {
    let name = "skiff_router_policy_sync_duration_seconds";
    histogram(name, "Time from a change to its rules in the kernel.", &[], &BUCKETS)
});
static FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("skiff_router_policy_sync_failures_total", "Writes of rules that the kernel refused.", &[])
});
static RESTRICTED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let name = "skiff_router_restricted_addresses";
    int_gauge(name, "Pod addresses of this node that policies restrict.", &["direction"])
});

const NONE: [&str; 0] = [];

pub(crate) fn synced(took: Duration, ingress: usize, egress: usize) {
    SYNC.with_label_values(&NONE).observe(took.as_secs_f64());
    for (direction, count) in [("ingress", ingress), ("egress", egress)] {
        RESTRICTED.with_label_values(&[direction]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

pub(crate) fn failed() {
    FAILURES.with_label_values(&NONE).inc();
}
