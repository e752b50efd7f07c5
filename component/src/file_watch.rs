//! Word of changes in files and folders (inotify), for logs, CNI configuration, static pods, and files that another part
//! makes.
//!
//! Tells only that something changed: whoever waits looks by itself.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

/// Watches what was added to it. Dropping it ends the watches.
pub struct FileWatch(AsyncFd<OwnedFd>);

impl FileWatch {
    /// Must be called on a runtime.
    pub fn new() -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // SAFETY: an OwnedFd keeps its descriptor open, and answers the same one, until it is dropped with the AsyncFd.
        #[expect(unsafe_code, reason = "tokio has no safe way to wait for a foreign descriptor")]
        let registered = unsafe { AsyncFd::register(fd) };
        Ok(Self(registered?))
    }

    /// New text in a file.
    pub fn add_file(&self, path: &Path) -> io::Result<()> {
        inotify::add_watch(self.0.get_ref(), path, WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE)?;
        Ok(())
    }

    /// Names that come and go in a folder, and files that were written.
    pub fn add_folder(&self, path: &Path) -> io::Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE;
        inotify::add_watch(self.0.get_ref(), path, flags)?;
        Ok(())
    }

    /// As [`Self::add_folder`]; of a folder that does not exist its nearest parent.
    pub fn add_folder_or_parent(&self, path: &Path) -> io::Result<()> {
        let existing = path.ancestors().find(|path| path.is_dir()).unwrap_or(path);
        self.add_folder(existing)
    }

    /// Waits for a change since the last call; all that is queued counts as one.
    pub async fn changed(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut buffer = [0; 4096];
        while rustix::io::read(self.0.get_ref().as_fd(), &mut buffer).is_ok_and(|size| size > 0) {}
        ready.clear_ready();
        Ok(())
    }
}
