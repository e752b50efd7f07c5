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
static PARTIAL_FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let name = "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total";
    counter(name, "Cumulative proxy iptables partial restore failures", &["ip_family"])
});
static RULES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let name = "kubeproxy_sync_proxy_rules_iptables_total";
    int_gauge(name, "Number of iptables rules owned by Services", &["table", "ip_family"])
});
static RULES_WRITTEN: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let name = "kubeproxy_sync_proxy_rules_iptables_last";
    int_gauge(name, "Number of iptables rules written by kube-proxy in last sync", &["table", "ip_family"])
});
static NO_LOCAL_ENDPOINTS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
    let help = "Number of services with a Local traffic policy and no endpoints";
    int_gauge(name, help, &["traffic_policy", "ip_family"])
});
static NETWORK_PROGRAMMING: LazyLock<HistogramVec> = LazyLock::new(|| {
    let name = "kubeproxy_network_programming_duration_seconds";
    histogram(name, "In Cluster Network Programming Latency in seconds", &["ip_family"], &network_programming_buckets())
});
static CHANGES: LazyLock<[IntCounterVec; 2]> = LazyLock::new(|| {
    [Kind::Service, Kind::Endpoint].map(|kind| {
        let help = format!("Cumulative proxy rules {} changes", kind.title());
        counter(&format!("kubeproxy_sync_proxy_rules_{}_changes_total", kind.name()), &help, &[])
    })
});
static CHANGES_PENDING: LazyLock<[IntGaugeVec; 2]> = LazyLock::new(|| {
    [Kind::Service, Kind::Endpoint].map(|kind| {
        let help = format!("Pending proxy rules {} changes", kind.title());
        int_gauge(&format!("kubeproxy_sync_proxy_rules_{}_changes_pending", kind.name()), &help, &[])
    })
});
static HEALTHZ: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("kubeproxy_proxy_healthz_total", "Cumulative proxy healthz HTTP status", &["code"]));
static LIVEZ: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("kubeproxy_proxy_livez_total", "Cumulative proxy livez HTTP status", &["code"]));
static CONNTRACK: LazyLock<HistogramVec> = LazyLock::new(|| {
    let name = "kubeproxy_conntrack_reconciler_sync_duration_seconds";
    histogram(name, "ReconcileConntrackFlowsLatency latency in seconds", &["ip_family"], &BUCKETS)
});
static CONNTRACK_DELETED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let name = "kubeproxy_conntrack_reconciler_deleted_entries_total";
    counter(name, "Cumulative conntrack flows deleted by conntrack reconciler", &["ip_family"])
});

/// What a change was of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Service,
    Endpoint,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Service => "service",
            Kind::Endpoint => "endpoint",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Kind::Service => "Service",
            Kind::Endpoint => "Endpoint",
        }
    }
}

const NONE: [&str; 0] = [];

/// A quarter and half a second, each of the first minute's, then wider.
fn network_programming_buckets() -> Vec<f64> {
    let seconds = (1..60).chain((60..120).step_by(5)).chain((120..=300).step_by(30));
    [0.25, 0.5].into_iter().chain(seconds.map(f64::from)).collect()
}

/// A change came in that waits for its rules.
pub(crate) fn changed(kind: Kind) {
    CHANGES[kind as usize].with_label_values(&NONE).inc();
    CHANGES_PENDING[kind as usize].with_label_values(&NONE).inc();
}

/// The loop took all changes.
pub(crate) fn changes_taken() {
    CHANGES_PENDING.iter().for_each(|pending| pending.with_label_values(&NONE).set(0));
}

/// From what made an endpoint change to its rules.
pub(crate) fn network_programmed(family: Family, took: Duration) {
    NETWORK_PROGRAMMING.with_label_values(&[family.name()]).observe(took.as_secs_f64());
}

pub(crate) fn without_local_endpoints(family: Family, internal: usize, external: usize) {
    for (policy, count) in [("internal", internal), ("external", external)] {
        NO_LOCAL_ENDPOINTS.with_label_values(&[policy, family.name()]).set(gauge_value(count));
    }
}

pub(crate) fn queued(family: Family, at: f64) {
    LAST_QUEUED.with_label_values(&[family.name()]).set(at);
}

pub(crate) fn synced(family: Family, outcome: Outcome, took: Duration, at: f64) {
    let labels = [family.name()];
    LAST_SYNC.with_label_values(&labels).set(at);
    SYNC.with_label_values(&labels).observe(took.as_secs_f64());
    match outcome {
        Outcome::Nothing => {}
        Outcome::Partial => PARTIAL_SYNC.with_label_values(&labels).observe(took.as_secs_f64()),
        Outcome::Full => FULL_SYNC.with_label_values(&labels).observe(took.as_secs_f64()),
    }
}

/// Of mode iptables: rules of the filter and the nat table.
pub(crate) fn rules(family: Family, counts: (usize, usize)) {
    set_by_table(&RULES, family, counts);
}

/// Of mode iptables: how many of them the last write wrote.
pub(crate) fn rules_written(family: Family, counts: (usize, usize)) {
    set_by_table(&RULES_WRITTEN, family, counts);
}

fn set_by_table(gauges: &IntGaugeVec, family: Family, counts: (usize, usize)) {
    for (table, count) in [("filter", counts.0), ("nat", counts.1)] {
        gauges.with_label_values(&[table, family.name()]).set(gauge_value(count));
    }
}

fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Of mode iptables: a difference that the tool refused.
pub(crate) fn partial_failed(family: Family) {
    PARTIAL_FAILURES.with_label_values(&[family.name()]).inc();
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

pub(crate) fn conntrack_cleaned(family: Family, deleted: u64, took: Duration) {
    CONNTRACK.with_label_values(&[family.name()]).observe(took.as_secs_f64());
    CONNTRACK_DELETED.with_label_values(&[family.name()]).inc_by(deleted);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_upstreams() {
        let buckets = network_programming_buckets();
        assert_eq!(buckets.len(), 2 + 59 + 12 + 7);
        assert_eq!((buckets[2], buckets[61], buckets[73], buckets[79]), (1.0, 60.0, 120.0, 300.0));
        assert!(buckets.is_sorted());
    }
}
