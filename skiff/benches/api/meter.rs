//! CPU time and memory of other processes, and what is made of samples.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::ClockId;
use nix::unistd::Pid;

const KIB_PER_MIB: f64 = 1024.0;
const LISTENING: &str = "0A";

/// By the process's own clock: it counts nanoseconds and threads that have ended, where `/proc/PID/stat` counts ticks
/// of 10 ms and `/proc/PID/schedstat` the first thread only.
pub(crate) fn cpu_time(pids: &[Pid]) -> Result<Duration> {
    let one = |pid: &Pid| -> Result<Duration> {
        let clock = ClockId::pid_cpu_clock_id(*pid).with_context(|| format!("the CPU clock of process {pid}"))?;
        Ok(clock.now().with_context(|| format!("read the CPU clock of process {pid}"))?.into())
    };
    pids.iter().map(one).sum()
}

/// Of this process.
pub(crate) fn own_cpu_time() -> Result<Duration> {
    cpu_time(&[Pid::this()])
}

pub(crate) fn rss_mib(pids: &[Pid]) -> Result<f64> {
    let one = |pid: &Pid| -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("read a process's status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().context("VmRSS in kB")?;
        Ok(kib / KIB_PER_MIB)
    };
    pids.iter().map(one).sum()
}

/// Who listens on a TCP port of this machine.
pub(crate) fn listeners(port: u16) -> Vec<Pid> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let sockets: HashSet<String> =
        tables.iter().flat_map(|table| table.lines().filter_map(|line| socket_of(line, port))).collect();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pid_of = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let holds = |pid: &i32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|link| is_one_of(&link, &sockets))
    };
    processes.filter_map(pid_of).filter(holds).map(Pid::from_raw).collect()
}

/// `socket:[inode]` of a line of `/proc/net/tcp` that listens on the port.
fn socket_of(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, hex) = fields.get(1)?.rsplit_once(':')?;
    let listens = fields.get(3) == Some(&LISTENING) && u16::from_str_radix(hex, 16) == Ok(port);
    listens.then(|| Some(format!("socket:[{}]", fields.get(9)?)))?
}

fn is_one_of(link: &Path, sockets: &HashSet<String>) -> bool {
    link.to_str().is_some_and(|link| sockets.contains(link))
}

/// Half of the samples are below; 0 of none.
pub(crate) fn median(samples: &[f64]) -> f64 {
    percentile(samples, 0.5)
}

/// `part` of the samples are below; 0 of none.
pub(crate) fn percentile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// The smallest and the largest.
pub(crate) fn spread(samples: &[f64]) -> (f64, f64) {
    let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
    let most = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if samples.is_empty() { (0.0, 0.0) } else { (least, most) }
}

pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
