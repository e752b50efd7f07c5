//! Word of changes in files and folders (inotify), for logs, CNI configuration, static pods, and files that another part
//! makes.
//!
//! Tells that something changed, and which names have gone: whoever waits looks by itself at all else. That a name went
//! cannot be seen afterwards, where it has come back by then.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::Path,
};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
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

    /// Waits for a change since the last call; all that is queued counts as one. Answers the names in watched folders that
    /// were removed or moved away.
    pub async fn changed(&self) -> io::Result<BTreeSet<OsString>> {
        loop {
            let mut ready = self.0.readable().await?;
            let queued = self.queued();
            ready.clear_ready();
            if let Some(removed) = queued {
                return Ok(removed);
            }
        }
    }

    /// As [`Self::changed`], of what is queued already; None where nothing is.
    pub fn queued(&self) -> Option<BTreeSet<OsString>> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.0.get_ref(), &mut buffer);
        let mut removed = None;
        // An error is an empty queue.
        while let Ok(event) = events.next() {
            let removed = removed.get_or_insert_with(BTreeSet::new);
            if event.events().intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM)
                && let Some(name) = event.file_name()
            {
                removed.insert(OsStr::from_bytes(name.to_bytes()).to_owned());
            }
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_went_is_told_also_where_it_has_come_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name);
        ["a", "b", "c"].into_iter().for_each(|name| std::fs::write(file(name), name).expect("a file"));
        let watch = FileWatch::new().expect("a watch");
        watch.add_folder(folder.path()).expect("watched");
        std::fs::remove_file(file("a")).expect("removed");
        std::fs::write(file("a"), "a").expect("written again");
        std::fs::rename(file("b"), file("d")).expect("moved");
        std::fs::write(file("c"), "other").expect("written");
        let removed = watch.changed().await.expect("a change");
        assert_eq!(removed, ["a", "b"].map(OsString::from).into());
        std::fs::write(file("c"), "more").expect("written");
        assert_eq!(watch.changed().await.expect("another"), BTreeSet::new());
    }
}
