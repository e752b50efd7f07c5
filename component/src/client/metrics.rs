//! client-go's metrics of requests.

use std::{sync::LazyLock, time::Duration};

use prometheus::{HistogramVec, IntCounterVec};

use crate::metrics::{counter, histogram};

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Number of HTTP requests, partitioned by status code, method, and host.";
    counter("rest_client_requests_total", help, &["code", "method", "host"])
});

/// Seconds.
const BUCKETS: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

static DURATIONS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Request latency in seconds until the answer begins. Broken down by verb, and host.";
    histogram("rest_client_request_duration_seconds", help, &["verb", "host"], BUCKETS)
});

/// Counts a request; `code` is `<error>` where no answer came, as upstream writes it.
pub(super) fn observe(method: &str, host: &str, code: &str, took: Duration) {
    REQUESTS.with_label_values(&[code, method, host]).inc();
    DURATIONS.with_label_values(&[method, host]).observe(took.as_secs_f64());
}
