//! The families of `/metrics/cadvisor`: names and explanations are cAdvisor's (`metrics/prometheus.go`). Pure tables.

use super::rows::Row;
use crate::{
    cgroups::figures::{Cpu, Disk, Memory, SomeFull, Stalls, is_limit},
    net_usage::Interface,
};

type Of = fn(&Row) -> Option<f64>;
/// Name, explanation and value.
type Named<T, V> = (&'static str, &'static str, fn(&T) -> V);

pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: &'static str,
    /// What is known of the cgroup itself has no time, as upstream tells it.
    pub(super) is_timed: bool,
    /// Further labels, and what stands under them.
    pub(super) values: &'static [(&'static str, Of)],
}

const fn counter(name: &'static str, help: &'static str, values: &'static [(&'static str, Of)]) -> Family {
    Family { name, help, kind: "counter", is_timed: true, values }
}

const fn gauge(name: &'static str, help: &'static str, values: &'static [(&'static str, Of)]) -> Family {
    Family { name, help, kind: "gauge", is_timed: true, values }
}

const fn fact(name: &'static str, help: &'static str, values: &'static [(&'static str, Of)]) -> Family {
    Family { name, help, kind: "gauge", is_timed: false, values }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// A limit that is none is told as zero.
fn or_zero(limit: u64) -> u64 {
    if is_limit(limit) { limit } else { 0 }
}

fn cpu(row: &Row, of: fn(&Cpu) -> Option<u64>) -> Option<f64> {
    Some(seconds(of(row.figures.cpu.as_ref()?)?))
}

fn memory(row: &Row, of: fn(&Memory) -> Option<u64>) -> Option<f64> {
    Some(of(row.figures.memory.as_ref()?)? as f64)
}

/// Zero where the kernel was asked and keeps no such number, as cAdvisor has it; a runtime never tells of swap this way.
fn of_kernel(memory: &Memory, value: Option<u64>) -> Option<u64> {
    memory.swap.map(|_| value.unwrap_or(0))
}

fn stalled(row: &Row, of: fn(&Stalls) -> SomeFull, is_full: bool) -> Option<f64> {
    let (some, full) = of(row.figures.pressure.as_ref()?);
    Some(if is_full { full } else { some }.total_us as f64 / 1e6)
}

pub(super) const PLAIN: &[Family] = &[
    gauge(
        "container_last_seen",
        "Last time a container was seen by the exporter",
        &[("", |it| Some((it.at_ms / 1000) as f64))],
    ),
    fact(
        "container_start_time_seconds",
        "Start time of the container since unix epoch in seconds.",
        &[("", |it| Some(it.figures.made_at_seconds? as f64))],
    ),
    counter(
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed in seconds.",
        &[(",cpu=\"total\"", |it| cpu(it, |cpu| Some(cpu.usage_ns)))],
    ),
    counter(
        "container_cpu_user_seconds_total",
        "Cumulative user cpu time consumed in seconds.",
        &[("", |it| cpu(it, |cpu| cpu.user_ns))],
    ),
    counter(
        "container_cpu_system_seconds_total",
        "Cumulative system cpu time consumed in seconds.",
        &[("", |it| cpu(it, |cpu| cpu.system_ns))],
    ),
    fact(
        "container_spec_cpu_period",
        "CPU period of the container.",
        &[("", |it| Some(it.figures.cpu.as_ref()?.period_us? as f64))],
    ),
    fact(
        "container_spec_cpu_quota",
        "CPU quota of the container.",
        &[("", |it| Some(it.figures.cpu.as_ref()?.quota_us? as f64))],
    ),
    fact(
        "container_spec_cpu_shares",
        "CPU share of the container.",
        &[("", |it| Some(it.figures.cpu.as_ref()?.shares? as f64))],
    ),
    fact(
        "container_spec_memory_limit_bytes",
        "Memory limit for the container.",
        &[("", |it| memory(it, |it| it.limit.map(or_zero)))],
    ),
    fact(
        "container_spec_memory_swap_limit_bytes",
        "Memory swap limit for the container.",
        &[("", |it| memory(it, |it| of_kernel(it, it.swap_limit.map(or_zero))))],
    ),
    fact(
        "container_spec_memory_reservation_limit_bytes",
        "Memory reservation limit for the container.",
        &[("", |it| memory(it, |it| it.reservation.map(or_zero)))],
    ),
    gauge("container_memory_cache", "Number of bytes of page cache memory.", &[("", |it| memory(it, |it| it.cache))]),
    gauge("container_memory_rss", "Size of RSS in bytes.", &[("", |it| memory(it, |it| it.rss))]),
    gauge(
        "container_memory_kernel_usage",
        "Size of kernel memory allocated in bytes.",
        &[("", |it| memory(it, |it| it.kernel))],
    ),
    gauge(
        "container_memory_mapped_file",
        "Size of memory mapped files in bytes.",
        &[("", |it| memory(it, |it| it.mapped_file))],
    ),
    gauge("container_memory_swap", "Container swap usage in bytes.", &[("", |it| memory(it, |it| it.swap))]),
    counter(
        "container_memory_failcnt",
        "Number of memory usage hits limits",
        &[("", |it| memory(it, |it| it.failcnt))],
    ),
    gauge(
        "container_memory_usage_bytes",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        &[("", |it| memory(it, |it| it.usage))],
    ),
    gauge(
        "container_memory_max_usage_bytes",
        "Maximum memory usage recorded in bytes",
        &[("", |it| memory(it, |it| of_kernel(it, it.usage_max)))],
    ),
    gauge(
        "container_memory_working_set_bytes",
        "Current working set in bytes.",
        &[("", |it| memory(it, |it| Some(it.working_set)))],
    ),
    gauge(
        "container_memory_total_active_file_bytes",
        "Current total active file in bytes.",
        &[("", |it| memory(it, |it| it.active_file))],
    ),
    gauge(
        "container_memory_total_inactive_file_bytes",
        "Current total inactive file in bytes.",
        &[("", |it| memory(it, |it| it.inactive_file))],
    ),
    counter(
        "container_memory_failures_total",
        "Cumulative count of memory allocation failures.",
        &[
            (",failure_type=\"pgfault\",scope=\"container\"", |it| memory(it, |it| it.page_faults)),
            (",failure_type=\"pgmajfault\",scope=\"container\"", |it| memory(it, |it| it.major_page_faults)),
            (",failure_type=\"pgfault\",scope=\"hierarchy\"", |it| memory(it, |it| it.page_faults)),
            (",failure_type=\"pgmajfault\",scope=\"hierarchy\"", |it| memory(it, |it| it.major_page_faults)),
        ],
    ),
    counter(
        "container_oom_events_total",
        "Count of out of memory events observed for the container",
        &[("", |it| memory(it, |it| it.oom_kills))],
    ),
    gauge(
        "container_processes",
        "Number of processes running inside the container.",
        &[("", |it| Some(it.figures.processes.as_ref()?.len() as f64))],
    ),
    gauge(
        "container_file_descriptors",
        "Number of open file descriptors for the container.",
        &[("", |it| Some(it.open?.descriptors as f64))],
    ),
    gauge(
        "container_sockets",
        "Number of open sockets for the container.",
        &[("", |it| Some(it.open?.sockets as f64))],
    ),
    gauge(
        "container_ulimits_soft",
        "Soft ulimit values for the container root process. Unlimited if -1, except priority and nice",
        &[(",ulimit=\"max_open_files\"", |it| Some(it.open?.files_max? as f64))],
    ),
    gauge(
        "container_threads",
        "Number of threads running inside the container",
        &[("", |it| Some(it.figures.threads? as f64))],
    ),
    gauge(
        "container_threads_max",
        "Maximum number of threads allowed inside the container, infinity if value is zero",
        &[("", |it| Some(or_zero(it.figures.threads_max?) as f64))],
    ),
    gauge(
        "container_fs_inodes_free",
        "Number of available Inodes",
        &[("", |it| Some(it.layer.as_ref()?.space?.inodes_free as f64))],
    ),
    gauge("container_fs_inodes_total", "Number of Inodes", &[("", |it| Some(it.layer.as_ref()?.space?.inodes as f64))]),
    gauge(
        "container_fs_limit_bytes",
        "Number of bytes that can be consumed by the container on this filesystem.",
        &[("", |it| Some(it.layer.as_ref()?.space?.total_bytes as f64))],
    ),
    gauge(
        "container_fs_usage_bytes",
        "Number of bytes that are consumed by the container on this filesystem.",
        &[("", |it| Some(it.layer.as_ref()?.used_bytes? as f64))],
    ),
    counter(
        "container_pressure_cpu_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to CPU congestion.",
        &[("", |it| stalled(it, |it| it.cpu, true))],
    ),
    counter(
        "container_pressure_cpu_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to CPU congestion.",
        &[("", |it| stalled(it, |it| it.cpu, false))],
    ),
    counter(
        "container_pressure_memory_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to memory congestion.",
        &[("", |it| stalled(it, |it| it.memory, true))],
    ),
    counter(
        "container_pressure_memory_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to memory congestion.",
        &[("", |it| stalled(it, |it| it.memory, false))],
    ),
    counter(
        "container_pressure_io_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to IO congestion.",
        &[("", |it| stalled(it, |it| it.io, true))],
    ),
    counter(
        "container_pressure_io_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to IO congestion.",
        &[("", |it| stalled(it, |it| it.io, false))],
    ),
];

/// Only of cgroups with a limit of CPU.
pub(super) const CPU_LIMITED: [Named<Cpu, f64>; 3] = [
    ("container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals.", |it| it.periods as f64),
    ("container_cpu_cfs_throttled_periods_total", "Number of throttled period intervals.", |it| {
        it.throttled_periods as f64
    }),
    ("container_cpu_cfs_throttled_seconds_total", "Total time duration the container has been throttled.", |it| {
        seconds(it.throttled_ns)
    }),
];

/// By device.
pub(super) const DISKS: [Named<Disk, u64>; 4] = [
    ("container_fs_reads_bytes_total", "Cumulative count of bytes read", |it| it.read_bytes),
    ("container_fs_reads_total", "Cumulative count of reads completed", |it| it.reads),
    ("container_fs_writes_bytes_total", "Cumulative count of bytes written", |it| it.written_bytes),
    ("container_fs_writes_total", "Cumulative count of writes completed", |it| it.writes),
];

/// By interface; the names stand between `container_network_` and `_total`.
pub(super) const NETWORKS: [Named<Interface, u64>; 8] = [
    ("receive_bytes", "Cumulative count of bytes received", |it| it.received.bytes),
    ("receive_packets", "Cumulative count of packets received", |it| it.received.packets),
    ("receive_errors", "Cumulative count of errors encountered while receiving", |it| it.received.errors),
    ("receive_packets_dropped", "Cumulative count of packets dropped while receiving", |it| it.received.dropped),
    ("transmit_bytes", "Cumulative count of bytes transmitted", |it| it.sent.bytes),
    ("transmit_packets", "Cumulative count of packets transmitted", |it| it.sent.packets),
    ("transmit_errors", "Cumulative count of errors encountered while transmitting", |it| it.sent.errors),
    ("transmit_packets_dropped", "Cumulative count of packets dropped while transmitting", |it| it.sent.dropped),
];
