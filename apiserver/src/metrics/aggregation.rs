//! What is told of APIServices.

use std::sync::LazyLock;

use component::metrics::{counter, int_gauge};
use prometheus::{IntCounterVec, IntGaugeVec};

static UNAVAILABLE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Gauge of APIServices which are marked as unavailable broken down by APIService name.";
    int_gauge("aggregator_unavailable_apiservice", help, &["name"])
});
static TURNED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Counter of APIServices which are marked as unavailable broken down by APIService name and reason.";
    counter("aggregator_unavailable_apiservice_total", help, &["name", "reason"])
});

pub fn is_available(name: &str, available: bool) {
    UNAVAILABLE.with_label_values(&[name]).set(i64::from(!available));
}

/// The APIService is gone.
pub fn forget(name: &str) {
    // One that was never judged has no series.
    let _ = UNAVAILABLE.remove_label_values(&[name]);
}

/// It was available, and is no more.
pub fn became_unavailable(name: &str, reason: &str) {
    TURNED.with_label_values(&[name, reason]).inc();
}
