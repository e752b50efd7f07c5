//! kube-proxy's metrics, with upstream's names.

use std::sync::LazyLock;
use std::time::Duration;

use component::metrics::{counter, gauge, histogram, int_gauge};
use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec};

use crate::mode::Mode;
use crate::model::Family;
use crate::syncer::Outcome;

const BUCKETS: [f64; 15] =
    [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];

static SYNC: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram(
        "kubeproxy_sync_proxy_rules_duration_seconds",
        "SyncProxyRules latency in seconds",
        &["ip_family"],
        &BUCKETS,
    )
});
static FULL_SYNC: LazyLock<HistogramVec> = LazyLock::new(|| {
    let name = "kubeproxy_sync_full_proxy_rules_duration_seconds";
    histogram(name, "SyncProxyRules latency in seconds for full resyncs", &["ip_family"], &BUCKETS)
});
static PARTIAL_SYNC: LazyLock<HistogramVec> = LazyLock::new(|| {
    let name = "kubeproxy_sync_partial_proxy_rules_duration_seconds";
    histogram(name, "SyncProxyRules latency in seconds for partial resyncs", &["ip_family"], &BUCKETS)
});
static LAST_SYNC: LazyLock<GaugeVec> = LazyLock::new(|| {
    let name = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";
    gauge(name, "The last time proxy rules were successfully synced", &["ip_family"])
});
static LAST_QUEUED: LazyLock<GaugeVec> = LazyLock::new(|| {
    let name = "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds";
    gauge(name, "The last time a sync of proxy rules was queued", &["ip_family"])
});
static FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let name = "kubeproxy_sync_proxy_rules_iptables_restore_failures_total";
    counter(name, "Cumulative proxy iptables restore failures", &["ip_family"])
});
static NFTABLES_FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let name = "kubeproxy_sync_proxy_rules_nftables_sync_failures_total";
    counter(name, "Cumulative proxy nftables sync failures", &["ip_family"])
});
static RULES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let name = "kubeproxy_sync_proxy_rules_iptables_total";
    int_gauge(name, "Number of iptables rules owned by Services", &["table", "ip_family"])
});
static HEALTHZ: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("kubeproxy_proxy_healthz_total", "Cumulative proxy healthz HTTP status", &["code"]));
static LIVEZ: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("kubeproxy_proxy_livez_total", "Cumulative proxy livez HTTP status", &["code"]));
static CONNTRACK_DELETED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let name = "kubeproxy_conntrack_reconciler_deleted_entries_total";
    counter(name, "Cumulative conntrack flows deleted by conntrack reconciler", &["ip_family"])
});

pub(crate) fn queued(family: Family, at: f64) {
    LAST_QUEUED.with_label_values(&[family.name()]).set(at);
}

pub(crate) fn synced(family: Family, outcome: Outcome, took: Duration, at: f64, rules: (usize, usize)) {
    let labels = [family.name()];
    LAST_SYNC.with_label_values(&labels).set(at);
    SYNC.with_label_values(&labels).observe(took.as_secs_f64());
    match outcome {
        Outcome::Nothing => {}
        Outcome::Partial => PARTIAL_SYNC.with_label_values(&labels).observe(took.as_secs_f64()),
        Outcome::Full => FULL_SYNC.with_label_values(&labels).observe(took.as_secs_f64()),
    }
    for (table, count) in [("filter", rules.0), ("nat", rules.1)] {
        RULES.with_label_values(&[table, family.name()]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

pub(crate) fn failed(mode: Mode, family: Family) {
    let failures = match mode {
        Mode::Iptables => &FAILURES,
        Mode::Nftables => &NFTABLES_FAILURES,
    };
    failures.with_label_values(&[family.name()]).inc();
}

pub(crate) fn healthz(code: &str) {
    HEALTHZ.with_label_values(&[code]).inc();
}

pub(crate) fn livez(code: &str) {
    LIVEZ.with_label_values(&[code]).inc();
}

pub(crate) fn conntrack_deleted(family: Family, count: u64) {
    CONNTRACK_DELETED.with_label_values(&[family.name()]).inc_by(count);
}
