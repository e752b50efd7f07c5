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
use tokio::sync::oneshot;

/// For signals: a process that has ended already is what was asked for.
pub(crate) fn gone_is_fine(error: Errno) -> Result<(), Errno> {
    if error == Errno::ESRCH { Ok(()) } else { Err(error) }
}

/// Returns when the process has ended. Works for any process: a pidfd becomes readable at its end. The wait is on a thread
/// of its own, which outlives a caller that gives up, and holds up no runtime's end.
pub(crate) async fn ended(pid: Pid) -> Result<()> {
    let Some(raw) = rustix::process::Pid::from_raw(pid.as_raw()) else { bail!("{pid} is no process id") };
    let pidfd: OwnedFd = match pidfd_open(raw, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("watch process {pid}")),
    };
    let (sender, receiver) = oneshot::channel();
    let wait = move || {
        let mut poll = || nix::poll::poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
        // A signal to this process may be handled by this thread.
        let ended = std::iter::repeat_with(&mut poll).find(|ended| *ended != Err(Errno::EINTR));
        let _ = sender.send(ended.unwrap_or(Ok(0)));
    };
    std::thread::Builder::new().name("wait".into()).spawn(wait).context("start a thread that waits")?;
    receiver.await.context("wait on a thread")?.map(drop).with_context(|| format!("wait for process {pid}"))
}

/// [`ended`], or an error after `timeout`.
pub(crate) async fn wait_for_exit(pid: Pid, timeout: Duration) -> Result<()> {
    match tokio::time::timeout(timeout, ended(pid)).await {
        Ok(ended) => ended,
        Err(_) => bail!("process {pid} still runs after {timeout:?}"),
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
