//! CPU time and memory of other processes.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::ClockId;
use nix::unistd::Pid;

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
    pids.iter().map(|pid| figures::process::memory_mib(&pid.to_string(), "VmRSS")).sum()
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
