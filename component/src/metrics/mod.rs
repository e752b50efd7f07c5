//! The process's metrics: one Prometheus registry, and the families every component has.
//!
//! [`counter`], [`gauge`] and [`histogram`] make a family and register it; [`text`] is what `/metrics` answers.

mod process;
pub mod slis;

use std::sync::{LazyLock, Mutex, PoisonError};

use jiff::Timestamp;
use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector,
};

use crate::version;

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let registry = Registry::new();
    let opts = Opts::new("kubernetes_build_info", "What this process was built from; always 1.");
    let labels = [
        "major",
        "minor",
        "git_version",
        "git_commit",
        "git_tree_state",
        "build_date",
        "go_version",
        "compiler",
        "platform",
    ];
    if let Ok(info) = IntGaugeVec::new(opts, &labels) {
        let values = [
            version::MAJOR,
            version::MINOR,
            version::GIT_VERSION,
            version::GIT_COMMIT,
            version::GIT_TREE_STATE,
            version::BUILD_DATE,
            version::GO_VERSION,
            version::COMPILER,
            version::PLATFORM,
        ];
        info.with_label_values(&values).set(1);
        let _ = registry.register(Box::new(info));
    }
    if let Ok(process) = process::Process::new() {
        let _ = registry.register(Box::new(process));
    }
    registry
});

/// The registry that `/metrics` answers from.
pub fn registry() -> &'static Registry {
    &REGISTRY
}

/// A family of counters. Call it once a name, from a `LazyLock`.
pub fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(name, IntCounterVec::new(Opts::new(name, help), labels))
}

/// A family of gauges with fractions.
pub fn gauge(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    registered(name, GaugeVec::new(Opts::new(name, help), labels))
}

/// A family of whole-number gauges.
pub fn int_gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(name, IntGaugeVec::new(Opts::new(name, help), labels))
}

/// A family of histograms with these upper bounds.
pub fn histogram(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    registered(name, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
}

/// Names, labels and buckets are constants of the program: a wrong one is a bug that the first run shows.
fn registered<C: Collector + Clone + 'static>(name: &str, made: prometheus::Result<C>) -> C {
    let family = made.unwrap_or_else(|error| panic!("metric {name}: {error}"));
    if let Err(error) = REGISTRY.register(Box::new(family.clone())) {
        panic!("metric {name}: {error}");
    }
    family
}

/// When this process was started.
pub fn started_at() -> Option<Timestamp> {
    Timestamp::from_second(process::start_time_seconds()? as i64).ok()
}

type Hook = Box<dyn Fn() -> bool + Send>;

static HOOKS: Mutex<Vec<Hook>> = Mutex::new(Vec::new());

/// Calls `hook` before metrics are told, to bring up to date what changes with time alone; until it returns `false`.
pub fn before_scrape(hook: impl Fn() -> bool + Send + 'static) {
    HOOKS.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(hook));
}

/// All families in Prometheus's text format.
pub fn text() -> Vec<u8> {
    HOOKS.lock().unwrap_or_else(PoisonError::into_inner).retain(|hook| hook());
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&REGISTRY.gather(), &mut text) {
        tracing::error!(%error, "writing metrics failed");
    }
    text
}
