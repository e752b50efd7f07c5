//! Processes and their logs: waiting for one that is not our child, reading the end of what one wrote.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};

/// For signals: a process that has ended already is what was asked for.
pub(crate) fn gone_is_fine(error: Errno) -> Result<(), Errno> {
    if error == Errno::ESRCH { Ok(()) } else { Err(error) }
}

/// Returns when the process has ended, or an error after `timeout`. Works for any process: a pidfd becomes readable at
/// its end.
pub(crate) async fn wait_for_exit(pid: Pid, timeout: Duration) -> Result<()> {
    let Some(raw) = rustix::process::Pid::from_raw(pid.as_raw()) else { bail!("{pid} is no process id") };
    let pidfd: OwnedFd = match pidfd_open(raw, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("watch process {pid}")),
    };
    let timeout_poll = PollTimeout::try_from(timeout).context("a timeout that fits")?;
    let wait = move || nix::poll::poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout_poll);
    match tokio::task::spawn_blocking(wait).await.context("wait on a thread")? {
        Ok(0) => bail!("process {pid} still runs after {timeout:?}"),
        ended => ended.map(|_| ()).with_context(|| format!("wait for process {pid}")),
    }
}

pub(crate) fn open_log(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    }
    File::options().create(true).append(true).open(path).with_context(|| format!("open {}", path.display()))
}

/// The last `count` lines of a log, or what can be had of it.
pub(crate) fn log_tail(path: &Path, count: usize) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
