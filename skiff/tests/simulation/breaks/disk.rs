//! A disk that syncs the beginning of each file, and of the rest only says so, as some do whose cache loses power.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use apiserver::store::embedded::disk::{Disk, File};

/// So many syncs of a file are done: a file without its head would be found out by the store itself.
const HONEST: u64 = 20;

#[derive(Debug)]
pub(crate) struct Forgetful(pub(crate) Arc<dyn Disk>);

#[derive(Debug)]
struct Handle {
    inner: Arc<dyn File>,
    syncs: AtomicU64,
}

fn handle(inner: Arc<dyn File>) -> Arc<dyn File> {
    Arc::new(Handle { inner, syncs: AtomicU64::new(0) })
}

impl Disk for Forgetful {
    fn names(&self) -> io::Result<Vec<String>> {
        self.0.names()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.0.open(name).map(handle)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.0.create(name).map(handle)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        // What is complete is whole, or the store would find that out, too.
        self.0.open(from)?.sync()?;
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

impl File for Handle {
    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_all_at(data, offset)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.inner.set_size(size)
    }

    fn sync(&self) -> io::Result<()> {
        match self.syncs.fetch_add(1, Ordering::Relaxed) < HONEST {
            true => self.inner.sync(),
            false => Ok(()),
        }
    }
}
