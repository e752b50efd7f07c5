//! `/metrics/slis`: how each health check ended, in a registry of its own, as upstream, so that it can be read often.

use std::sync::LazyLock;

use prometheus::{Encoder, Gauge, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector};

struct Families {
    registry: Registry,
    last: IntGaugeVec,
    all: IntCounterVec,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    let registry = Registry::new();
    let last = Opts::new("kubernetes_healthcheck", "This metric records the result of a single healthcheck.");
    let all = Opts::new("kubernetes_healthchecks_total", "This metric records the results of all healthcheck.");
    let last = registered(&registry, IntGaugeVec::new(last, &["name", "type"]));
    let all = registered(&registry, IntCounterVec::new(all, &["name", "type", "status"]));
    if let Some(started) = super::process::start_time_seconds() {
        let help = "Start time of the process since unix epoch in seconds.";
        registered(&registry, Gauge::new("process_start_time_seconds", help)).set(started);
    }
    Families { registry, last, all }
});

/// Names and labels are constants of the program: a wrong one is a bug that the first run shows.
fn registered<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let family = made.unwrap_or_else(|error| panic!("metrics of health checks: {error}"));
    if let Err(error) = registry.register(Box::new(family.clone())) {
        panic!("metrics of health checks: {error}");
    }
    family
}

/// A check of an endpoint (`readyz`) has run.
pub(crate) fn checked(name: &str, endpoint: &str, passed: bool) {
    FAMILIES.last.with_label_values(&[name, endpoint]).set(i64::from(passed));
    FAMILIES.all.with_label_values(&[name, endpoint, if passed { "success" } else { "error" }]).inc();
}

/// In Prometheus's text format.
pub(crate) fn text() -> Vec<u8> {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&FAMILIES.registry.gather(), &mut text) {
        tracing::error!(%error, "writing metrics of health checks failed");
    }
    text
}
