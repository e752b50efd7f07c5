//! What is told of the store, whichever it is: its requests, its size, what its watches bring.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use component::metrics::{counter, histogram, int_gauge};
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};

use super::LATENCY_BUCKETS;
use crate::catalogue::{Catalogue, Served};
use crate::store::Store;

const LABELS: [&str; 3] = ["operation", "group", "resource"];
/// Upstream numbers its etcds; there is one.
const CLUSTER: &str = "etcd-0";
/// A reading of the metrics must not hang on a store that does not answer.
const SIZE_DEADLINE: Duration = Duration::from_secs(1);

static DURATIONS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Etcd request latency in seconds for each operation and object type.";
    histogram("etcd_request_duration_seconds", help, &LABELS, &LATENCY_BUCKETS)
});
static COUNTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("etcd_requests_total", "Etcd request counts for each operation and object type.", &LABELS)
});
static ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("etcd_request_errors_total", "Etcd failed request counts for each operation and object type.", &LABELS)
});
static SIZE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Size of the storage database file physically allocated in bytes.";
    int_gauge("apiserver_storage_size_bytes", help, &["storage_cluster_id"])
});
static RECEIVED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Number of etcd events received split by kind.";
    counter("apiserver_storage_events_received_total", help, &["group", "resource"])
});

pub fn asked(labels: [&str; 3], took: Duration, failed: bool) {
    DURATIONS.with_label_values(&labels).observe(took.as_secs_f64());
    COUNTS.with_label_values(&labels).inc();
    if failed {
        ERRORS.with_label_values(&labels).inc();
    }
}

/// Counts a change that a watch brought, by its key. The series are looked up once: changes are many.
pub fn received(catalogue: &Catalogue) -> impl Fn(&str) + Send + Sync + 'static {
    // By the resources' ids, which are positions in the catalogue.
    let series = catalogue.rows().iter().map(|served| {
        let is_stored = served.row.storage.is_some() && !served.is_view();
        is_stored.then(|| RECEIVED.with_label_values(&[served.row.group.as_ref(), served.row.plural.as_ref()]))
    });
    let series: Vec<Option<IntCounter>> = series.collect();
    let catalogue = catalogue.clone();
    move |key| {
        let of = |served: &Arc<Served>| series.get(served.id.0 as usize)?.as_ref();
        if let Some(counter) = catalogue.find_key(key).and_then(of) {
            counter.inc();
        }
    }
}

/// Asks the store for its size. What cannot be told is not there, as upstream.
pub async fn look(store: &dyn Store) {
    match tokio::time::timeout(SIZE_DEADLINE, store.size_bytes()).await {
        Ok(Ok(bytes)) => SIZE.with_label_values(&[CLUSTER]).set(i64::try_from(bytes).unwrap_or(i64::MAX)),
        _ => SIZE.reset(),
    }
}
