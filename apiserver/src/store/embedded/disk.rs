//! The file layer under the log: what the log may assume of a disk, and nothing more.
//!
//! Enter at [`Disk`]. [`Folder`] is a real one; the crash tests bring one that loses everything since the last sync.
//!
//! The contract: a crash may lose, keep or tear any write, resize, creation, removal or renaming since the last sync that
//! covers it, in any order. [`File::sync`] covers the file's contents and length, [`Disk::sync`] the names. A renaming is
//! atomic.

use std::fmt::Debug;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flat folder of files.
pub trait Disk: Debug + Send + Sync + 'static {
    fn names(&self) -> io::Result<Vec<String>>;
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// A new, empty file; one of that name is emptied.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Replaces `to`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
}

/// A file of a [`Disk`], read and written at places; it stays readable after its name was removed.
pub trait File: Debug + Send + Sync + 'static {
    fn size(&self) -> io::Result<u64>;
    /// Fills `buffer`, or fails.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    fn set_size(&self, size: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the file system, held by a lock until dropped: two servers on one log would destroy it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    lock: fs::File,
}

impl Folder {
    /// Makes the folder if need be. Fails when another process holds it.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let lock = fs::File::create(path.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, format!("{} is in use by another process", path.display()))
            }
            fs::TryLockError::Error(error) => error,
        })?;
        Ok(Self { path: path.to_owned(), lock })
    }

    /// Each write is durable when it returns (O_DSYNC): one call into the kernel in place of two, and less than half the
    /// CPU of a write and an fdatasync.
    fn options() -> fs::OpenOptions {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).mode(0o600).custom_flags(rustix::fs::OFlags::DSYNC.bits().cast_signed());
        options
    }
}

impl Drop for Folder {
    /// A program that is just being started has every open file of this process until it runs, and the lock with it.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

impl Disk for Folder {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = Self::options().open(self.path.join(name))?;
        Ok(Arc::new(OsFile { file, resized: AtomicBool::new(false) }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = Self::options().create(true).truncate(true).open(self.path.join(name))?;
        Ok(Arc::new(OsFile { file, resized: AtomicBool::new(true) }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }
}

#[derive(Debug)]
struct OsFile {
    file: fs::File,
    /// O_DSYNC covers writes, not `ftruncate`.
    resized: AtomicBool,
}

impl File for OsFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.resized.store(true, Ordering::Release);
        self.file.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        if self.resized.swap(false, Ordering::AcqRel) {
            self.file.sync_all()?;
        }
        Ok(())
    }
}
