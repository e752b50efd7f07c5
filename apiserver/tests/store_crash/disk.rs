//! A disk that loses what was not synced: at a chosen call it crashes, and of everything since the last sync each write,
//! resize, creation, renaming and removal is kept, lost or torn, as a seed decides.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use apiserver::store::embedded::disk::{Disk, File};
use component::random::Random;

#[derive(Clone, Debug)]
enum Change {
    Write { data: Vec<u8>, offset: usize },
    Resize(usize),
}

#[derive(Debug, Default)]
struct Content {
    synced: Vec<u8>,
    since: Vec<Change>,
    /// With everything since applied: what a reader sees.
    now: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Naming {
    Set(String, usize),
    Move(String, String, usize),
    Remove(String),
}

#[derive(Debug, Default)]
struct Platter {
    contents: Vec<Content>,
    synced_names: BTreeMap<String, usize>,
    since: Vec<Naming>,
    names: BTreeMap<String, usize>,
    /// Calls that change something, so far; and at which of them the power fails.
    calls: u64,
    crash_at: Option<u64>,
    crashed: bool,
    /// No file grows, and none is made.
    full: bool,
}

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faulty(Arc<Mutex<Platter>>);

#[derive(Debug)]
struct Handle {
    disk: Faulty,
    content: usize,
}

impl Faulty {
    /// Lets the power fail at the `call`th change from now; the change itself may or may not reach the disk.
    pub(crate) fn crash_at(&self, call: u64) {
        let mut platter = self.0.lock().unwrap();
        platter.crash_at = Some(platter.calls + call);
    }

    /// Whether the disk is full.
    pub(crate) fn fill(&self, full: bool) {
        self.0.lock().unwrap().full = full;
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.lock().unwrap().calls
    }

    pub(crate) fn crashed(&self) -> bool {
        self.0.lock().unwrap().crashed
    }

    /// The disk as the next start finds it.
    pub(crate) fn after_power_failure(&self, random: &Random) -> Self {
        let platter = self.0.lock().unwrap();
        let mut names = platter.synced_names.clone();
        for naming in &platter.since {
            if random.u64().is_multiple_of(2) {
                naming.apply(&mut names);
            }
        }
        let contents = platter.contents.iter().map(|content| content.survives(random)).collect();
        let synced_names = names.clone();
        Self(Arc::new(Mutex::new(Platter { contents, synced_names, names, ..Platter::default() })))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Platter) -> io::Result<T>) -> io::Result<T> {
        let mut platter = self.0.lock().unwrap();
        if platter.crashed {
            return Err(io::Error::other("the power has failed"));
        }
        platter.calls += 1;
        if platter.crash_at.is_some_and(|at| platter.calls >= at) {
            platter.crashed = true;
        }
        let crashed = platter.crashed;
        let done = change(&mut platter)?;
        if crashed { Err(io::Error::other("the power fails")) } else { Ok(done) }
    }

    fn handle(&self, content: usize) -> Arc<dyn File> {
        Arc::new(Handle { disk: self.clone(), content })
    }
}

impl Content {
    fn survives(&self, random: &Random) -> Self {
        let mut kept = self.synced.clone();
        for change in &self.since {
            match (change, random.u64() % 3) {
                (_, 0) => {}
                (Change::Write { data, offset }, 1) => {
                    // Torn: any run of sectors of it.
                    const SECTOR: usize = 64;
                    let sectors = data.len().div_ceil(SECTOR) as u64;
                    let start = (random.u64() % sectors) as usize * SECTOR;
                    let end = (start + (1 + random.u64() % sectors) as usize * SECTOR).min(data.len());
                    write(&mut kept, &data[start..end], offset + start);
                }
                (change, _) => change.apply(&mut kept),
            }
        }
        Self { synced: kept.clone(), since: Vec::new(), now: kept }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { data, offset } => write(content, data, *offset),
            Self::Resize(size) => content.resize(*size, 0),
        }
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Set(name, content) => {
                names.insert(name.clone(), *content);
            }
            Self::Move(from, to, content) => {
                names.remove(from);
                names.insert(to.clone(), *content);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

fn write(content: &mut Vec<u8>, data: &[u8], offset: usize) {
    content.resize(content.len().max(offset + data.len()), 0);
    content[offset..offset + data.len()].copy_from_slice(data);
}

impl Platter {
    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.since.push(naming);
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Disk for Faulty {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let content = self.0.lock().unwrap().find(name)?;
        Ok(self.handle(content))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let content = self.change(|platter| {
            if platter.full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            platter.contents.push(Content::default());
            let content = platter.contents.len() - 1;
            platter.name(Naming::Set(name.to_owned(), content));
            Ok(content)
        })?;
        Ok(self.handle(content))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|platter| {
            let content = platter.find(from)?;
            platter.name(Naming::Move(from.to_owned(), to.to_owned(), content));
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|platter| {
            platter.find(name)?;
            platter.name(Naming::Remove(name.to_owned()));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.change(|platter| {
            // A sync that the power failure cuts off has promised nothing.
            if !platter.crashed {
                platter.synced_names = platter.names.clone();
                platter.since.clear();
            }
            Ok(())
        })
    }
}

impl Handle {
    fn change(&self, change: Change) -> io::Result<()> {
        self.disk.change(|platter| {
            let content = &mut platter.contents[self.content];
            if platter.full
                && matches!(&change, Change::Write { data, offset } if offset + data.len() > content.now.len())
            {
                return Err(io::ErrorKind::StorageFull.into());
            }
            change.apply(&mut content.now);
            content.since.push(change);
            Ok(())
        })
    }
}

impl File for Handle {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().unwrap().contents[self.content].now.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let platter = self.disk.0.lock().unwrap();
        let now = &platter.contents[self.content].now;
        let found = now.get(offset as usize..offset as usize + buffer.len());
        buffer.copy_from_slice(found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.change(Change::Write { data: data.to_owned(), offset: offset as usize })
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.change(Change::Resize(size as usize))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.change(|platter| {
            if !platter.crashed {
                let content = &mut platter.contents[self.content];
                content.synced = content.now.clone();
                content.since.clear();
            }
            Ok(())
        })
    }
}
