//! Entering another network namespace for a moment.
//!
//! A network namespace belongs to a thread, not to a process (setns(2)), and a netlink socket belongs for ever to the
//! namespace that it was opened in. So this program has one thread only (a current-thread runtime and no blocking
//! pool): [`Netns::run`] moves it, calls a synchronous function, which may open sockets and write sysctls there, and
//! moves it back. Nothing awaits in between, so no other task can run in the wrong namespace, and the netlink
//! connections opened inside serve the container from outside ever after.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;

use nix::sched::{CloneFlags, setns};

use crate::cni::Failure;

const OWN: &str = "/proc/thread-self/ns/net";

/// An open network namespace and the one that the program was started in.
pub(crate) struct Netns {
    file: File,
    own: File,
}

impl Netns {
    /// `None` when there is no such namespace (any more).
    ///
    /// `allow_own`: without it the program's own namespace is refused, since the plugin would then change the host's
    /// interfaces (`CNI_NETNS_OVERRIDE` lifts that).
    pub(crate) fn open(path: &str, allow_own: bool) -> Result<Option<Netns>, Failure> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::netns(format!("failed to open netns {path:?}: {error}"))),
        };
        let own = File::open(OWN).map_err(|error| Failure::netns(format!("failed to open {OWN}: {error}")))?;
        let (theirs, ours) = (identity(&file, path)?, identity(&own, OWN)?);
        if theirs.0 != ours.0 {
            // A path that a namespace was mounted on once and is now a plain file: the namespace is gone.
            return Ok(None);
        }
        if theirs == ours && !allow_own {
            let msg = "plugin's netns and netns from CNI_NETNS should not be the same";
            return Err(Failure::netns(format!("{msg}: {path:?}")));
        }
        Ok(Some(Netns { file, own }))
    }

    /// [`Netns::open`] for the verbs that cannot do without.
    pub(crate) fn existing(path: &str, allow_own: bool) -> Result<Netns, Failure> {
        Netns::open(path, allow_own)?
            .ok_or_else(|| Failure::netns(format!("failed to open netns {path:?}: no such network namespace")))
    }

    /// Calls `inside` with the thread in the namespace; the thread is back when this returns.
    pub(crate) fn run<T>(&self, inside: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        enter(&self.file)?;
        let result = inside();
        // Going on in the wrong namespace would change the container for the host: give up instead.
        enter(&self.own)?;
        result
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

fn enter(file: &File) -> Result<(), Failure> {
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
        .map_err(|error| Failure::netns(format!("failed to switch network namespace: {error}")))
}

/// The device (nsfs for every namespace) and inode that tell a namespace from others.
fn identity(file: &File, path: &str) -> Result<(u64, u64), Failure> {
    let metadata =
        file.metadata().map_err(|error| Failure::netns(format!("failed to stat netns {path:?}: {error}")))?;
    Ok((metadata.dev(), metadata.ino()))
}
