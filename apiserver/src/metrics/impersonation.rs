//! What is told of those who act as somebody else: how often they may, in which mode, and how long it took to say so.

use std::sync::LazyLock;
use std::time::Instant;

use component::metrics::{counter, histogram};
use prometheus::{HistogramVec, IntCounterVec};

use crate::authn::impersonation::Mode;

const LABELS: [&str; 2] = ["mode", "decision"];
const BUCKETS: [f64; 15] =
    [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];

static ATTEMPTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Total number of impersonation attempts split by mode and decision.";
    counter("apiserver_impersonation_attempts_total", help, &LABELS)
});
static DURATIONS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Latency of impersonation attempts in seconds split by mode and decision.";
    histogram("apiserver_impersonation_attempts_duration_seconds", help, &LABELS, &BUCKETS)
});
static CHECKS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Total number of authorization checks made by the impersonation handler split by mode and decision.";
    counter("apiserver_impersonation_authorization_attempts_total", help, &LABELS)
});
static CHECK_DURATIONS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help =
        "Latency of authorization checks made by the impersonation handler in seconds split by mode and decision.";
    histogram("apiserver_impersonation_authorization_attempts_duration_seconds", help, &LABELS, &BUCKETS)
});

/// A question, since it was asked.
pub struct Timer(Instant);

impl Timer {
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// Whether somebody may act as another, and in which mode; a refusal is of none.
    pub fn decided(self, mode: Option<Mode>) {
        let labels = [mode.map_or("", Mode::name), word(mode.is_some())];
        ATTEMPTS.with_label_values(&labels).inc();
        DURATIONS.with_label_values(&labels).observe(self.0.elapsed().as_secs_f64());
    }

    /// Whether authorization allowed one of the rights that a mode wants.
    pub fn authorized(self, mode: Mode, is_allowed: bool) {
        let labels = [mode.name(), word(is_allowed)];
        CHECKS.with_label_values(&labels).inc();
        CHECK_DURATIONS.with_label_values(&labels).observe(self.0.elapsed().as_secs_f64());
    }
}

fn word(is_allowed: bool) -> &'static str {
    if is_allowed { "allowed" } else { "denied" }
}
