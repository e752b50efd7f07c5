//! The process that holds the parts, found by a file that it keeps locked.
//!
//! The lock, not the number in the file, says whether it lives: the kernel gives it back at any end, also SIGKILL.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::layout::Layout;
use crate::process;

/// How long the parts have to stop. Pods are not stopped by them, so this is short.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Held for as long as the process has the parts.
pub(crate) struct Lock {
    _file: Flock<File>,
}

/// Makes this process the one that has the parts; `None` when another has them.
pub(crate) fn lock(layout: &Layout) -> Result<Option<Lock>> {
    let Some(mut file) = try_lock(layout)? else { return Ok(None) };
    file.set_len(0).context("empty the process id's file")?;
    file.rewind().context("rewind the process id's file")?;
    write!(file, "{}", std::process::id()).context("write the process id")?;
    Ok(Some(Lock { _file: file }))
}

/// The process that has the parts.
pub(crate) fn running(layout: &Layout) -> Result<Option<Pid>> {
    if !layout.pid_file().exists() || try_lock(layout)?.is_some() {
        return Ok(None);
    }
    let mut text = String::new();
    let path = layout.pid_file();
    File::open(&path)
        .and_then(|mut file| file.read_to_string(&mut text))
        .with_context(|| format!("read {}", path.display()))?;
    let pid = text.trim().parse().with_context(|| format!("{} holds no process id", path.display()))?;
    Ok(Some(Pid::from_raw(pid)))
}

/// Stops the parts; succeeds when none run.
pub(crate) async fn stop(layout: &Layout) -> Result<()> {
    let Some(pid) = running(layout)? else { return Ok(()) };
    kill(pid, Signal::SIGTERM).or_else(process::gone_is_fine).context("stop the parts")?;
    process::wait_for_exit(pid, STOP_TIMEOUT).await.context("wait for the parts to end")
}

fn try_lock(layout: &Layout) -> Result<Option<Flock<File>>> {
    let path = layout.pid_file();
    let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let file = file.with_context(|| format!("open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}
