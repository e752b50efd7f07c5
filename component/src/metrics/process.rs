//! What the kernel says about this process, as Prometheus's client libraries name it.
//!
//! The library's own collector counts CPU in whole seconds, too coarse to measure requests with.

use std::fs;

use prometheus::{
    Counter, Gauge, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

pub(super) struct Process {
    cpu_seconds: Counter,
    gauges: [Gauge; 5],
}

const GAUGES: [(&str, &str); 5] = [
    ("process_resident_memory_bytes", "Resident memory size in bytes."),
    ("process_virtual_memory_bytes", "Virtual memory size in bytes."),
    ("process_start_time_seconds", "Start time of the process since unix epoch in seconds."),
    ("process_open_fds", "Number of open file descriptors."),
    ("process_max_fds", "Maximum number of open file descriptors."),
];

impl Process {
    pub(super) fn new() -> prometheus::Result<Self> {
        let opts = Opts::new("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.");
        let [a, b, c, d, e] = GAUGES.map(|(name, help)| Gauge::new(name, help));
        Ok(Self { cpu_seconds: Counter::with_opts(opts)?, gauges: [a?, b?, c?, d?, e?] })
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.iter().flat_map(Collector::desc).chain(self.cpu_seconds.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if let Some(usage) = Usage::read() {
            let more = usage.cpu_seconds - self.cpu_seconds.get();
            self.cpu_seconds.inc_by(more.max(0.0));
            let values = [usage.resident_bytes, usage.virtual_bytes, usage.start_seconds, open_files(), max_files()];
            self.gauges.iter().zip(values).for_each(|(gauge, value)| gauge.set(value));
        }
        self.gauges.iter().flat_map(Collector::collect).chain(self.cpu_seconds.collect()).collect()
    }
}

#[derive(Debug, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    start_seconds: f64,
}

/// When this process was started, in seconds since the epoch.
pub(super) fn start_time_seconds() -> Option<f64> {
    Usage::read().map(|usage| usage.start_seconds)
}

impl Usage {
    fn read() -> Option<Self> {
        let (stat, boot) = (fs::read_to_string("/proc/self/stat").ok()?, fs::read_to_string("/proc/stat").ok()?);
        let (ticks, page) = (rustix::param::clock_ticks_per_second(), rustix::param::page_size());
        Self::parse(&stat, &boot, ticks as f64, page as f64)
    }

    /// See proc_pid_stat(5). The program's name may contain anything, so fields count from its last parenthesis.
    fn parse(stat: &str, boot: &str, ticks_per_second: f64, page_bytes: f64) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // Field 3 of the manual is the first here.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let boot_seconds: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks_per_second,
            resident_bytes: field(24)? * page_bytes,
            virtual_bytes: field(23)?,
            start_seconds: boot_seconds + field(22)? / ticks_per_second,
        })
    }
}

fn open_files() -> f64 {
    fs::read_dir("/proc/self/fd").map_or(0.0, |entries| entries.count() as f64)
}

fn max_files() -> f64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.map_or(f64::INFINITY, |limit| limit as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_count_from_the_last_parenthesis() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 9 0 300 4096000 25 18446744073709551615";
        let usage = Usage::parse(stat, "cpu 1\nbtime 1000\n", 100.0, 4096.0).unwrap();
        let expected =
            Usage { cpu_seconds: 2.0, resident_bytes: 102_400.0, virtual_bytes: 4_096_000.0, start_seconds: 1003.0 };
        assert_eq!(usage, expected);
    }
}
