//! The list of what is measured: each figure's name, unit and budget.

/// What a figure is called here, and how a person reads it.
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) limit: Limit,
}

/// What a figure should not exceed.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// The figure only explains others.
    None,
    Most(f64),
    /// A tenth of what the other server needs in the same run.
    Tenth,
}

const fn figure(id: &'static str, what: &'static str, unit: &'static str, most: f64) -> Row {
    Row { id, what, unit, limit: Limit::Most(most) }
}

const fn tenth(id: &'static str, what: &'static str, unit: &'static str) -> Row {
    Row { id, what, unit, limit: Limit::Tenth }
}

const fn fact(id: &'static str, what: &'static str, unit: &'static str) -> Row {
    Row { id, what, unit, limit: Limit::None }
}

/// Budgets in numbers that were given as a tenth of upstream's are a tenth of the middle of its range. What one client alone
/// costs, when nothing is shared, has none of its own.
pub(crate) const ALL: [Row; 38] = [
    figure("start-first", "start to /readyz, first", "s", 0.3),
    figure("start-data", "start to /readyz, with data", "s", 0.1),
    figure("start-killed", "start to /readyz, after kill -9", "s", 0.3),
    figure("start-many", "start to /readyz, at the end of the curve", "s", 2.0),
    figure("rss-rest", "RSS at rest", "MiB", 30.0),
    figure("rss-filled", "RSS with 3,000 pods and 3,000 ConfigMaps", "MiB", 80.0),
    tenth("create-configmap", "CPU per create ConfigMap, one client", "µs"),
    tenth("create-pod", "CPU per create Pod, one client", "µs"),
    tenth("merge-patch", "CPU per merge patch, one client", "µs"),
    tenth("get", "CPU per GET, one client", "µs"),
    figure("create-configmap-busy", "CPU per create ConfigMap, 16 clients", "µs", 125.0),
    figure("create-pod-busy", "CPU per create Pod, 16 clients", "µs", 190.0),
    figure("merge-patch-busy", "CPU per merge patch, 16 clients", "µs", 240.0),
    figure("get-busy", "CPU per GET, 16 clients", "µs", 40.0),
    figure("list-cpu", "CPU to list 3,000 pods", "ms", 8.0),
    fact("list-time", "time to list 3,000 pods", "ms"),
    fact("list-bytes", "size of a list of 3,000 pods", "MB"),
    figure("watch-single", "CPU per watch event, 100 watchers, singly", "µs", 8.0),
    figure("watch-burst", "CPU per watch event, 100 watchers, in bursts", "µs", 2.0),
    fact("watch-bare", "the bare sockets: CPU to send such an event to one of 100", "µs"),
    figure("create-p50", "latency of create, 32 clients, p50", "ms", 3.0),
    figure("create-p99", "latency of create, 32 clients, p99", "ms", 10.0),
    figure("get-p50", "latency of GET, 16 clients, p50", "ms", 0.5),
    figure("get-p99", "latency of GET, 16 clients, p99", "ms", 3.0),
    fact("durable", "durable creates, 64 clients", "1/s"),
    fact("durable-server-cpu", "durable creates, 64 clients: cores of the server", "cores"),
    fact("durable-client-cpu", "durable creates, 64 clients: cores of the client", "cores"),
    fact("disk-syncs", "the bare disk: append and fdatasync of 4 KiB", "1/s"),
    fact("curve-rss-1000", "RSS with 1,000 pods", "MiB"),
    fact("curve-rss", "RSS at the end of the curve", "MiB"),
    fact("curve-pod", "RSS a pod, from 1,000 to the end of the curve", "KiB"),
    fact("curve-list", "list at the end of the curve", "ms"),
    fact("curve-list-pod", "list: time a pod, curve's end beside its start", "ratio"),
    fact("curve-watch", "watch with initial events at the end of the curve", "ms"),
    fact("curve-watch-pod", "watch with initial events: time a pod, curve's end beside its start", "ratio"),
    fact("curve-follow", "watch from the newest version at the end of the curve", "ms"),
    fact("curve-fill", "creates a second while the curve is filled", "1/s"),
    fact("curve-pods", "pods at the end of the curve", "pods"),
];
