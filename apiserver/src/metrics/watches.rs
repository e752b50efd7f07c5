//! What is told of watches beyond their events: how they began, and whom the server left behind.

use std::sync::LazyLock;
use std::time::Duration;

use component::metrics::{counter, histogram};
use machinery::catalogue::Resource;
use prometheus::{HistogramVec, IntCounterVec};

use crate::request::RequestInfo;

const LIST_BUCKETS: [f64; 17] =
    [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];

static LISTS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Response latency distribution in seconds for watch list requests broken by group, version, resource and scope.";
    let labels = ["group", "version", "resource", "scope"];
    histogram("apiserver_watch_list_duration_seconds", help, &labels, &LIST_BUCKETS)
});
static INITIAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Counter of init events processed in watch cache broken by resource type.";
    counter("apiserver_init_events_total", help, &["group", "resource"])
});
static LEFT_BEHIND: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Counter of watchers closed due to unresponsiveness broken by resource type.";
    counter("apiserver_terminated_watchers_total", help, &["group", "resource"])
});

/// A streamed list is sent whole.
pub fn listed(info: &RequestInfo, took: Duration) {
    let labels = [info.group.as_str(), &info.version, &info.resource, super::scope(info)];
    LISTS.with_label_values(&labels).observe(took.as_secs_f64());
}

/// A watch begins with so many objects.
pub fn began(row: &Resource, objects: usize) {
    if objects > 0 {
        INITIAL.with_label_values(&[row.group.as_ref(), row.plural.as_ref()]).inc_by(objects as u64);
    }
}

/// A watcher was so slow that what it should read next is gone.
pub fn left_behind(row: &Resource) {
    LEFT_BEHIND.with_label_values(&[row.group.as_ref(), row.plural.as_ref()]).inc();
}
